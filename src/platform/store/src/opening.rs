//! Opening a store: lock, key, redb, log, in this order.

use crate::checkpoint::Checkpoints;
use crate::database::{DatabaseFile, EPOCH_ROW, IMPORT_ROW, Saved, guarded, saved};
use crate::keys::{LogKey, check_key, write_key_check};
use crate::log::Log;
use crate::memtable::Memtable;
use crate::migrate::{Schema, drain, migrate};
use crate::pressure::{Limits, Pressure};
use crate::recovery::recover;
use crate::row_cache::RowCache;
use crate::runs::{AllGathered, Gathered, load_all};
use crate::shared::Shared;
use crate::table::META;
use crate::view::{Base, View};
use crate::xts::SectorCipher;
use crate::{OpenError, Options, codec, table};
use lamchat_disk::{Disk, Lock};
use redb::ReadableDatabase;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Memory for rows that were read, in bytes.
const ROW_CACHE_BYTES: usize = 20 * 1024 * 1024;

/// Everything that an open store consists of, before its threads start.
pub(crate) struct Opened {
    pub(crate) schema: u32,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Log,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) lock: Box<dyn Lock>,
}

/// Opens or creates the store.
pub(crate) fn open(disk: Arc<dyn Disk>, options: Options, limits: Limits, schema: Schema) -> Result<Opened, OpenError> {
    let tables = table::declared(&options.tables)?;
    let (folder, log_folder) = (&options.dir, options.dir.join("wal"));
    let failed = |path: &Path, source: io::Error| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    disk.create_dir(&log_folder)
        .map_err(|error| failed(&log_folder, error))?;
    disk.sync_dir(folder).map_err(|error| failed(folder, error))?;
    let lock_path = folder.join("lock");
    let lock = disk.lock(&lock_path).map_err(|error| failed(&lock_path, error))?;
    let Some(lock) = lock else {
        return Err(OpenError::Locked(folder.clone()));
    };

    let key = LogKey::new(&options.key);
    let path = folder.join("db.redb");
    let check_path = folder.join("key-check");
    if check_key(&*disk, &check_path, &key)?.is_none() {
        if disk.open(&path).is_ok() {
            return Err(OpenError::Damaged(format!("{} is missing", check_path.display())));
        }
        write_key_check(&*disk, &check_path, &key).map_err(|error| failed(&check_path, error))?;
    }
    let cipher = Arc::new(SectorCipher::new(&options.key));
    let file = DatabaseFile {
        disk: disk.clone(),
        path,
        cipher,
        progress: options.progress.clone(),
    };
    let progress = &options.progress;
    let (database, found) = file.open_or_create(schema.version)?;
    let explained = |error| file.explain(error);
    let read = |database| guarded(|| read_saved(database, &tables)).flatten().map_err(explained);
    let target = schema.target(found)?;
    if target > found {
        // Whoever wrote the older rows may have been killed: what they left in the log comes first.
        let (checkpoint, gathered) = read(&database)?;
        let rows = Memtable::new(&tables);
        let (newest, _) = recover(&disk, &log_folder, &key, checkpoint, &tables, &rows, progress)?;
        let drained = guarded(|| drain(&database, &tables, gathered, &rows, newest, progress)).flatten();
        drained.map_err(explained)?;
        migrate(&database, schema, (found, target), progress)?;
    }
    let (checkpoint, gathered) = read(&database)?;
    let database = if gathered.values().all(Gathered::is_empty) {
        database
    } else {
        // The runs have filled redb's cache, where nobody needs them any more.
        drop(database);
        file.open().map_err(explained)?
    };
    let kept = Arc::new(RowCache::new(ROW_CACHE_BYTES));
    let base = guarded(|| Base::open(&database.begin_read()?, &tables, &gathered, &kept));
    let base = base.flatten().map_err(explained)?;

    let active = Memtable::new(&tables);
    let (newest, files) = recover(&disk, &log_folder, &key, checkpoint, &tables, &active, progress)?;
    let view = View {
        base: Some(Arc::new(base)),
        frozen: None,
        active: Arc::new(active),
        sequence: newest.sequence,
        position: newest.position,
    };
    let epoch = epoch(&view)?;
    tracing::debug!(
        epoch,
        sequence = newest.sequence,
        checkpoint = checkpoint.sequence,
        "the store is open"
    );
    let shared = Arc::new(Shared::new(tables, view, epoch));
    let pressure = Arc::new(Pressure::new(limits));
    let files = Arc::new(files);
    // Rows from the log are to be moved soon, and the first segment is to be ready when the first write comes.
    pressure.published(&shared);
    pressure.segment_begun();
    let log = Log::new(shared.clone(), files.clone(), pressure.clone(), key);
    let checkpoints = Checkpoints::new(
        shared.clone(),
        pressure.clone(),
        files,
        file,
        (database, gathered, kept),
        checkpoint,
    );
    Ok(Opened {
        schema: target,
        shared,
        log,
        checkpoints,
        pressure,
        lock,
    })
}

fn read_saved(database: &redb::Database, tables: &[crate::Table]) -> Result<(Saved, AllGathered), redb::Error> {
    let txn = database.begin_read()?;
    Ok((saved(&txn)?, load_all(&txn, tables)?))
}

fn epoch(view: &View) -> Result<u32, OpenError> {
    let row = |key: &[u8]| {
        view.get(META, key)
            .map_err(|error| OpenError::Damaged(error.to_string()))
    };
    if row(IMPORT_ROW)?.is_some() {
        return Err(OpenError::Damaged(
            "an import was not finished: begin it again in an empty folder".to_owned(),
        ));
    }
    let epoch = row(EPOCH_ROW)?.and_then(|row| codec::whole_u32(&row));
    epoch.ok_or_else(|| OpenError::Damaged("it has no epoch".to_owned()))
}
