//! Restoring a backup into an empty data folder: first everything is verified, then written.

use crate::backup::{KeyringSource, PrepareError};
use crate::folders::Folders;
use crate::frames::{Frames, header};
use crate::part_reader::PartReader;
use crate::parts::PartError;
use crate::rack::{FolderRack, Rack};
use crate::record::{Counts, Record};
use lamchat_base::{Entropy, Position};
use lamchat_disk::{Disk, RealDisk};
use lamchat_keys::one_time;
use lamchat_media::{StoredError, restore_extent, restore_sync};
use lamchat_seal::{CreateError, DataKeys, ImportError as KeyringImportError, KeyringError, SecretError, Unlock};
use lamchat_store::{Epoch, Import, ImportError, OpenError, Options, ReadError, Store, Table, WriteError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to restore.
#[derive(Clone)]
pub struct RestoreOptions {
    /// The folder with the backup.
    pub backup_dir: PathBuf,
    /// The data folder: missing or empty.
    pub data_dir: PathBuf,
    /// The folder of the keyring, which must have none.
    pub keys_dir: PathBuf,
    /// A recovery key or passphrase that the keyring had when the backup was made.
    pub unlock: Unlock,
    /// Whether the new keyring gets a file slot, which opens without anybody, as well.
    pub file_slot: bool,
    /// All tables of this program.
    pub tables: Vec<Table>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Where a backup goes whose keyring somebody else has installed already: on a box the key holder.
pub struct RestoreUnder<'k> {
    /// The data folder: missing or empty.
    pub data_dir: PathBuf,
    /// Whoever has the keyring.
    pub keyring: &'k dyn KeyringSource,
    /// What it releases.
    pub keys: DataKeys,
    /// All tables of this program.
    pub tables: Vec<Table>,
}

/// What can be known of a backup without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// The keyring as [`lamchat_seal::BackupKeyring::open`] takes it; nothing has authenticated it.
    pub keyring: Vec<u8>,
    /// Bytes of all parts, which are there.
    pub bytes: u64,
}

/// What was restored or verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Whose backup it is.
    pub server_name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// How much is in it.
    pub counts: Counts,
    /// Devices whose one-time keys were deleted, so that none is handed out twice; their clients upload new ones.
    pub devices_without_keys: usize,
}

