//! `lamchat restore`

use super::{Failure, Place, backup, output};
use lamchat_appliance::RestoreOptions;
use lamchat_host::OsEntropy;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Restore a backup into a new data folder, while no server uses it. Devices upload new one-time keys afterwards, and
/// clients synchronize once more from the start.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The folder with the backup.
    backup: PathBuf,
    /// Do not keep a key beside the data that opens it: the server then starts only with
    /// seal.passphrase_file, or after `lamchat seal unlock`.
    #[arg(long)]
    no_file_slot: bool,
    /// Print JSON, for scripts.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(place: &Place, command: Restore) -> Result<(), Failure> {
    crate::serve::keep_files_private();
    let config = place.load()?;
    let folders = [config.data_dir.clone(), crate::key_holder::keys_dir(&config)];
    let owners = folders.each_ref().map(|folder| owner(folder));
    let options = RestoreOptions {
        backup_dir: command.backup,
        data_dir: config.data_dir.clone(),
        keys_dir: crate::key_holder::keys_dir(&config),
        unlock: backup::ask_key()?,
        file_slot: !command.no_file_slot,
        tables: crate::serve::tables(),
        entropy: Arc::new(OsEntropy),
    };
    let restored = lamchat_appliance::restore(&options)?;
    for (folder, owner) in folders.iter().zip(owners) {
        if let Some(owner) = owner {
            give(folder, owner).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
    }
    if restored.server_name != config.server_name.as_str() {
        output::note(format!(
            "note: this is a backup of {}, but the configuration says {}: set server_name before you start it",
            restored.server_name, config.server_name
        ));
    }
    backup::print(
        command.json,
        &config.data_dir.display().to_string(),
        &restored,
        "was restored from a backup of",
    );
    Ok(())
}

/// Who a folder is made for, where root restores for others: the server and its key holder have users of their own.
fn owner(folder: &Path) -> Option<(u32, u32)> {
    let of = std::fs::metadata(folder).ok()?;
    nix::unistd::geteuid().is_root().then(|| (of.uid(), of.gid()))
}

/// Gives what is in a folder to its owner. Links are not followed.
fn give(folder: &Path, (uid, gid): (u32, u32)) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        lchown(entry.path(), Some(uid), Some(gid))?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), (uid, gid))?;
        }
    }
    Ok(())
}
