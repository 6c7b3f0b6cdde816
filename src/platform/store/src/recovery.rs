//! Reading the log after a start: the frames that are newer than redb go back into a memtable.

use crate::database::Saved;
use crate::keys::{FrameKey, LogKey};
use crate::logfiles::{LogFiles, SegmentFile};
use crate::memtable::Memtable;
use crate::progress::{Progress, Work};
use crate::segment::{Frames, Header, open_header, read_changes};
use crate::{Bytes, OpenError, Table};
use lamchat_disk::Disk;
use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{Scope, ScopedJoinHandle};

/// A segment that was found.
struct Found {
    segment: SegmentFile,
    header: Header,
    key: FrameKey,
}

/// Reads the log in `folder` into `memtable`. Answers what is known then, and the files of the log:
/// segments that are still needed are among them, the others are removed.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    key: &LogKey,
    checkpoint: Saved,
    tables: &[Table],
    memtable: &Memtable,
    progress: &Progress,
) -> Result<(Saved, LogFiles), OpenError> {
    let failed = |source: io::Error| OpenError::Io {
        path: folder.to_owned(),
        source,
    };
    let (mut found, useless, next_name) = find(&**disk, folder, key).map_err(failed)?;
    found.sort_by_key(|found| found.header.number);
    let next_number = found.last().map_or(1, |found| found.header.number + 1);
    let files = LogFiles::new(disk.clone(), folder.to_owned(), next_name, next_number);
    let firsts: Vec<u64> = found
        .iter()
        .skip(1)
        .map(|found| found.header.first)
        .chain([u64::MAX])
        .collect();
    let newest = std::thread::scope(|scope| {
        let mut rows_to = Inserter::begin(scope, tables, memtable, progress);
        let newest = replay_all(found, &firsts, checkpoint, &files, &mut rows_to)?;
        rows_to.end().map_err(OpenError::Damaged)?;
        Ok::<_, OpenError>(newest)
    })?;
    for path in &useless {
        disk.remove(path).map_err(failed)?;
    }
    // Removals of the last run become durable as well, before a new file could meet an old one that came back.
    disk.sync_dir(folder).map_err(failed)?;
    files.retire(checkpoint.sequence, true).map_err(failed)?;
    Ok((newest, files))
}

/// Reads the segments that were found, each up to the first sequence of the next one.
fn replay_all(
    found: Vec<Found>,
    ends: &[u64],
    checkpoint: Saved,
    files: &LogFiles,
    rows_to: &mut Inserter<'_>,
) -> Result<Saved, OpenError> {
    let mut newest = checkpoint;
    for (Found { segment, header, key }, end) in found.into_iter().zip(ends.iter().copied()) {
        if header.first > newest.sequence + 1 {
            return Err(OpenError::Damaged(format!(
                "the log lacks what was saved between sequence {} and {}",
                newest.sequence, header.first
            )));
        }
        // A segment that was followed by another one before the checkpoint has nothing new.
        if end > checkpoint.sequence + 1 {
            replay(&segment, header, key, end, &mut newest, rows_to).map_err(|error| match error {
                ReplayError::Io(source) => OpenError::Io {
                    path: segment.path.clone(),
                    source,
                },
                ReplayError::Malformed(detail) => OpenError::Damaged(detail),
            })?;
        }
        files.end(segment, newest.sequence, false);
    }
    Ok(newest)
}

/// A row of the log: table, key, value.
type LogRow = (u16, Bytes, Option<Bytes>);

/// Frames that may wait for the second thread.
const FRAMES_WAITING_MAX: usize = 256;

/// Puts rows into a memtable on two threads: that takes most of the time of a start after a crash. The second one has the
/// gathered tables, which are about half of the work; each table stays with one thread, so its versions stay in order.
struct Inserter<'m> {
    memtable: &'m Memtable,
    progress: &'m Progress,
    aside: Vec<u16>,
    sender: mpsc::SyncSender<(u64, Vec<LogRow>)>,
    second: ScopedJoinHandle<'m, Result<(), String>>,
}

impl<'m> Inserter<'m> {
    fn begin<'e>(scope: &'m Scope<'m, 'e>, tables: &[Table], memtable: &'m Memtable, progress: &'m Progress) -> Self {
        let (sender, receiver) = mpsc::sync_channel::<(u64, Vec<LogRow>)>(FRAMES_WAITING_MAX);
        let second = scope.spawn(move || {
            receiver
                .into_iter()
                .try_for_each(|(sequence, rows)| insert(memtable, sequence, rows))
        });
        let gathered = tables.iter().filter(|table| table.gathered);
        Self {
            memtable,
            progress,
            aside: gathered.map(|table| table.id).collect(),
            sender,
            second,
        }
    }

    fn add(&mut self, sequence: u64, rows: Vec<LogRow>) -> Result<(), ReplayError> {
        self.progress.tell(Work::Log);
        let (aside, own) = rows
            .into_iter()
            .partition::<Vec<_>, _>(|(table, ..)| self.aside.contains(table));
        // A second thread that has ended has an error, which `end` tells.
        if !aside.is_empty() && self.sender.send((sequence, aside)).is_err() {
            return Ok(());
        }
        insert(self.memtable, sequence, own).map_err(ReplayError::Malformed)
    }

    fn end(self) -> Result<(), String> {
        drop(self.sender);
        let ended = self.second.join();
        ended.unwrap_or_else(|_| Err("a row of the log could not be kept".to_owned()))
    }
}

fn insert(memtable: &Memtable, sequence: u64, rows: Vec<LogRow>) -> Result<(), String> {
    for (table, key, value) in rows {
        if !memtable.insert(table, key, sequence, value) {
            return Err(format!(
                "the log has rows of table {table}, which this program does not know"
            ));
        }
    }
    Ok(())
}

/// The segments in a folder, the files that are none, and the first free name.
fn find(disk: &dyn Disk, folder: &Path, key: &LogKey) -> io::Result<(Vec<Found>, Vec<std::path::PathBuf>, u64)> {
    let (mut found, mut useless, mut next_name) = (Vec::new(), Vec::new(), 0);
    for name in disk.list(folder)? {
        let Some(number) = name
            .strip_suffix(".log")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        else {
            continue;
        };
        next_name = next_name.max(number + 1);
        let path = folder.join(name);
        let file = disk.open(&path)?;
        match open_header(&*file, key)? {
            Some((header, key)) => {
                let segment = SegmentFile {
                    size: file.size()?,
                    path,
                    file,
                };
                found.push(Found { segment, header, key });
            }
            // A spare, or one whose first frame was never acknowledged.
            None => useless.push(path),
        }
    }
    Ok((found, useless, next_name))
}

enum ReplayError {
    Io(io::Error),
    Malformed(String),
}

/// Adds the frames of a segment before `end` to the memtable.
fn replay(
    segment: &SegmentFile,
    header: Header,
    key: FrameKey,
    end: u64,
    newest: &mut Saved,
    rows_to: &mut Inserter<'_>,
) -> Result<(), ReplayError> {
    let mut frames = Frames::new(&*segment.file, header, key).map_err(ReplayError::Io)?;
    while let Some((sequence, text)) = frames.next().map_err(ReplayError::Io)? {
        // From `end` on stand frames whose sync failed: the next segment has what was written in their place.
        if sequence >= end {
            break;
        }
        if sequence <= newest.sequence {
            continue;
        }
        let Some((position, rows)) = read_changes(text) else {
            return Err(ReplayError::Malformed(format!(
                "frame {sequence} of the log is malformed"
            )));
        };
        rows_to.add(sequence, rows)?;
        *newest = Saved { sequence, position };
    }
    Ok(())
}
