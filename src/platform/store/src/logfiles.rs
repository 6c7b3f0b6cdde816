//! The files of the log: which are in use, which wait for their checkpoint, which are ready to be used.

use crate::segment::{PAGE, PAGE_BYTES};
use lamchat_disk::{Disk, File};
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The first segment after a start is small, so that an idle store is; each further one is twice as large, up to the largest.
const SEGMENT_BYTES_FIRST: u64 = 256 * 1024;
/// The largest segment, unless one frame needs more.
const SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Segments kept ready at most: as many as were begun between two checkpoints, so that the writer need not make its own.
const SPARES_MAX: usize = 8;
/// Segments that are made ahead; further spares are segments that were used before.
const PREPARED_MAX: usize = 2;
/// Zeros are written in steps of this size.
const ZEROS: usize = 256 * PAGE;

/// A segment's file.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) size: u64,
}

/// A segment that is no longer written.
struct Full {
    segment: SegmentFile,
    /// The last sequence in it that counts.
    last: u64,
    /// Whether its file may be written again: not after an error.
    sound: bool,
}

#[derive(Default)]
struct Files {
    full: Vec<Full>,
    spare: Vec<SegmentFile>,
    next_name: u64,
    next_number: u64,
    next_size: u64,
    /// How many segments were begun since the last checkpoint looked.
    begun: usize,
}

/// All files of the log.
pub(crate) struct LogFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    files: Mutex<Files>,
}

impl LogFiles {
    /// The folder `folder`, in which names below `next_name` and segment numbers below `next_number` may be taken.
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: PathBuf, next_name: u64, next_number: u64) -> Self {
        let files = Files {
            next_name,
            next_number,
            next_size: SEGMENT_BYTES_FIRST,
            ..Files::default()
        };
        Self {
            disk,
            folder,
            files: Mutex::new(files),
        }
    }

    /// A file for the next segment with room for `bytes`, zero-filled (or of a checkpointed segment) and durable
    /// in its folder; and the segment's number.
    pub(crate) fn begin(&self, bytes: u64) -> io::Result<(SegmentFile, u64)> {
        let mut files = self.files.lock();
        files.begun += 1;
        let number = files.next_number;
        files.next_number += 1;
        if let Some(index) = files.spare.iter().position(|spare| spare.size >= bytes) {
            return Ok((files.spare.swap_remove(index), number));
        }
        let size = bytes.max(files.next_size);
        files.next_size = (files.next_size * 2).min(SEGMENT_BYTES_MAX);
        let path = self.next_path(&mut files);
        drop(files);
        Ok((self.make(path, size)?, number))
    }

    fn next_path(&self, files: &mut Files) -> PathBuf {
        let name = files.next_name;
        files.next_name += 1;
        self.folder.join(format!("{name:08x}.log"))
    }

    fn make(&self, path: PathBuf, size: u64) -> io::Result<SegmentFile> {
        let filled = self.fill(&path, size);
        if filled.is_err()
            && let Err(error) = self.disk.remove(&path)
        {
            tracing::warn!(%error, path = %path.display(), "an unfinished log file was left behind");
        }
        Ok(SegmentFile {
            file: filled?,
            path,
            size,
        })
    }

    fn fill(&self, path: &std::path::Path, size: u64) -> io::Result<Arc<dyn File>> {
        let file = self.disk.create(path)?;
        let zeros = vec![0; ZEROS];
        let mut offset = 0;
        while offset < size {
            let step = size.saturating_sub(offset).min(ZEROS as u64);
            let part = usize::try_from(step)
                .ok()
                .and_then(|step| zeros.get(..step))
                .unwrap_or(&zeros);
            file.write_at(offset, part)?;
            offset += step;
        }
        file.sync_data()?;
        self.disk.sync_dir(&self.folder)?;
        Ok(file)
    }

    /// Takes over a segment that is no longer written.
    pub(crate) fn end(&self, segment: SegmentFile, last: u64, sound: bool) {
        self.files.lock().full.push(Full { segment, last, sound });
    }

    /// Lets go of the segments whose frames are all in redb: up to `checkpointed`.
    /// Some become spares, the others are removed. `last`: nothing will be written any more.
    /// Answers whether there are more spares than an idle store needs.
    pub(crate) fn retire(&self, checkpointed: u64, last: bool) -> io::Result<bool> {
        let mut files = self.files.lock();
        let begun = std::mem::take(&mut files.begun);
        let keep = if last { 0 } else { begun.clamp(1, SPARES_MAX) };
        let (done, full) = std::mem::take(&mut files.full)
            .into_iter()
            .partition(|full| full.last <= checkpointed);
        files.full = full;
        let mut removed: Vec<SegmentFile> = Vec::new();
        for Full { segment, sound, .. } in done {
            if sound && segment.size == SEGMENT_BYTES_MAX && files.spare.len() < keep {
                files.spare.push(segment);
            } else {
                removed.push(segment);
            }
        }
        while files.spare.len() > keep {
            removed.extend(files.spare.pop());
        }
        let many = files.spare.len() > 1;
        drop(files);
        if removed.is_empty() {
            return Ok(many);
        }
        for segment in removed {
            self.disk.remove(&segment.path)?;
        }
        self.disk.sync_dir(&self.folder)?;
        Ok(many)
    }

    /// Makes spares ahead of the writer, so that it need not wait for zeros to reach the disk.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        let mut files = self.files.lock();
        let wanted = if files.begun > 0 { PREPARED_MAX } else { 1 };
        if files.spare.len() >= wanted {
            return Ok(());
        }
        let size = files.next_size;
        files.next_size = (files.next_size * 2).min(SEGMENT_BYTES_MAX);
        let path = self.next_path(&mut files);
        drop(files);
        let spare = self.make(path, size)?;
        self.files.lock().spare.push(spare);
        Ok(())
    }

    /// The bytes of frames that a segment of `size` bytes has room for.
    pub(crate) fn room(size: u64) -> u64 {
        size.saturating_sub(PAGE_BYTES)
    }
}
