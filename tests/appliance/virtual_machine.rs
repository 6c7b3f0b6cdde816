//! A virtual machine with a serial console and QEMU's own control socket.

use crate::firmware::Board;
use crate::swtpm::Tpm;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the box may take for anything; this machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The command line of the image's kernel.
const KERNEL_ARGUMENTS: &str = "module.sig_enforce=1 lockdown=integrity oops=panic panic=10 init_on_alloc=1 \
slab_nomerge vsyscall=none debugfs=off console=ttyS0,115200 quiet loglevel=3 rdinit=/lamchat -- init";

/// What the kernel counts processor time in: getconf CLK_TCK.
const TICKS_A_SECOND: u64 = 100;

/// Bytes of a machine's disk: more than the image has, so that it is grown.
const DISK_BYTES: u64 = 2 << 30;

/// A disk that outlives its machine. Removed when dropped.
pub struct Disk(tempfile::NamedTempFile);

impl Disk {
    /// The image as it is written to a larger disk, and nothing after it.
    pub fn blank() -> Self {
        Self::grown(DISK_BYTES)
    }

    /// The same of another size, of which the image has about 330 MiB.
    pub fn grown(bytes: u64) -> Self {
        let image = uki().with_extension("img");
        let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::io::copy(&mut std::fs::File::open(image).unwrap(), file.as_file_mut()).unwrap();
        file.as_file().set_len(bytes).unwrap();
        Self(file)
    }

    /// One of this length that nobody has written to.
    pub fn empty(bytes: u64) -> Self {
        let disk = Self::of(&[]);
        disk.0.as_file().set_len(bytes).unwrap();
        disk
    }

    /// One with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        file.write_all(bytes).unwrap();
        Self(file)
    }

    /// Its bytes.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A running machine. Killed when dropped.
pub struct VirtualMachine {
    child: Child,
    serial: UnixStream,
    monitor: UnixStream,
    /// What the console showed and no test has looked at yet.
    seen: String,
    /// Everything it showed, for the message of a failure.
    all: String,
    started: Instant,
    _folder: tempfile::TempDir,
    _tpm: Option<Tpm>,
}

/// The unified kernel image of the release that is tested; the release's other files lie beside it.
pub fn uki() -> PathBuf {
    match std::env::var_os("LAMCHAT_UKI") {
        Some(file) => file.into(),
        None => panic!("LAMCHAT_UKI does not name what to boot: run `tests/run appliance`"),
    }
}

/// The kernel and the initrd out of the unified kernel image, in a folder as `vmlinuz` and `initrd`.
fn boot_folder(scratch: &Path, image: &[u8]) -> PathBuf {
    for (section, file) in [(".linux", "vmlinuz"), (".initrd", "initrd")] {
        std::fs::write(scratch.join(file), pe_section(image, section)).unwrap();
    }
    scratch.to_owned()
}

/// A section of a PE file: Microsoft's PE format, "COFF File Header" and "Section Table".
fn pe_section<'a>(image: &'a [u8], wanted: &str) -> &'a [u8] {
    let two = |at: usize| usize::from(u16::from_le_bytes(*image.get(at..).unwrap().first_chunk().unwrap()));
    let four = |at: usize| u32::from_le_bytes(*image.get(at..).unwrap().first_chunk().unwrap()) as usize;
    let header = four(0x3c);
    let table = header + 24 + two(header + 20);
    for entry in (0..two(header + 6)).map(|number| table + 40 * number) {
        let name = image
            .get(entry..entry + 8)
            .unwrap()
            .split(|byte| *byte == 0)
            .next()
            .unwrap();
        if name == wanted.as_bytes() {
            let (length, offset) = (four(entry + 8), four(entry + 20));
            return image.get(offset..offset + length).unwrap();
        }
    }
    panic!("the image has no section {wanted}");
}

