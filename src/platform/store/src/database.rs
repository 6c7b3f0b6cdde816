//! Opening redb on its encrypted file, and the rows that redb has beside those of the tables.

use crate::backend::EncryptedBackend;
use crate::memtable::Memtable;
use crate::migrate::{SCHEMA_ROW, version};
use crate::progress::{Progress, Work};
use crate::runs::{AllGathered, Gathering};
use crate::table::META;
use crate::xts::SectorCipher;
use crate::{OpenError, Position, Table, codec};
use lamchat_disk::Disk;
use redb::ReadableDatabase;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// redb's cache; it fills as rows are read, and takes a quarter more than this, as the allocator rounds pages up. More gains
/// little as long as the file is in the system's cache. Half of it are pages that a checkpoint may have changed at a time.
const CACHE_BYTES: usize = 24 * 1024 * 1024;

/// The store's own table, as redb sees it.
pub(crate) const META_ROWS: redb::TableDefinition<'static, &[u8], &[u8]> = redb::TableDefinition::new(META.name);

/// The epoch; written like any other row.
pub(crate) const EPOCH_ROW: &[u8] = b"epoch";
/// There while an import runs: a store that has it is half filled.
pub(crate) const IMPORT_ROW: &[u8] = b"import";
/// The last sequence that redb contains; written by checkpoints only.
const SEQUENCE_ROW: &[u8] = b"sequence";
/// The newest position up to that sequence; written by checkpoints only.
const POSITION_ROW: &[u8] = b"position";

/// Where the database lies, and how to read it.
pub(crate) struct DatabaseFile {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    pub(crate) cipher: Arc<SectorCipher>,
    pub(crate) progress: Progress,
}

/// What a checkpoint left in redb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) sequence: u64,
    pub(crate) position: Position,
}

impl DatabaseFile {
    /// Opens the database; it must be there.
    pub(crate) fn open(&self) -> Result<Held, redb::Error> {
        self.open_at(&self.path, false)
    }

    /// Room on the disk for redb to grow, in bytes.
    pub(crate) fn free_bytes(&self) -> std::io::Result<u64> {
        self.disk.free_bytes(self.path.parent().unwrap_or(Path::new(".")))
    }

    fn open_at(&self, path: &Path, fresh: bool) -> Result<Held, redb::Error> {
        let file = if fresh {
            self.disk.create(path)?
        } else {
            self.disk.open(path)?
        };
        if !fresh && file.size()? == 0 {
            // redb would start a new database in it, and the old one would be forgotten without a word.
            return Err(redb::Error::Corrupted("the database file is empty".to_owned()));
        }
        let backend = EncryptedBackend::new(file, self.cipher.clone());
        let progress = self.progress.clone();
        let opened = guarded(|| {
            redb::Builder::new()
                .set_cache_size(CACHE_BYTES)
                .set_repair_callback(move |session| {
                    let done = session.progress() * 100.0;
                    let percent = (0..=100).rev().find(|percent| f64::from(*percent) <= done).unwrap_or(0);
                    progress.tell(Work::Repair { percent });
                })
                .create_with_backend(backend)
        })?;
        Ok(Held(Some(opened?)))
    }

    /// Opens the database, made new at schema `version_of_new` if it is not there; answers its schema version as well.
    pub(crate) fn open_or_create(&self, version_of_new: u32) -> Result<(Held, u32), OpenError> {
        match self.disk.open(&self.path) {
            Ok(file) => drop(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create(version_of_new).map_err(|error| self.explain(error))?;
            }
            Err(error) => return Err(self.explain(error.into())),
        }
        let database = self.open().map_err(|error| self.explain(error))?;
        let found = guarded(|| schema(&database))
            .flatten()
            .map_err(|error| self.explain(error))?;
        let found = version(found.as_deref())?;
        Ok((database, found))
    }

