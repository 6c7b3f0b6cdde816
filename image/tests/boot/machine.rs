//! A virtual machine with OVMF and a TPM of swtpm, driven over its serial console.

use crate::flash::{CODE, Flash};
use crate::swtpm::Tpm;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take; this machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(600);
/// What the kernel counts processor time in: getconf CLK_TCK.
const TICKS_A_SECOND: u64 = 100;

/// A machine; what its firmware and its TPM remember stays from one start to the next.
pub struct Machine {
    folder: TempDir,
    running: Option<Running>,
    disks: usize,
}

/// A disk.
pub struct Disk {
    path: PathBuf,
    is_usb: bool,
}

struct Running {
    machine: Child,
    /// Ends with the machine.
    _tpm: Tpm,
    serial: UnixStream,
    /// What nobody has looked at yet, and all.
    seen: String,
    all: String,
    started: Instant,
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

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.machine.kill();
        let _ = self.machine.wait();
    }
}

impl Machine {
    /// One that is switched off, with this flash memory.
    pub fn new(flash: Flash) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("variables"), flash.0).unwrap();
        std::fs::create_dir(folder.path().join("tpm")).unwrap();
        Self {
            folder,
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
        self.running = None;
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        // Left from an earlier start.
        let _ = std::fs::remove_file(path("serial"));
        let listener = UnixListener::bind(path("serial")).unwrap();
        let tpm = Tpm::start(Path::new(&path("tpm")), Path::new(&path("tpm.sock")));
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-machine", "q35,smm=on"])
            .args([
                "-smp",
                "2",
                "-m",
                "1024",
                "-no-reboot",
                "-display",
                "none",
                "-monitor",
                "none",
            ])
            .args(["-global", "driver=cfi.pflash01,property=secure,value=on"])
            .args([
                "-drive",
                &format!("if=pflash,format=raw,unit=0,readonly=on,file={CODE}"),
            ])
            .args([
                "-drive",
                &format!("if=pflash,format=raw,unit=1,file={}", path("variables")),
            ])
            .args(["-chardev", &format!("socket,id=tpm,path={}", path("tpm.sock"))])
            .args([
                "-tpmdev",
                "emulator,id=tpm0,chardev=tpm",
                "-device",
                "tpm-crb,tpmdev=tpm0",
            ])
            .args(["-chardev", &format!("socket,id=serial,path={}", path("serial"))])
            .args(["-serial", "chardev:serial", "-device", "qemu-xhci"]);
        for (number, disk) in disks.iter().enumerate() {
            let kind = if disk.is_usb { "usb-storage" } else { "virtio-blk-pci" };
            command
                .args([
                    "-drive",
                    &format!("file={},format=raw,if=none,id=disk{number}", disk.path.display()),
                ])
                .args([
                    "-device",
                    &format!("{kind},drive=disk{number},bootindex={}", number + 1),
                ]);
        }
        let machine = command.args(arguments).stdin(Stdio::null()).spawn().unwrap();
        let (serial, _) = listener.accept().unwrap();
        serial.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        self.running = Some(Running {
            machine,
            _tpm: tpm,
            serial,
            seen: String::new(),
            all: String::new(),
            started: Instant::now(),
        });
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    /// Waits until the console has shown a text, and answers what it showed up to its end.
    pub fn expect(&mut self, text: &str) -> String {
        let running = self.running();
        loop {
            if let Some(at) = running.seen.find(text) {
                let rest = running.seen.split_off(at + text.len());
                return std::mem::replace(&mut running.seen, rest);
            }
            running.read(text);
        }
    }

    /// Waits until the console shows one of the texts, and answers which.
    pub fn expect_any(&mut self, texts: &[&str]) -> String {
        let running = self.running();
        loop {
            if let Some(text) = texts.iter().find(|text| running.seen.contains(**text)) {
                return (*text).to_owned();
            }
            running.read(&texts.join(" or "));
        }
    }

    /// The last line with a text.
    pub fn last_line(&mut self, text: &str) -> String {
        let running = self.running();
        let line = running.all.lines().rfind(|line| line.contains(text)).unwrap();
        line.trim().to_owned()
    }

    /// Types a line.
    pub fn type_line(&mut self, text: &str) {
        self.running().serial.write_all(format!("{text}\r").as_bytes()).unwrap();
    }

    /// Types an answer after its question.
    pub fn answer(&mut self, question: &str, text: &str) -> String {
        let shown = self.expect(question);
        self.type_line(text);
        shown
    }

    /// Chooses from the menu once it has a line.
    pub fn choose(&mut self, label: &str, key: &str) {
        self.expect(label);
        self.running().serial.write_all(key.as_bytes()).unwrap();
    }

    /// Waits until the machine is off; a restart is one, too.
    pub fn wait_off(&mut self) {
        let running = self.running();
        while running.machine.try_wait().unwrap().is_none() {
            running.take();
            assert!(running.started.elapsed() < PATIENCE, "it stays on:\n{}", running.all);
        }
    }

    /// Time on the wall and of the processor since it was switched on.
    pub fn spent(&mut self) -> String {
        let running = self.running();
        let wall = running.started.elapsed();
        // proc(5): user and system time are fields 14 and 15; the name before them may have spaces.
        let status = std::fs::read_to_string(format!("/proc/{}/stat", running.machine.id())).unwrap_or_default();
        let fields = status.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        format!("{} s, {} s of a processor", wall.as_secs(), ticks / TICKS_A_SECOND)
    }

    /// Switches it off, hard.
    pub fn stop(&mut self) {
        self.running = None;
    }
}

impl Running {
    fn take(&mut self) {
        let mut bytes = [0; 4096];
        match self.serial.read(&mut bytes) {
            Ok(0) => std::thread::sleep(Duration::from_millis(50)),
            Ok(length) => {
                let text = String::from_utf8_lossy(bytes.get(..length).unwrap()).into_owned();
                self.seen.push_str(&text);
                self.all.push_str(&text);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // Where QEMU has ended.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => panic!("the serial console: {error}"),
        }
    }

    fn read(&mut self, wanted: &str) {
        let ended = self.machine.try_wait().unwrap();
        if ended.is_some() || self.started.elapsed() > PATIENCE {
            panic!("the console never showed {wanted:?} ({ended:?}):\n{}", self.all);
        }
        self.take();
    }
}
