//! A virtual machine with OVMF and a TPM of swtpm, driven over its serial console.

use crate::emulated::board::Board;
use crate::emulated::flash::{Flash, HEADER};
use crate::emulated::running::Running;
use crate::emulated::swtpm::Tpm;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take; this machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(600);

/// A machine; what its firmware and its TPM remember stays from one start to the next. While it is on, it does what
/// [`Running`] does.
pub struct Machine {
    folder: TempDir,
    board: Board,
    /// The TPM ends with the machine.
    running: Option<(Running, Tpm)>,
    disks: usize,
}

/// A disk.
pub struct Disk {
    path: PathBuf,
    is_usb: bool,
}

impl Disk {
    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same as a stick.
    pub fn on_usb(self) -> Self {
        Self { is_usb: true, ..self }
    }

    /// Whether nothing was ever written to a disk of [`Machine::blank`].
    pub fn is_blank(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&self.path).unwrap().blocks() == 0
    }
}

impl Deref for Machine {
    type Target = Running;

    fn deref(&self) -> &Running {
        let (running, _) = self.running.as_ref().unwrap();
        running
    }
}

impl DerefMut for Machine {
    fn deref_mut(&mut self) -> &mut Running {
        let (running, _) = self.running.as_mut().unwrap();
        running
    }
}

impl Machine {
    /// One that is switched off, with this flash memory.
    pub fn new(flash: &Flash) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            board: Board::with(flash),
            running: None,
            disks: 0,
        }
    }

    fn new_disk(&mut self) -> Disk {
        self.disks += 1;
        Disk {
            path: self.folder.path().join(format!("disk-{}", self.disks)),
            is_usb: false,
        }
    }

    /// A disk with a copy of an image.
    pub fn copy(&mut self, image: &Path) -> Disk {
        let disk = self.new_disk();
        let status = Command::new("cp")
            .arg("--sparse=always")
            .arg(image)
            .arg(&disk.path)
            .status();
        assert!(status.unwrap().success());
        disk
    }

    /// An empty disk.
    pub fn blank(&mut self, bytes: u64) -> Disk {
        let disk = self.new_disk();
        std::fs::File::create(&disk.path).unwrap().set_len(bytes).unwrap();
        disk
    }

    /// Switches it on, without a network.
    pub fn start(&mut self, disks: &[&Disk]) {
        self.start_with(disks, &["-nic", "none"]);
    }

    /// Switches it on with further arguments of QEMU's. It starts from the first disk, and a restart ends it.
    pub fn start_with(&mut self, disks: &[&Disk], arguments: &[&str]) {
        self.stop();
        let (tpm, mut words) = self.board.start();
        words.extend(["-no-reboot", "-monitor", "none", "-device", "qemu-xhci"].map(str::to_owned));
        for (number, disk) in disks.iter().enumerate() {
            let kind = if disk.is_usb { "usb-storage" } else { "virtio-blk-pci" };
            words.extend([
                "-drive".to_owned(),
                format!("file={},format=raw,if=none,id=disk{number}", disk.path.display()),
                "-device".to_owned(),
                format!("{kind},drive=disk{number},bootindex={}", number + 1),
            ]);
        }
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        self.running = Some((Running::start(self.folder.path(), words, PATIENCE), tpm));
    }

    /// Has its firmware forget what it starts first, as its set-up does: QEMU's order counts again. While it is off.
    pub fn forget_boot_order(&self) {
        let path = self.board.path("variables");
        let mut flash = Flash(std::fs::read(&path).unwrap());
        let name: Vec<u8> = "BootOrder"
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut at = flash.start();
        while let Some(length) = flash.length(at) {
            if flash.0.get(at + HEADER..).unwrap().starts_with(&name) {
                // VAR_DELETED: the bit goes.
                *flash.0.get_mut(at + 2).unwrap() &= 0xFD;
            }
            at += length;
        }
        std::fs::write(path, flash.0).unwrap();
    }

    /// Waits until the console shows one of the texts, and answers which.
    pub fn shows_any(&mut self, texts: &[&str]) -> String {
        match self.expect_any(texts, &|| false) {
            Some(number) => (*texts.get(number).unwrap()).to_owned(),
            None => panic!("it ended and never showed any of {texts:?}:\n{}", self.shown()),
        }
    }

    /// The last line with a text.
    pub fn last_line(&self, text: &str) -> String {
        let line = self.shown().lines().rfind(|line| line.contains(text)).unwrap();
        line.trim().to_owned()
    }

    /// Chooses from the menu once it has a line.
    pub fn choose(&mut self, label: &str, key: &str) {
        self.expect(label);
        self.type_text(key);
    }

    /// Switches it off, hard.
    pub fn stop(&mut self) {
        self.running = None;
    }
}
