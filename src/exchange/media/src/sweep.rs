//! After a start: removes content that no row names, and tells about rows whose content is missing.

use crate::blob::stored_length;
use crate::media::{Media, file_id, file_name, files_folder, packs_folder};
use crate::pack::{pack_name, pack_number};
use crate::row::{Blob, Content, ITEM, Item, PENDING, Place, decode_number};
use crate::stored::visit_blobs;
use lamchat_disk::Disk;
use lamchat_store::{CommitError, KeyRange, Order, Read, ReadError, ReadExt, WriteError};
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Rows of pending ids that are looked at in one go.
const ROWS_AT_ONCE: usize = 1_000;

/// What a sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files and packs without a row, removed: uploads that a crash cut off.
    pub orphans_removed: usize,
    /// Rows whose content is missing or too short. Somebody else removed it: a case for a backup.
    pub contents_missing: usize,
    /// Ids that expired without content, removed.
    pub ids_expired: usize,
}

/// Why a sweep stopped early. The next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The disk refused.
    #[error("the media folder could not be swept: {0}")]
    Io(#[from] io::Error),
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database did not keep the removal of expired ids.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Media {
    /// Sweeps. Blocks, and takes time in proportion to the number of files: run it in the background once after a start,
    /// while uploads go on.
    pub fn sweep(&self) -> Result<Swept, SweepError> {
        let inner = &self.0;
        // What a power cut left of deleted uploads.
        self.erase()?;
        let (files, packs) = (files_folder(&inner.options.dir), packs_folder(&inner.options.dir));
        // The order matters: what is listed here and has no row below was never finished, or is still being uploaded,
        // which `unfinished` knows. An upload leaves `unfinished` only after its row is committed.
        let (listed_files, listed_packs) = (inner.disk.list(&files)?, inner.disk.list(&packs)?);
        let unfinished = inner.unfinished.lock().clone();
        let mut named_files: HashMap<[u8; 16], u64> = HashMap::new();
        let mut named_packs: HashMap<u32, u64> = HashMap::new();
        visit_blobs(&inner.store.read(), &mut |blob: &Blob| match blob.place {
            Place::File => {
                named_files.insert(blob.id, stored_length(blob.size));
            }
            Place::Pack { number, offset } => {
                let end = named_packs.entry(number).or_default();
                *end = (*end).max(offset + stored_length(blob.size));
            }
        })?;
        let orphaned_files = listed_files
            .iter()
            .filter(|name| file_id(name).is_some_and(|id| !named_files.contains_key(&id) && !unfinished.contains(&id)));
        // Packs of this process may just be filling.
        let first_own = inner.packs.first_own();
        let orphaned_packs = listed_packs.iter().filter(|name| {
            pack_number(name).is_some_and(|number| number < first_own && !named_packs.contains_key(&number))
        });
        let mut swept = Swept::default();
        for path in orphaned_files
            .map(|name| files.join(name))
            .chain(orphaned_packs.map(|name| packs.join(name)))
        {
            swept.orphans_removed += usize::from(remove(&*inner.disk, &path)?);
        }
        let named = named_files
            .iter()
            .map(|(id, length)| (files.join(file_name(id)), *length));
        let named = named.chain(
            named_packs
                .iter()
                .map(|(number, end)| (packs.join(pack_name(*number)), *end)),
        );
        for (path, length) in named {
            swept.contents_missing += usize::from(!reaches(&*inner.disk, &path, length)?);
        }
        swept.ids_expired = self.forget_expired()?;
        Ok(swept)
    }

    /// Removes ids that expired without content.
    fn forget_expired(&self) -> Result<usize, SweepError> {
        let now_ms = self.0.clock.now_ms();
        let mut forgotten = 0;
        let mut range = KeyRange::all();
        loop {
            let rows = self
                .0
                .store
                .read()
                .rows(PENDING, &range, Order::Ascending, ROWS_AT_ONCE)?;
            let Some((newest, _)) = rows.last() else {
                return Ok(forgotten);
            };
            range.start = [newest, [0].as_slice()].concat();
            let mut expired = Vec::new();
            for (key, value) in rows {
                if decode_number(PENDING, &value)? <= now_ms {
                    expired.push(key);
                }
            }
            if expired.is_empty() {
                continue;
            }
            let write = self.0.store.write_blocking(move |txn| -> Result<usize, SweepError> {
                let mut removed = 0;
                for key in expired {
                    let Some(media_id) = key.get(size_of::<u32>()..) else {
                        continue;
                    };
                    let Some(row) = txn.get(ITEM, media_id)? else { continue };
                    if matches!(Item::decode(&row)?.content, Content::Pending { .. }) {
                        txn.delete(ITEM, media_id);
                        txn.delete(PENDING, &key);
                        removed += 1;
                    }
                }
                Ok(removed)
            });
            forgotten += write.map_err(WriteError::flatten)?;
        }
    }
}

/// Removes a file; `false` if it was gone.
fn remove(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a file is there and has at least `length` bytes.
fn reaches(disk: &dyn Disk, path: &Path, length: u64) -> io::Result<bool> {
    match disk.open(path) {
        Ok(file) => Ok(file.size()? >= length),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
