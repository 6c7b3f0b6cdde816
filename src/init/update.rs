//! Updates: process 1 takes requests of the exchange's at a socket and starts a sandboxed process for each.

mod direct;
mod mark;

pub use direct::{apply, stage};
pub use mark::{Mark, is_counted, mark};

use super::disk::Found;
use super::exchange;
use super::state::Shared;
use lamchat_machine::efi::{LOADER, Variables};
use lamchat_machine::gpt;
use lamchat_slots::{Name, Slot};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use parking_lot::Mutex;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Where the exchange hands updates over.
pub const SOCKET: &str = "/run/lamchat/update.sock";
/// The user of the updater, which has nothing of its own.
const USER: u32 = 992;
const KEY: &str = "/etc/lamchat/release.pub";
const APPROVERS: &str = "/etc/lamchat/approvers.json";
const RELEASE: &str = "/etc/lamchat/release.json";
/// Measured and signed with the release: a file among the data could say anything.
const BILL: &str = "/etc/lamchat/sbom.cdx.json";
const FOLDER: &str = "/data/update";

/// Where the release that runs came from.
#[derive(Debug)]
pub struct Booted {
    /// What the firmware started from.
    from: PathBuf,
    /// The EFI system partition that counts: the same, or one of another disk of a mirror where the first has failed.
    esp: Mutex<PathBuf>,
    slot: Slot,
}

impl Booted {
    /// Looked for once: a set-up gives the disk new identifiers, and the boot loader's variable keeps the one before.
    pub fn of(shared: &Shared) -> Result<&Self, String> {
        let booted = match shared.booted.get() {
            Some(known) => known,
            None => Self::find().map(|found| shared.booted.get_or_init(|| found))?,
        };
        let disk = shared.disk.lock();
        let mirror = disk.as_ref().filter(|found| found.mirror.is_some());
        let esps = mirror.map(Found::esps).unwrap_or_default();
        if let Some(first) = esps.first().filter(|_| !esps.contains(&booted.from)) {
            booted.esp.lock().clone_from(first);
        }
        Ok(booted)
    }

    /// The EFI system partition that counts.
    pub fn esp(&self) -> PathBuf {
        self.esp.lock().clone()
    }

    /// Those of a mirror's other disks, also of disks that are not used: a firmware may start from them first.
    pub fn others(&self, shared: &Shared) -> Vec<PathBuf> {
        let disk = shared.disk.lock();
        let Some(found) = disk.as_ref().filter(|found| found.mirror.is_some()) else {
            return Vec::new();
        };
        let left = found.left.iter().filter_map(|member| member.esp.clone());
        let all = found.esps().into_iter().chain(left);
        all.filter(|other| *other != *self.esp.lock()).collect()
    }

    /// The slot, as people write it.
    pub fn slot_name(&self) -> String {
        self.slot.to_string()
    }

    fn find() -> Result<Self, String> {
        let entry = variable("LoaderEntrySelected")?;
        let name = Name::parse_path(&entry).ok_or_else(|| format!("{entry:?} was started, which is no slot's file"))?;
        let wanted = variable("LoaderDevicePartUUID")?.to_ascii_lowercase();
        for disk in gpt::disks() {
            let partitions = gpt::read(&disk).unwrap_or_default();
            if let Some(found) = partitions.iter().find(|partition| gpt::text(&partition.id) == wanted) {
                let from = gpt::device(&disk, found.number);
                return Ok(Self {
                    esp: Mutex::new(from.clone()),
                    from,
                    slot: name.slot,
                });
            }
        }
        Err(format!(
            "no disk has the partition {wanted} that the box was started from"
        ))
    }
}

/// A variable of the boot loader's.
fn variable(name: &str) -> Result<String, String> {
    let text = Variables::of_machine().text(name, LOADER);
    text.map_err(|error| error.to_string())?
        .ok_or_else(|| format!("there is no {name}: it was not the boot loader that started this"))
}

