//! Updates: process 1 takes requests of the exchange's at a socket and starts a sandboxed process for each.

mod booted;
mod direct;
mod mark;

pub use booted::Booted;
pub use direct::{apply, stage};
pub use mark::{Mark, is_counted, mark};

use super::exchange;
use super::state::Shared;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
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
