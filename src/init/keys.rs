//! The key holder on the box: process 1's other child, beside the exchange. It is there first, because the data partition
//! opens by a key of its keyring.

use super::exchange;
use super::service::Program;
use lamchat_base::{Secret, SecretBytes};
use lamchat_holder::{Blame, Reply, Typed};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The user and group that it runs as: nobody else on the box has them.
const USER: u32 = 991;
const GROUP: u32 = 991;
/// Its folder: a lock and a socket. What it keeps is on the partition.
const FOLDER: &str = "/run/lamchat/keys";
/// Where the exchange connects.
pub const EXCHANGE_SOCKET: &str = "/run/lamchat/keys.socket";
const CONFIG: &str = "/run/lamchat/keys.toml";
/// Who approves what the keys are sealed to: a file of the image.
const RELEASE_KEY: &str = "/etc/lamchat/release.pub";
/// The digest of the image that runs, for evidence; the updater writes it, who alone reads the ESP.
const UKI_DIGEST: &str = "/run/lamchat/uki.sha256";
/// The PCRs that a release's reference.json asks for.
const QUOTED: [u8; 5] = [4, 7, 11, 12, 13];
const TPM: &str = "/dev/tpmrm0";
/// The firmware's log of what it measured, for evidence.
const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// How long it may take to come up.
const START_MAX: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Whether and why not the key of the disk is there.
#[derive(Debug)]
pub enum DiskKey {
    /// The key.
    Open(Secret<64>),
    /// The keys do not open by themselves: why, and whose doing it is.
    Locked(String, Blame),
}

/// Makes everything that it needs to start; answers how it is run, and where the digest of the image that runs belongs.
pub fn prepare(partitions: &[PathBuf]) -> std::io::Result<(Program, File)> {
    std::fs::create_dir_all(FOLDER)?;
    give(Path::new(FOLDER), USER, GROUP, 0o700)?;
    for partition in partitions {
        give(partition, USER, GROUP, 0o600)?;
    }
    for (path, mode) in [(TPM, 0o660), (EVENT_LOG, 0o440)] {
        // A machine may have no TPM.
        if Path::new(path).exists() {
            give(Path::new(path), 0, GROUP, mode)?;
        }
    }
    std::fs::write(CONFIG, config())?;
    give(Path::new(CONFIG), 0, GROUP, 0o640)?;
    let digest = File::create(UKI_DIGEST)?;
    give(Path::new(UKI_DIGEST), 0, GROUP, 0o640)?;
    let socket = Path::new(EXCHANGE_SOCKET);
    if socket.exists() {
        std::fs::remove_file(socket)?;
    }
    // Kept here, so that the exchange finds it although a holder ends.
    let listener = UnixListener::bind(socket)?;
    give(socket, 0, exchange::GROUP, 0o660)?;
    let program = Program {
        name: "key holder",
        arguments: [
            "key-holder",
            "--config",
            CONFIG,
            "--exchange-user",
            &exchange::USER.to_string(),
        ]
        .into_iter()
        .map(str::to_owned)
        .chain(
            partitions
                .iter()
                .flat_map(|partition| ["--box".to_owned(), partition.display().to_string()]),
        )
        .collect(),
        user: USER,
        group: GROUP,
        folder: PathBuf::from(FOLDER),
        // As the exchange does it: without, the allocator backs its arena by pages of 2 MiB.
        environment: vec![("MIMALLOC_ARENA_EAGER_COMMIT".to_owned(), "0".to_owned())],
        input: Some(Arc::new(OwnedFd::from(listener))),
    };
    Ok((program, digest))
}

fn give(path: &Path, user: u32, group: u32, mode: u32) -> std::io::Result<()> {
    chown(path, Some(user), Some(group))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// The holder's configuration, which is there before the box has a name.
fn config() -> String {
    format!(
        "server_name = \"box.invalid\"\ndata_dir = {:?}\n\n[seal]\nkeys_dir = {FOLDER:?}\nrelease_key = {RELEASE_KEY:?}\n\n\
         [attestation]\npcrs = {QUOTED:?}\nuki_sha256 = {UKI_DIGEST:?}\n",
        exchange::folder()
    )
}

/// Hands a request to the holder, with what was typed, past the exchange.
pub fn typed(request: &Typed) -> Result<Reply, String> {
    lamchat_holder::ask_typed(&Path::new(FOLDER).join(lamchat_holder::SOCKET), request)
        .map_err(|error| error.to_string())
}

/// What was typed, as the key holder takes it.
pub fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

/// Waits until the holder listens.
pub fn await_start() -> Result<(), String> {
    let since = Instant::now();
    let socket = Path::new(FOLDER).join(lamchat_holder::SOCKET);
    loop {
        match std::os::unix::net::UnixStream::connect(&socket) {
            Ok(_) => return Ok(()),
            Err(error) if since.elapsed() > START_MAX => {
                return Err(format!("the key holder does not start, the log says why: {error}"));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Whether this box asks for a PIN beside its TPM.
pub fn asks_for_pin() -> Result<bool, String> {
    match typed(&Typed::Status)? {
        Reply::Status(status) => Ok(status.tpm.pin.asks()),
        _ => Err("the key holder answers something else".to_owned()),
    }
}

/// The key of the disk.
pub fn disk_key() -> Result<DiskKey, String> {
    match typed(&Typed::DiskKey)? {
        Reply::Disk(key) => Ok(DiskKey::Open(key)),
        Reply::Locked { reason, blame, .. } => Ok(DiskKey::Locked(reason, blame)),
        _ => Err("the key holder answers something else".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    #[test]
    fn the_holder_takes_what_is_written_for_it() {
        let config = lamchat_config::parse(&super::config(), std::path::Path::new(super::CONFIG)).unwrap();
        assert_eq!(
            crate::key_holder::keys_dir(&config),
            std::path::Path::new(super::FOLDER)
        );
    }
}
