//! USB sticks: which are there, and a process for each that is used. Process 1 opens the device and reads no byte of it
//! but the partition table, by which it knows disks of its own.

mod deposit;

pub use deposit::Deposit;

use super::disk;
use super::service::follow;
use super::state::Shared;
use lamchat_machine::usb::{self, UsbDisk};
use lamchat_stick::Stick;
use nix::errno::Errno;
use nix::libc;
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The user of the process, which has nothing of its own.
pub const USER: u32 = 993;
/// How long a stick may be held by whoever had it before.
const BUSY_MAX: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The sticks that are there: on the USB bus, and no disk of the box's.
pub fn find() -> Vec<UsbDisk> {
    let mut found = usb::disks(Path::new("/sys"));
    found.retain(|found| !disk::is_ours(&found.device));
    found
}

/// Starts a process that has this stick and nothing else. It ends when the answer is dropped.
pub fn open(shared: &Arc<Shared>, disk: &UsbDisk) -> Result<Stick, String> {
    let device = free_device(&disk.device).map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => format!("{} is used by something else", disk.device.display()),
        Some(libc::ENOMEDIUM | libc::ENXIO) => "the stick is gone".to_owned(),
        _ => format!("{}: {error}", disk.device.display()),
    })?;
    start(shared, device).map_err(|error| format!("the process for the stick does not start: {error}"))
}

/// For us alone: whatever else wants the device, such as a mount, is refused meanwhile (open(2), `O_EXCL`). One that is
/// write-protected can be read.
fn device(path: &Path) -> std::io::Result<File> {
    let open = |write: bool| {
        let mut options = OpenOptions::new();
        options.read(true).write(write).custom_flags(libc::O_EXCL).open(path)
    };
    match open(true) {
        Err(error) if [Some(Errno::EROFS as i32), Some(Errno::EACCES as i32)].contains(&error.raw_os_error()) => {
            open(false)
        }
        other => other,
    }
}

/// [`device`], once the process that had the stick before has ended: it has answered, and lets go a moment later.
fn free_device(path: &Path) -> std::io::Result<File> {
    let since = Instant::now();
    loop {
        match device(path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && since.elapsed() < BUSY_MAX => {
                std::thread::sleep(BUSY_PAUSE);
            }
            other => return other,
        }
    }
}

fn start(shared: &Arc<Shared>, device: File) -> std::io::Result<Stick> {
    let (ours, theirs) = UnixStream::pair()?;
    let stick = Stick::new(ours)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("lamchat")
        .args(["stick", "--user", &USER.to_string()])
        .env_clear()
        .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(OwnedFd::from(device))
        .stderr(Stdio::piped());
    let mut child = shared.start_helper("the process of the stick", &mut command)?;
    if let Some(output) = child.stderr.take() {
        let log = Arc::clone(&shared.log);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || follow(output, "stick", &log))?;
    }
    Ok(stick)
}