/// A screen's text without its line ends: the box breaks sentences at words.
pub fn flat(screen: &str) -> String {
    screen.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// QEMU's argument for a disk that keeps what it is given.
fn drive(disk: &Disk) -> String {
    format!("file={},if=virtio,format=raw", disk.path().display())
}

impl VirtualMachine {
    /// Starts one from a disk without firmware's help, with further arguments of QEMU's.
    pub fn start(disk: &Disk, arguments: &[&str]) -> Self {
        Self::start_image(&std::fs::read(uki()).unwrap(), disk, arguments)
    }

    /// The same with this unified kernel image.
    pub fn start_image(image: &[u8], disk: &Disk, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let boot = boot_folder(folder.path(), image);
        let file = |name: &str| boot.join(name).display().to_string();
        let (kernel, initrd) = (file("vmlinuz"), file("initrd"));
        let direct = ["-kernel", &kernel, "-initrd", &initrd, "-append", KERNEL_ARGUMENTS];
        let arguments = [&direct[..], &["-no-reboot"], arguments].concat();
        Self::run(folder, &drive(disk), None, &arguments)
    }

    /// Starts one as a server does: its firmware finds the boot loader on the disk, its TPM measures.
    pub fn start_on(board: &Board, disk: &Disk, arguments: &[&str]) -> Self {
        Self::start_from(board, &drive(disk), arguments)
    }

    /// The same from what QEMU's argument `-drive` says.
    pub fn start_from(board: &Board, drive: &str, arguments: &[&str]) -> Self {
        Self::on_board(board, drive, &[&["-no-reboot"][..], arguments].concat())
    }

    /// As [`Self::start_on`]; a restart does not end it.
    pub fn start_restarting(board: &Board, disk: &Disk, arguments: &[&str]) -> Self {
        Self::on_board(board, &drive(disk), arguments)
    }

    fn on_board(board: &Board, drive: &str, arguments: &[&str]) -> Self {
        let (tpm, firmware) = board.start();
        let firmware: Vec<&str> = firmware.iter().map(String::as_str).collect();
        let folder = tempfile::tempdir().unwrap();
        Self::run(folder, drive, Some(tpm), &[&firmware, arguments].concat())
    }

    fn run(folder: tempfile::TempDir, drive: &str, tpm: Option<Tpm>, arguments: &[&str]) -> Self {
        let listen = |name: &str| UnixListener::bind(folder.path().join(name)).unwrap();
        let (serial, monitor) = (listen("serial"), listen("monitor"));
        let socket = |id: &str| format!("socket,id={id},path={}", folder.path().join(id).display());
        let child = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-smp", "2"])
            .args(["-display", "none", "-nodefaults", "-vga", "std"])
            .args(["-chardev", &socket("serial"), "-serial", "chardev:serial"])
            .args(["-chardev", &socket("monitor"), "-mon", "chardev=monitor,mode=readline"])
            .args(["-drive", drive])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (serial, _) = serial.accept().unwrap();
        let (monitor, _) = monitor.accept().unwrap();
        serial.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self {
            child,
            serial,
            monitor,
            seen: String::new(),
            all: String::new(),
            started: Instant::now(),
            _folder: folder,
            _tpm: tpm,
        }
    }

    /// Since the machine was switched on.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time of the processor since then.
    pub fn spent(&self) -> Duration {
        // proc(5): user and system time are fields 14 and 15; the name before them may have spaces.
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = status.rsplit(')').next().unwrap().split_whitespace();
        let ticks = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 1_000 / TICKS_A_SECOND)
    }

    /// Everything that the console showed.
    pub fn shown(&self) -> &str {
        &self.all
    }

    /// Waits until the console has shown `text`, and answers what it showed up to its end.
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_within(text, PATIENCE)
    }

    /// The same, with another patience.
    pub fn expect_within(&mut self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                panic!("the console never showed {text:?} ({ended:?}):\n{}", self.all);
            }
            self.read();
        }
    }

    /// Waits until the console has shown one of these, and answers which; `None` once `given_up` says so or the machine
    /// is off.
    pub fn expect_any(&mut self, texts: &[&str], given_up: &dyn Fn() -> bool) -> Option<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = texts.iter().enumerate();
            let found = found.filter_map(|(number, text)| self.seen.find(text).map(|at| (at, number)));
            if let Some((at, number)) = found.min() {
                self.seen.drain(..at + texts.get(number).unwrap().len());
                return Some(number);
            }
            if given_up() || self.is_off() {
                return None;
            }
            assert!(
                Instant::now() < deadline,
                "the console never showed any of {texts:?}:\n{}",
                self.all
            );
            self.read();
        }
    }

    /// Whether the machine has ended.
    pub fn is_off(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Takes the machine's power away.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Types.
    pub fn type_text(&mut self, text: &str) {
        self.serial.write_all(text.as_bytes()).unwrap();
    }

    /// Types an answer after its question.
    pub fn answer(&mut self, question: &str, text: &str) -> String {
        let shown = self.expect(question);
        self.type_text(&format!("{text}\r"));
        shown
    }

    /// Chooses from the menu once it has a line, and types the PIN if one is given.
    pub fn choose(&mut self, label: &str, key: &str, pin: Option<&str>) {
        self.expect(label);
        self.type_text(key);
        if let Some(pin) = pin {
            self.answer("PIN: ", pin);
        }
    }

    /// A command for QEMU, such as `system_powerdown`.
    pub fn command(&mut self, command: &str) {
        self.monitor.write_all(format!("{command}\n").as_bytes()).unwrap();
    }

    /// Waits until the machine is off.
    pub fn wait_off(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the machine stays on:\n{}", self.all);
            self.read();
        }
    }

    /// Takes in what the console shows, for a moment.
    pub fn read(&mut self) {
        let mut buffer = [0; 4096];
        match self.serial.read(&mut buffer) {
            Ok(0) => std::thread::sleep(Duration::from_millis(50)),
            Ok(length) => {
                let text = String::from_utf8_lossy(buffer.get(..length).unwrap()).into_owned();
                self.seen.push_str(&text);
                self.all.push_str(&text);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => panic!("the serial console: {error}"),
        }
    }
}

impl Drop for VirtualMachine {
    fn drop(&mut self) {
        self.kill();
    }
}
