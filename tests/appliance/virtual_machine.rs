//! A virtual machine with a serial console and QEMU's own control socket.

use crate::emulated::running::Running;
use crate::emulated::swtpm::Tpm;
use crate::firmware::Board;
use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the box may take for anything; this machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The command line of the image's kernel.
const KERNEL_ARGUMENTS: &str = "module.sig_enforce=1 lockdown=integrity oops=panic panic=10 init_on_alloc=1 \
slab_nomerge vsyscall=none debugfs=off console=ttyS0,115200 quiet loglevel=3 rdinit=/lamchat -- init";

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

/// A running machine, which does what [`Running`] does. Killed when dropped, and its TPM after it.
pub struct VirtualMachine {
    running: Running,
    monitor: UnixStream,
    _folder: tempfile::TempDir,
    _tpm: Option<Tpm>,
}

impl Deref for VirtualMachine {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl DerefMut for VirtualMachine {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.running
    }
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
        let socket = folder.path().join("monitor");
        let listener = UnixListener::bind(&socket).unwrap();
        let monitor = format!("socket,id=monitor,path={}", socket.display());
        let own = ["-nodefaults", "-vga", "std", "-chardev", &monitor];
        let own = [&own[..], &["-mon", "chardev=monitor,mode=readline", "-drive", drive]].concat();
        let running = Running::start(folder.path(), [&own, arguments].concat(), PATIENCE);
        let (monitor, _) = listener.accept().unwrap();
        Self {
            running,
            monitor,
            _folder: folder,
            _tpm: tpm,
        }
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
}
