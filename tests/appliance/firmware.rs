//! Firmware that enforces Secure Boot, and a TPM in software: what they remember stays from one start to the next.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// OVMF with Secure Boot.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
/// Its variables before anybody owns the machine.
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// How long swtpm may take to listen.
const START_MAX: Duration = Duration::from_secs(30);
/// EFI_GLOBAL_VARIABLE and EFI_IMAGE_SECURITY_DATABASE_GUID, as they are in memory.
const GLOBAL: [u8; 16] = [
    0x61, 0xDF, 0xE4, 0x8B, 0xCA, 0x93, 0xD2, 0x11, 0xAA, 0x0D, 0x00, 0xE0, 0x98, 0x03, 0x2B, 0x8C,
];
const DATABASE: [u8; 16] = [
    0xCB, 0xB2, 0x19, 0xD7, 0x3A, 0x3D, 0x96, 0x45, 0xA3, 0xBC, 0xDA, 0xD0, 0x0E, 0x67, 0x65, 0x6F,
];
/// gEfiAuthenticatedVariableGuid: what the store begins with; then 12 bytes more of VARIABLE_STORE_HEADER.
const STORE: [u8; 16] = [
    0x78, 0x2C, 0xF3, 0xAA, 0x7B, 0x94, 0x9A, 0x43, 0xA1, 0x80, 0x2E, 0x14, 0x4E, 0xC3, 0x77, 0x92,
];
const STORE_HEADER: usize = 28;
/// 1 January 2026.
const TIME: [u8; 16] = [0xEA, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A mainboard: its firmware's variables and its TPM.
pub struct Board(TempDir);

/// Ended when dropped.
pub struct Tpm(Child);

impl Drop for Tpm {
    fn drop(&mut self) {
        // It may have ended with its machine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Board {
    /// One whose firmware has the keys of the release in this folder, as if somebody had enrolled them.
    pub fn owned(release: &Path) -> Self {
        let mut flash = std::fs::read(VARIABLES).unwrap();
        let store = flash.windows(STORE.len()).position(|window| window == STORE).unwrap();
        let mut at = store + STORE_HEADER;
        for (name, vendor) in [("PK", GLOBAL), ("KEK", GLOBAL), ("db", DATABASE)] {
            let list = std::fs::read(release.join(format!("signatures/{name}.esl"))).unwrap();
            let variable = variable(name, vendor, &list);
            flash
                .get_mut(at..at + variable.len())
                .unwrap()
                .copy_from_slice(&variable);
            at += variable.len();
        }
        let board = Self(tempfile::tempdir().unwrap());
        std::fs::write(board.path("variables"), flash).unwrap();
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

    /// Switches the TPM on, and answers QEMU's arguments for it and the firmware.
    pub fn start(&self) -> (Tpm, Vec<String>) {
        let socket = self.path("tpm.socket");
        // Left from an earlier start.
        let _ = std::fs::remove_file(&socket);
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", self.path("tpm").display()))
            .args(["--ctrl", &format!("type=unixio,path={}", socket.display())])
            .stdin(Stdio::null())
            .spawn();
        let tpm = Tpm(child.unwrap());
        let since = Instant::now();
        while !socket.exists() {
            assert!(since.elapsed() < START_MAX, "swtpm does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
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

/// AUTHENTICATED_VARIABLE_HEADER, name, content, padding: EDK II, MdeModulePkg/Include/Guid/VariableFormat.h.
fn variable(name: &str, vendor: [u8; 16], content: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    // It is there and valid; non-volatile, for boot services and the running system, written with a time.
    let mut bytes = vec![0xAA, 0x55, 0x3F, 0x00, 0x27, 0, 0, 0];
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&TIME);
    bytes.extend_from_slice(&[0; 4]);
    for length in [name.len(), content.len()] {
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
    }
    bytes.extend_from_slice(&vendor);
    bytes.extend_from_slice(&name);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0xFF);
    bytes
}