/// Why a backup was not restored. Unless it says `Read`, `Import` or something about the disk, nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The keyring that was installed does not give the backup's key.
    #[error(transparent)]
    Holder(#[from] PrepareError),
    /// Less is free than the backup has.
    #[error("the disk is too small: the backup has {needed} bytes, and {free} are free. Use a larger disk")]
    NoRoom {
        /// Bytes of the backup.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// There is something in the data folder.
    #[error("the data folder {0} is not empty: restore into a new one")]
    NotEmpty(PathBuf),
    /// The parts cannot be read.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The wrong recovery key or passphrase, or a damaged keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringImportError),
    /// A frame was changed, left out or moved, or it belongs to another backup.
    #[error("the backup is damaged or was changed: frame {0} does not authenticate")]
    Tampered(u64),
    /// The end mark is missing.
    #[error("the backup is truncated: its end mark is missing")]
    Truncated,
    /// What authenticates is not what this program writes.
    #[error("the backup cannot be understood: {0}")]
    Malformed(&'static str),
    /// The keyring could not be written.
    #[error(transparent)]
    CreateKeyring(#[from] CreateError),
    /// The new database key is not available.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// A sealed secret could not be written.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The database could not be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database could not be filled.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Media could not be written.
    #[error(transparent)]
    Media(#[from] StoredError),
    /// One-time keys could not be deleted.
    #[error("the one-time keys could not be deleted: {0}")]
    OneTimeKeys(String),
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Checks a whole backup without writing anything. Blocks.
pub fn verify(backup_dir: &Path, unlock: &Unlock) -> Result<Restored, RestoreError> {
    let mut rack = FolderRack::new(backup_dir);
    let (frames, _) = Frames::unlock(&mut rack, backup_dir, unlock)?;
    check(frames)
}

/// Restores a backup. Blocks. Everything is verified before the first byte is written. A restore that is cut off
/// leaves a data folder whose database does not open; empty it and start again.
pub fn restore(options: &RestoreOptions) -> Result<Restored, RestoreError> {
    check_empty(&options.data_dir)?;
    let restored = verify(&options.backup_dir, &options.unlock)?;
    let mut rack = FolderRack::new(&options.backup_dir);
    let (frames, keyring) = Frames::unlock(&mut rack, &options.backup_dir, &options.unlock)?;
    let keyring = keyring.install(&options.keys_dir, options.file_slot, Arc::clone(&options.entropy))?;
    // Of a keyring that was in this folder before: its signer would refuse the log that begins with a restore.
    keyring.forget_all_own()?;
    let keys = keyring.data_keys(&options.data_dir)?;
    fill(frames, restored, keys, &options.data_dir, options.tables.clone())
}

/// The beginning of the backup on `rack`, which errors call `name`. Refused where not all of its parts are there.
pub fn beginning(rack: &mut dyn Rack, name: &Path) -> Result<Beginning, RestoreError> {
    let mut parts = PartReader::open(rack, name)?;
    let bytes = parts.bytes()?;
    let (header, _) = header(&mut parts)?;
    Ok(Beginning {
        keyring: header.keyring,
        bytes,
    })
}

/// [`restore`] where the keyring is installed already, from the backup's own [`Beginning`]. Blocks.
pub fn restore_under(rack: &mut dyn Rack, name: &Path, place: RestoreUnder<'_>) -> Result<Restored, RestoreError> {
    check_empty(&place.data_dir)?;
    check_room(PartReader::open(rack, name)?.bytes()?, &place.data_dir)?;
    let restored = check(Frames::under(rack, name, place.keyring)?)?;
    let frames = Frames::under(rack, name, place.keyring)?;
    fill(frames, restored, place.keys, &place.data_dir, place.tables)
}

/// Reads everything and compares it with what it says of itself.
fn check(mut frames: Frames<'_>) -> Result<Restored, RestoreError> {
    let mut about = None;
    let counts = frames.records(&mut |record| {
        if let Record::About {
            created_ms,
            server_name,
            ..
        } = record
        {
            about.get_or_insert((created_ms, server_name.to_owned()));
        }
        Ok(())
    })?;
    let (created_ms, server_name) = about.ok_or(RestoreError::Malformed("it does not say whose it is"))?;
    Ok(Restored {
        server_name,
        created_ms,
        counts,
        devices_without_keys: 0,
    })
}

/// Writes everything below the data folder.
fn fill(
    mut frames: Frames<'_>,
    mut restored: Restored,
    keys: DataKeys,
    data_dir: &Path,
    tables: Vec<Table>,
) -> Result<Restored, RestoreError> {
    let folders = Folders::below(data_dir);
    let key = keys.database_key()?;
    let store = Store::open(Options {
        dir: folders.store.clone(),
        key,
        tables,
        progress: lamchat_store::Progress::default(),
    })?;
    let mut target = Target {
        import: store.import()?,
        keys,
        folders,
        table: String::new(),
        at: None,
    };
    restored.counts = frames.records(&mut |record| target.take(record))?;
    restore_sync(&RealDisk, &target.folders.media)?;
    let Target { mut import, at, .. } = target;
    let (position, epoch) = at.ok_or(RestoreError::Malformed("it does not say of when it is"))?;
    // Before the end: a store whose import is not finished does not open, so the keys cannot come back to life.
    import.flush()?;
    let deleted = store.write_blocking(one_time::delete_all);
    restored.devices_without_keys = deleted.map_err(why)?;
    import.finish(position, epoch)?;
    Ok(restored)
}

fn why(error: WriteError<ReadError>) -> RestoreError {
    RestoreError::OneTimeKeys(match error {
        WriteError::Refused(error) => error.to_string(),
        WriteError::Commit(error) => error.to_string(),
    })
}

fn check_empty(dir: &Path) -> Result<(), RestoreError> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(RestoreError::NotEmpty(dir.to_owned())),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(RestoreError::Io {
            path: dir.to_owned(),
            source,
        }),
    }
}

/// What is restored is at least as large as the backup of it.
fn check_room(needed: u64, dir: &Path) -> Result<(), RestoreError> {
    let free = RealDisk.free_bytes(dir).map_err(|source| RestoreError::Io {
        path: dir.to_owned(),
        source,
    })?;
    if free < needed {
        return Err(RestoreError::NoRoom { needed, free });
    }
    Ok(())
}

/// Small secrets in backups of before: a restored audit log begins anew, with a key of its own.
const OF_OLD_LOG: [&str; 2] = ["audit-key", "audit-heads"];

/// Where records go.
struct Target {
    import: Import,
    keys: DataKeys,
    folders: Folders,
    table: String,
    at: Option<(Position, Epoch)>,
}

impl Target {
    fn take(&mut self, record: Record<'_>) -> Result<(), RestoreError> {
        match record {
            Record::About { position, epoch, .. } => self.at = Some((Position(position), Epoch(epoch))),
            Record::Secret { name, .. } if OF_OLD_LOG.contains(&name) => {}
            Record::Secret { name, file } => self.keys.restore_sealed_secret(name, file)?,
            Record::Table { name } => name.clone_into(&mut self.table),
            Record::Row { key, value } => self.import.row(&self.table, key, value)?,
            Record::Media { file, offset, bytes } => {
                restore_extent(&RealDisk, &self.folders.media, file, offset, bytes)?
            }
            Record::MediaMissing { .. } | Record::End(_) => {}
        }
        Ok(())
    }
}
