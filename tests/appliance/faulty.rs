//! A release that fails, for the tests of updates alone: it is put into an image in the place of `lamchat`, with the real
//! program behind it, and no part of it is in the real one.
//!
//! `tests/appliance/make_faulty PROGRAM WAY OUT` puts both together: this program, the real one, eight letters that name
//! the way in which it fails, and the real one's length in sixteen hexadecimal digits.

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::error::Error;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Where the kernel starts this.
const OWN: &str = "/lamchat";
/// Where the real program is put.
const REAL: &str = "/real";
/// Bytes behind the real program: the way, and its length.
const TRAILER: usize = 8 + 16;
/// How long process 1 runs with its watchdog before it is frozen.
const FROZEN_AFTER: Duration = Duration::from_secs(5);
/// Says whether the watchdog runs: Documentation/ABI/testing/sysfs-class-watchdog.
const WATCHDOG: &str = "/sys/class/watchdog/watchdog0/state";
/// Says who keeps the kernel's last words: fs/pstore/platform.c, `backend`.
const KEEPER: &str = "/sys/module/pstore/parameters/backend";
/// Documentation/admin-guide/sysrq.rst, `c`.
const CRASH: &str = "/proc/sysrq-trigger";
const LOOK: Duration = Duration::from_millis(100);
/// Where the control groups are mounted, and the one for process 1.
const GROUPS: &str = "/run/groups";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [word, way] if word == "--help-fail" => fail(way),
        _ => start(&arguments),
    }
}

/// As process 1.
fn start(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let way = unpack()?;
    if way == "panic" {
        // The kernel cannot go on without its first process.
        return Err("it fails on purpose".into());
    }
    Command::new(OWN).arg("--help-fail").arg(way).spawn()?;
    Err(Command::new(REAL).args(arguments).exec().into())
}

/// Puts the real program where it can be started, and answers the way to fail.
fn unpack() -> Result<String, Box<dyn Error>> {
    let mut own = File::open(OWN)?;
    let end = own.seek(SeekFrom::End(0))?;
    own.seek(SeekFrom::Start(end - TRAILER as u64))?;
    let mut trailer = String::new();
    own.read_to_string(&mut trailer)?;
    let (way, length) = trailer.split_at_checked(8).ok_or("no trailer")?;
    let length = u64::from_str_radix(length, 16)?;
    own.seek(SeekFrom::Start(end - TRAILER as u64 - length))?;
    let mut real = File::options().write(true).create_new(true).mode(0o755).open(REAL)?;
    std::io::copy(&mut own.take(length), &mut real)?;
    real.flush()?;
    Ok(way.trim_end().to_owned())
}

/// Beside process 1.
fn fail(way: &str) -> Result<(), Box<dyn Error>> {
    match way {
        "silent" => loop {
            stop_exchanges();
            std::thread::sleep(LOOK);
        },
        "frozen" => {
            // Before that a hang counts only where firmware or a management controller watches.
            while !std::fs::read_to_string(WATCHDOG).is_ok_and(|state| state.trim() == "active") {
                std::thread::sleep(LOOK);
            }
            std::thread::sleep(FROZEN_AFTER);
            freeze_first()
        }
        "crashed" => {
            while !std::fs::read_to_string(KEEPER).is_ok_and(|keeper| keeper.starts_with("efi")) {
                std::thread::sleep(LOOK);
            }
            Ok(std::fs::write(CRASH, "c")?)
        }
        _ => Err("no way to fail".into()),
    }
}

/// Stops every exchange before it can answer anybody.
fn stop_exchanges() {
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_exchange = line.split(|byte| *byte == 0).nth(1) == Some(b"serve");
        if is_exchange && let Ok(pid) = entry.file_name().to_string_lossy().parse() {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
        }
    }
}

/// Documentation/admin-guide/cgroup-v2.rst, `cgroup.freeze`.
fn freeze_first() -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(GROUPS)?;
    mount(Some("none"), GROUPS, Some("cgroup2"), MsFlags::empty(), None::<&str>)?;
    let group = Path::new(GROUPS).join("first");
    std::fs::create_dir(&group)?;
    std::fs::write(group.join("cgroup.procs"), "1")?;
    Ok(std::fs::write(group.join("cgroup.freeze"), "1")?)
}