/// Opens the socket; only the exchange's user and root may use it.
pub fn listen() -> std::io::Result<UnixListener> {
    let listener = UnixListener::bind(SOCKET)?;
    chown(SOCKET, Some(0), Some(exchange::GROUP))?;
    std::fs::set_permissions(SOCKET, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Never ends: a process for each request. The main loop reaps it.
pub fn serve(shared: &Arc<Shared>, listener: &UnixListener) {
    for stream in listener.incoming() {
        let started = stream.map_err(|error| error.to_string()).and_then(|stream| {
            let peer = getsockopt(&stream, PeerCredentials).map_err(|error| error.to_string())?;
            if ![0, exchange::USER].contains(&peer.uid()) {
                return Err(format!("user {} was turned away", peer.uid()));
            }
            let mut command = command(Booted::of(shared)?)?;
            start(shared, command.stdin(OwnedFd::from(stream))).map(drop)
        });
        if let Err(error) = started {
            shared.log.note(&format!("updates: {error}"));
        }
    }
}

/// Has the slot that runs marked as good, by a process whose exit code `ended` takes.
pub fn mark_good(shared: &Arc<Shared>, ended: SyncSender<i32>) -> Result<(), String> {
    let mut command = command(Booted::of(shared)?)?;
    let mut marking = shared.marking.lock();
    let child = start(shared, command.arg("--mark-good").stdin(Stdio::null()))?;
    *marking = Some((pid(&child)?, ended));
    Ok(())
}

/// Has the digest of the image that runs written into a file.
pub fn tell_digest(shared: &Arc<Shared>, file: File) -> Result<(), String> {
    let mut command = command(Booted::of(shared)?)?;
    start(shared, command.arg("--digest").stdin(Stdio::null()).stdout(file)).map(drop)
}

/// Starts an updater that takes no request.
pub fn errand(shared: &Arc<Shared>, flag: &str) -> Result<(), String> {
    let mut command = command(Booted::of(shared)?)?;
    start(shared, command.arg(flag).stdin(Stdio::null())).map(drop)
}

/// Has the other disks of a mirror get the releases, the counters and the marks of the half that was started from.
pub fn follow(shared: &Arc<Shared>) {
    if shared.disk.lock().as_ref().is_none_or(|found| found.mirror.is_none()) {
        return;
    }
    let started = Booted::of(shared).and_then(|booted| {
        for other in booted.others(shared) {
            let mut command = command(booted)?;
            command.arg("--follow").arg(&other).stdin(Stdio::null());
            if other == booted.from {
                // What runs is what a disk had that was away: perhaps an older release.
                command.arg("--restart-if-written");
            }
            start(shared, &mut command).map(drop)?;
        }
        Ok(())
    });
    if let Err(error) = started {
        shared
            .log
            .note(&format!("the other disk does not get this one's releases: {error}"));
    }
}

/// Whether the machine was started from a disk of the mirror's that is not used any more.
pub fn is_from_left(shared: &Arc<Shared>) -> bool {
    let found = shared.disk.lock().clone();
    let left = found.map(|found| found.left).unwrap_or_default();
    Booted::of(shared).is_ok_and(|booted| left.iter().any(|member| member.esp.as_ref() == Some(&booted.from)))
}

/// How an updater is started for what the box was started from.
pub fn command(booted: &Booted) -> Result<Command, String> {
    command_on(booted, &booted.esp())
}

/// The same for this EFI system partition.
pub fn command_on(booted: &Booted, esp: &Path) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .arg("updater")
        .arg("--esp")
        .arg(esp)
        .args([
            "--folder",
            FOLDER,
            "--key",
            KEY,
            "--approvers",
            APPROVERS,
            "--release",
            RELEASE,
            "--bill",
            BILL,
        ])
        .args(["--running", &booted.slot.to_string(), "--user", &USER.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command)
}

/// Starts it; the main loop reaps it.
pub fn start(shared: &Shared, command: &mut Command) -> Result<Child, String> {
    // Under the lock, so that the main loop does not reap it before it is known.
    let mut updaters = shared.updaters.lock();
    let child = command.spawn().map_err(|error| error.to_string())?;
    updaters.insert(pid(&child)?);
    Ok(child)
}

fn pid(child: &Child) -> Result<i32, String> {
    i32::try_from(child.id()).map_err(|error| error.to_string())
}
