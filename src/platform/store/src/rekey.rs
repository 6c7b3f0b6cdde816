//! Encrypting a store anew under another key, while nobody has it open: somebody may have copied the former one.
//!
//! The log is emptied into the database, the database copied sector by sector into a file under the new key, and the
//! copy renamed over it. Its first sector tells which key it is under, so that a power cut anywhere is only a delay.

use crate::database::{DatabaseFile, guarded, saved};
use crate::keys::{LogKey, check_key, write_key_check};
use crate::memtable::Memtable;
use crate::progress::{Progress, Work, percent};
use crate::recovery::recover;
use crate::xts::{SECTOR, SectorCipher};
use crate::{OpenError, Options, Store, table};
use lamchat_base::Secret;
use lamchat_disk::{Disk, RealDisk};
use redb::ReadableDatabase;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What redb's file begins with (redb's design.md, "Database header").
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// Copied at a time.
const CHUNK: usize = 256 * SECTOR;
/// What must stay free beside the copy, in bytes.
const SPARE_BYTES: u64 = 64 << 20;
/// The copy while it is made.
const COPY: &str = "db.redb.rekey";

/// Why a store was not encrypted anew. It opens as before, under the key that it was under.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// For a while the database is there twice.
    #[error("the disk has no room for a second copy of the database: {needed} bytes are needed, {free} are free")]
    NoRoom {
        /// Bytes of the copy and some to spare.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// It is under none of the keys.
    #[error("the database is under none of the keyring's keys")]
    Foreign,
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Sees to it that the store is under `options.key`; `former`: the keys that it may be under instead. Blocks for as long
/// as a copy takes. Answers whether anything was to be done. Durable on return.
pub fn rekey(options: &Options, former: &[Secret<64>]) -> Result<bool, RekeyError> {
    rekey_on(Arc::new(RealDisk), options, former)
}

/// Like [`rekey`], on another disk.
pub fn rekey_on(disk: Arc<dyn Disk>, options: &Options, former: &[Secret<64>]) -> Result<bool, RekeyError> {
    let folder = &options.dir;
    let (path, check) = (folder.join("db.redb"), folder.join("key-check"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RekeyError::Io { path, source }
    };
    let first = match first_sector(&*disk, &path) {
        Ok(first) => first,
        // There is no database yet, or one that was never made: nothing is under any key.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(&path)(error)),
    };
    if is_under(&options.key, &first) {
        let key = LogKey::new(&options.key);
        if matches!(check_key(&*disk, &check, &key), Ok(Some(()))) {
            return Ok(false);
        }
        // The power went after the copy had taken its place.
        write_key_check(&*disk, &check, &key).map_err(failed(&check))?;
        return Ok(true);
    }
    let former = former.iter().find(|key| is_under(key, &first));
    let former = former.ok_or(RekeyError::Foreign)?;
    let before = Options {
        dir: folder.clone(),
        key: former.clone(),
        tables: options.tables.clone(),
        progress: options.progress.clone(),
    };
    // Its end leaves everything in the database. A migration is left to the start, which knows whether it may.
    drop(Store::open_as_it_is(Arc::clone(&disk), before)?);
    let lock_path = folder.join("lock");
    let lock = disk.lock(&lock_path).map_err(failed(&lock_path))?;
    let lock = lock.ok_or_else(|| OpenError::Locked(folder.clone()))?;
    check_drained(&disk, options, former)?;
    copy(
        &*disk,
        &path,
        &folder.join(COPY),
        (former, &options.key),
        &options.progress,
    )?;
    let log = folder.join("wal");
    for name in disk.list(&log).map_err(failed(&log))? {
        let segment = log.join(name);
        disk.remove(&segment).map_err(failed(&segment))?;
    }
    disk.sync_dir(&log).map_err(failed(&log))?;
    disk.rename(&folder.join(COPY), &path).map_err(failed(&path))?;
    disk.sync_dir(folder).map_err(failed(folder))?;
    write_key_check(&*disk, &check, &LogKey::new(&options.key)).map_err(failed(&check))?;
    drop(lock);
    Ok(true)
}

/// Which of these keys the database in the folder `dir` is under.
pub fn key_of(dir: &Path, keys: &[Secret<64>]) -> io::Result<Option<Secret<64>>> {
    let first = first_sector(&RealDisk, &dir.join("db.redb"))?;
    Ok(keys.iter().find(|key| is_under(key, &first)).cloned())
}

fn first_sector(disk: &dyn Disk, path: &Path) -> io::Result<[u8; SECTOR]> {
    let mut sector = [0; SECTOR];
    disk.open_to_read(path)?.read_at(0, &mut sector)?;
    Ok(sector)
}

fn is_under(key: &Secret<64>, first: &[u8; SECTOR]) -> bool {
    let mut sector = *first;
    SectorCipher::new(key).decrypt(&mut sector, 0);
    sector.starts_with(MAGIC)
}

/// The log must have nothing that the database does not: it is not copied.
fn check_drained(disk: &Arc<dyn Disk>, options: &Options, key: &Secret<64>) -> Result<(), OpenError> {
    let tables = table::declared(&options.tables)?;
    let file = DatabaseFile {
        disk: Arc::clone(disk),
        path: options.dir.join("db.redb"),
        cipher: Arc::new(SectorCipher::new(key)),
        progress: options.progress.clone(),
    };
    let database = file.open().map_err(|error| file.explain(error))?;
    let checkpoint = guarded(|| saved(&database.begin_read()?)).flatten();
    let checkpoint = checkpoint.map_err(|error| file.explain(error))?;
    drop(database);
    let rows = Memtable::new(&tables);
    let (newest, _) = recover(
        disk,
        &options.dir.join("wal"),
        &LogKey::new(key),
        checkpoint,
        &tables,
        &rows,
        &options.progress,
    )?;
    if newest.sequence == checkpoint.sequence {
        Ok(())
    } else {
        let sentence = "the log could not be emptied into it: is the disk full?";
        Err(OpenError::Damaged(sentence.to_owned()))
    }
}

/// Copies sector by sector from one key to the other. A sector of zeros was never written and stays one.
fn copy(
    disk: &dyn Disk,
    from: &Path,
    to: &Path,
    (old, new): (&Secret<64>, &Secret<64>),
    progress: &Progress,
) -> Result<(), RekeyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RekeyError::Io { path, source }
    };
    let source = disk.open_to_read(from).map_err(failed(from))?;
    let size = source.size().map_err(failed(from))?;
    let folder = to.parent().unwrap_or(Path::new("."));
    let free = disk.free_bytes(folder).map_err(failed(folder))?;
    let needed = size.saturating_add(SPARE_BYTES);
    if free < needed {
        return Err(RekeyError::NoRoom { needed, free });
    }
    let target = disk.create(to).map_err(failed(to))?;
    target.set_len(size).map_err(failed(to))?;
    let (old, new) = (SectorCipher::new(old), SectorCipher::new(new));
    let mut offset = 0;
    while offset < size {
        // Whole sectors: the file has no others.
        let bytes = usize::try_from(size - offset).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; bytes];
        source.read_at(offset, &mut chunk).map_err(failed(from))?;
        for (sector, number) in chunk.chunks_mut(SECTOR).zip(offset / SECTOR as u64..) {
            if sector.iter().all(|byte| *byte == 0) {
                continue;
            }
            old.decrypt(sector, number);
            new.encrypt(sector, number);
            target.write_at(number * SECTOR as u64, sector).map_err(failed(to))?;
        }
        offset += bytes as u64;
        progress.tell(Work::Copy {
            percent: percent(offset, size),
        });
    }
    target.sync_data().map_err(failed(to))
}
