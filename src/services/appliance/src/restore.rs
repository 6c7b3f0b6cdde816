//! Restoring a backup into an empty data folder: first everything is verified, then written.

use crate::folders::Folders;
use crate::frame::{FrameCipher, Header};
use crate::parts::{PartError, PartReader};
use crate::record::{Counts, Record};
use lamchat_base::{Entropy, Position};
use lamchat_disk::RealDisk;
use lamchat_keys::one_time;
use lamchat_media::{StoredError, restore_extent, restore_sync};
use lamchat_seal::{
    BackupKeyring, CreateError, DataKeys, ImportError as KeyringImportError, KeyringError, SecretError, Unlock,
};
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
    let (mut frames, _) = Frames::open(backup_dir, unlock)?;
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

/// Restores a backup. Blocks. Everything is verified before the first byte is written. A restore that is cut off
/// leaves a data folder whose database does not open; empty it and start again.
pub fn restore(options: &RestoreOptions) -> Result<Restored, RestoreError> {
    check_empty(&options.data_dir)?;
    let mut restored = verify(&options.backup_dir, &options.unlock)?;
    let folders = Folders::below(&options.data_dir);
    let (mut frames, keyring) = Frames::open(&options.backup_dir, &options.unlock)?;
    let keyring = keyring.install(&options.keys_dir, options.file_slot, Arc::clone(&options.entropy))?;
    // Of a keyring that was in this folder before: its signer would refuse the log that begins with a restore.
    keyring.forget_all_own()?;
    let keys = keyring.data_keys(&folders.data)?;
    let key = keys.database_key()?;
    let store = Store::open(Options {
        dir: folders.store.clone(),
        key,
        tables: options.tables.clone(),
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

/// Authenticated frames of a backup.
struct Frames {
    parts: PartReader,
    cipher: FrameCipher,
}

impl Frames {
    fn open(backup_dir: &Path, unlock: &Unlock) -> Result<(Self, BackupKeyring), RestoreError> {
        let mut parts = PartReader::open(backup_dir)?;
        let header_frame = parts.frame()?.ok_or(RestoreError::Truncated)?;
        let header = Header::decode(&header_frame).ok_or(RestoreError::Malformed("it does not start like a backup"))?;
        let keyring = BackupKeyring::open(&header.keyring, unlock)?;
        let cipher = FrameCipher::new(&keyring.backup_key(&header.salt), &header_frame);
        Ok((Self { parts, cipher }, keyring))
    }

    /// Hands every record to `take` and checks that all of them are there.
    fn records(
        &mut self,
        take: &mut dyn FnMut(Record<'_>) -> Result<(), RestoreError>,
    ) -> Result<Counts, RestoreError> {
        let (mut counts, mut end, mut number) = (Counts::default(), None, 0u64);
        let mut next = self.parts.frame()?;
        while let Some(mut frame) = next {
            // A last frame that is followed by another one, or the reverse, does not authenticate.
            next = self.parts.frame()?;
            number += 1;
            let last = next.is_none();
            let truncated = || {
                if last {
                    RestoreError::Truncated
                } else {
                    RestoreError::Tampered(number)
                }
            };
            let mut clear = self.cipher.open(&mut frame, last).map_err(|_| truncated())?;
            while !clear.is_empty() {
                let record = Record::decode(&mut clear).ok_or(RestoreError::Malformed("a record does not parse"))?;
                counts.add(&record);
                if let Record::End(told) = record {
                    end = Some(told);
                }
                take(record)?;
            }
        }
        match end {
            None => Err(RestoreError::Truncated),
            Some(told) if told != counts => Err(RestoreError::Malformed("its counts do not fit")),
            Some(_) => Ok(counts),
        }
    }
}