    /// Makes the database under another name first: one that was not finished never bears the name.
    fn create(&self, version: u32) -> Result<(), redb::Error> {
        let fresh = self.path.with_extension("redb.new");
        let database = self.open_at(&fresh, true)?;
        let mut txn = database.begin_write()?;
        txn.set_quick_repair(true);
        {
            let mut meta = txn.open_table(META_ROWS)?;
            meta.insert(SCHEMA_ROW, version.to_le_bytes().as_slice())?;
            meta.insert(EPOCH_ROW, 1u32.to_le_bytes().as_slice())?;
        }
        txn.commit()?;
        drop(database);
        self.disk.rename(&fresh, &self.path)?;
        Ok(self.disk.sync_dir(self.path.parent().unwrap_or(Path::new(".")))?)
    }

    /// An error of redb as an error of opening.
    pub(crate) fn explain(&self, error: redb::Error) -> OpenError {
        match error {
            redb::Error::Io(source) => OpenError::Io {
                path: self.path.clone(),
                source,
            },
            other => OpenError::Damaged(format!("{}: {other}", self.path.display())),
        }
    }
}

fn schema(database: &redb::Database) -> Result<Option<Vec<u8>>, redb::Error> {
    let meta = database.begin_read()?.open_table(META_ROWS)?;
    Ok(meta.get(SCHEMA_ROW)?.map(|row| row.value().to_vec()))
}

/// An open database. redb writes when it is closed, and panics there, too, where its file is damaged.
pub(crate) struct Held(Option<redb::Database>);

impl std::ops::Deref for Held {
    type Target = redb::Database;

    #[expect(clippy::expect_used, reason = "only dropping takes it away")]
    fn deref(&self) -> &redb::Database {
        self.0.as_ref().expect("an open database")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let database = self.0.take();
        if let Err(error) = guarded(|| drop(database)) {
            tracing::error!(%error, "the database could not be closed in order; the next start looks at it");
        }
    }
}

/// Runs a call of redb. Some damage makes it panic where an error would do; a thread must not end by that.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, redb::Error> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        redb::Error::Corrupted(text.unwrap_or_else(|| "redb panicked".to_owned()))
    })
}

/// What the last checkpoint contained.
pub(crate) fn saved(txn: &redb::ReadTransaction) -> Result<Saved, redb::Error> {
    let meta = txn.open_table(META_ROWS)?;
    let number = |row: &[u8]| -> Result<u64, redb::Error> {
        // Before the first checkpoint there is no row.
        let Some(found) = meta.get(row)? else { return Ok(0) };
        codec::whole_u64(found.value()).ok_or_else(|| redb::Error::Corrupted("a malformed meta row".to_owned()))
    };
    Ok(Saved {
        sequence: number(SEQUENCE_ROW)?,
        position: Position(number(POSITION_ROW)?),
    })
}

/// Writes the rows of a memtable in a transaction.
pub(crate) fn write_rows(
    txn: &redb::WriteTransaction,
    tables: &[Table],
    memtable: &Memtable,
    (gathered, number, gathering): (&mut AllGathered, u64, Gathering),
    progress: &Progress,
) -> Result<(), redb::Error> {
    for table in tables {
        progress.tell(Work::Drain);
        let Some(rows) = memtable.rows_of(*table).filter(|rows| !rows.is_empty()) else {
            continue;
        };
        if let Some(runs) = gathered.get_mut(&table.id) {
            runs.checkpoint(txn, *table, rows, number, gathering)?;
            continue;
        }
        let mut own = txn.open_table(redb::TableDefinition::<&[u8], &[u8]>::new(table.name))?;
        for (number, row) in rows.iter().enumerate() {
            progress.tell_row(number, Work::Drain);
            match row.value().newest() {
                Some(value) => drop(own.insert(row.key().as_ref(), value.as_ref())?),
                None => drop(own.remove(row.key().as_ref())?),
            }
        }
    }
    Ok(())
}

/// Notes in a checkpoint's transaction what it contains.
pub(crate) fn note_saved(txn: &redb::WriteTransaction, saved: Saved) -> Result<(), redb::Error> {
    let mut meta = txn.open_table(META_ROWS)?;
    meta.insert(SEQUENCE_ROW, saved.sequence.to_le_bytes().as_slice())?;
    meta.insert(POSITION_ROW, saved.position.0.to_le_bytes().as_slice())?;
    Ok(())
}
