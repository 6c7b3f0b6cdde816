//! Firmware that enforces Secure Boot, and a TPM in software: what they remember stays from one start to the next.

use crate::flash::{CODE, Flash};
use crate::swtpm::Tpm;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A mainboard: its firmware's variables and its TPM.
pub struct Board(TempDir);

impl Board {
    /// One that belongs to nobody: its firmware is in set-up mode.
    pub fn new() -> Self {
        Self::with(&Flash::blank())
    }

    /// One whose firmware has the keys of the release in this folder, as if somebody had enrolled them.
    pub fn owned(release: &Path) -> Self {
        Self::with(&Flash::owned(release))
    }

    fn with(flash: &Flash) -> Self {
        let board = Self(tempfile::tempdir().unwrap());
        std::fs::write(board.path("variables"), &flash.0).unwrap();
        std::fs::create_dir(board.path("tpm")).unwrap();
        board
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts another TPM into the board, which has never seen anything.
    pub fn exchange_tpm(&self) {
        std::fs::remove_dir_all(self.path("tpm")).unwrap();
        std::fs::create_dir(self.path("tpm")).unwrap();
    }

    /// Has the TPM made by a maker, who certifies its endorsement key; answers the maker's certificates, in PEM.
    pub fn manufacture_tpm(&self) -> String {
        self.exchange_tpm();
        let ca = self.path("ca");
        std::fs::create_dir(&ca).unwrap();
        let (here, ca) = (self.0.path().display(), ca.display());
        for (name, content) in [
            (
                "ca.conf",
                format!(
                    "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\n\
                     certserial = {ca}/certserial\n"
                ),
            ),
            (
                "ca.options",
                "--platform-manufacturer Test\n--platform-version 1\n--platform-model box\n".to_owned(),
            ),
            (
                "setup.conf",
                format!(
                    "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {here}/ca.conf\n\
                     create_certs_tool_options = {here}/ca.options\n"
                ),
            ),
        ] {
            std::fs::write(self.path(name), content).unwrap();
        }
        let output = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--pcr-banks", "sha256", "--config"])
            .arg(self.path("setup.conf"))
            .arg("--tpmstate")
            .arg(self.path("tpm"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // The box knows no intermediate of this maker, so an auditor trusts it itself.
        let (intermediate, root) = self.maker();
        intermediate + &root
    }

    /// The certificates of the TPM's maker, in PEM: the intermediate, which the TPM does not keep, and the root.
    pub fn maker(&self) -> (String, String) {
        let read = |name: &str| std::fs::read_to_string(self.path(name)).unwrap();
        (read("ca/issuercert.pem"), read("ca/swtpm-localca-rootca-cert.pem"))
    }

    /// Changes the firmware's settings, while the machine is off.
    pub fn set(&self, change: impl FnOnce(&mut Flash)) {
        let mut flash = Flash(std::fs::read(self.path("variables")).unwrap());
        change(&mut flash);
        std::fs::write(self.path("variables"), flash.0).unwrap();
    }

    /// Switches the TPM on, and answers QEMU's arguments for it and the firmware.
    pub fn start(&self) -> (Tpm, Vec<String>) {
        let socket = self.path("tpm.socket");
        let tpm = Tpm::start(&self.path("tpm"), &socket);
        let variables = self.path("variables");
        let arguments = [
            "-machine".to_owned(),
            "q35,smm=on".to_owned(),
            "-global".to_owned(),
            "driver=cfi.pflash01,property=secure,value=on".to_owned(),
            "-drive".to_owned(),
            format!("if=pflash,format=raw,unit=0,readonly=on,file={CODE}"),
            "-drive".to_owned(),
            format!("if=pflash,format=raw,unit=1,file={}", variables.display()),
            "-chardev".to_owned(),
            format!("socket,id=tpm,path={}", socket.display()),
            "-tpmdev".to_owned(),
            "emulator,id=tpm0,chardev=tpm".to_owned(),
            "-device".to_owned(),
            "tpm-crb,tpmdev=tpm0".to_owned(),
        ];
        (tpm, arguments.to_vec())
    }
}
