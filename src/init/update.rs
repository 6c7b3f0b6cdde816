//! Updates: process 1 takes requests of the exchange's at a socket and starts a sandboxed process for each.

use super::exchange;
use super::state::Shared;
use lamchat_machine::gpt;
use lamchat_slots::{Name, Slot};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Where the exchange hands updates over.
pub const SOCKET: &str = "/run/lamchat/update.sock";
/// The user of the updater, which has nothing of its own.
const USER: u32 = 992;
const KEY: &str = "/etc/lamchat/release.pub";
const APPROVERS: &str = "/etc/lamchat/approvers.json";
const RELEASE: &str = "/etc/lamchat/release.json";
const FOLDER: &str = "/data/update";
/// systemd's Boot Loader Interface: LoaderEntrySelected, LoaderDevicePartUUID.
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const VARIABLES: &str = "/sys/firmware/efi/efivars";
/// Longest variable that is read.
const VARIABLE_BYTES_MAX: usize = 4096;

/// Where the release that runs came from.
#[derive(Debug)]
pub struct Booted {
    esp: PathBuf,
    slot: Slot,
}

impl Booted {
    /// Looked for once: a set-up gives the disk new identifiers, and the boot loader's variable keeps the one before.
    pub fn of(shared: &Shared) -> Result<&Self, String> {
        match shared.booted.get() {
            Some(known) => Ok(known),
            None => Self::find().map(|found| shared.booted.get_or_init(|| found)),
        }
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
                return Ok(Self {
                    esp: gpt::device(&disk, found.number),
                    slot: name.slot,
                });
            }
        }
        Err(format!(
            "no disk has the partition {wanted} that the box was started from"
        ))
    }
}

/// Whether the release that runs is not marked good yet. Where no boot loader of ours counts, nothing is.
pub fn is_on_trial() -> bool {
    // Its name from before the count: what is marked good later stays on trial for this run.
    variable("LoaderEntrySelected").is_ok_and(|entry| Name::parse_path(&entry).is_none_or(|name| name.tries.is_some()))
}

/// A variable of the boot loader's: four bytes of attributes, then UTF-16 with a zero at its end.
fn variable(name: &str) -> Result<String, String> {
    let path = Path::new(VARIABLES).join(format!("{name}-{LOADER}"));
    let bytes = std::fs::read(&path).map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() > VARIABLE_BYTES_MAX {
        return Err(format!("{name} is too long"));
    }
    decode(&bytes).ok_or_else(|| format!("{name} is malformed"))
}

fn decode(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.get(4..)?.as_chunks::<2>();
    let units: Vec<u16> = pairs
        .iter()
        .map(|pair| u16::from_le_bytes(*pair))
        .take_while(|unit| *unit != 0)
        .collect();
    if rest.is_empty() {
        String::from_utf16(&units).ok()
    } else {
        None
    }
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
    let pid = start(shared, command.arg("--mark-good").stdin(Stdio::null()))?;
    *marking = Some((pid, ended));
    Ok(())
}

fn command(booted: &Booted) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .arg("updater")
        .arg("--esp")
        .arg(&booted.esp)
        .args([
            "--folder",
            FOLDER,
            "--key",
            KEY,
            "--approvers",
            APPROVERS,
            "--release",
            RELEASE,
        ])
        .args(["--running", &booted.slot.to_string(), "--user", &USER.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command)
}

fn start(shared: &Arc<Shared>, command: &mut Command) -> Result<i32, String> {
    // Under the lock, so that the main loop does not reap it before it is known.
    let mut updaters = shared.updaters.lock();
    let child = command.spawn().map_err(|error| error.to_string())?;
    let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
    updaters.insert(pid);
    Ok(pid)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn variables_are_utf_16_behind_their_attributes() {
        let bytes = b"\x06\0\0\0a\0-\0b\0\0\0";
        assert_eq!(decode(bytes).as_deref(), Some("a-b"));
        assert_eq!(decode(b"\x06\0\0\0a"), None);
        assert_eq!(decode(b"\x06"), None);
        assert_eq!(decode(b"\x06\0\0\0\x00\xd8"), None);
    }
}
