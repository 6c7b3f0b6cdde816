//! A mainboard: firmware that enforces Secure Boot, and a TPM in software. What they remember stays from one start to the
//! next.

use super::flash::{CODE, Flash};
use super::swtpm::Tpm;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The firmware's variables and the TPM's memory, in a folder.
pub struct Board(TempDir);

impl Board {
    /// One whose firmware remembers this, and whose TPM has never seen anything.
    pub fn with(flash: &Flash) -> Self {
        let board = Self(tempfile::tempdir().unwrap());
        std::fs::write(board.path("variables"), &flash.0).unwrap();
        std::fs::create_dir(board.path("tpm")).unwrap();
        board
    }

    /// Where what they remember lies.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// One of that: `variables`, `tpm`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
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
