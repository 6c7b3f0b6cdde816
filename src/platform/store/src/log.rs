//! Writing the log. A frame that could not be synced is never written again at the same place:
//! the segment is given up, and the next one says where it continues.

use crate::changes::ChangeSet;
use crate::keys::{FrameKey, LogKey, random_salt};
use crate::logfiles::{LogFiles, SegmentFile};
use crate::pressure::Pressure;
use crate::segment::{Header, PAGE_BYTES, frame_bytes, seal_frame, seal_header, write_changes};
use crate::shared::Shared;
use crate::writer::Durable;
use crate::{CommitError, Position};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A buffer that grew beyond this is not kept for the next frame.
const BUFFER_KEPT: usize = 1024 * 1024;

/// The segment that is written.
struct Current {
    segment: SegmentFile,
    key: FrameKey,
    epoch: u32,
    offset: u64,
    /// The header, as long as it is not written: it goes with the first frame, in one sync.
    header: Option<Vec<u8>>,
    /// The last sequence that is durable in this segment, or before it.
    last: u64,
}

/// The log, as the writer has it.
pub(crate) struct Log {
    shared: Arc<Shared>,
    files: Arc<LogFiles>,
    pressure: Arc<Pressure>,
    key: LogKey,
    current: Option<Current>,
    text: Vec<u8>,
    pages: Vec<u8>,
}

impl Log {
    /// A log whose first segment is begun with the first frame.
    pub(crate) fn new(shared: Arc<Shared>, files: Arc<LogFiles>, pressure: Arc<Pressure>, key: LogKey) -> Self {
        Self {
            shared,
            files,
            pressure,
            key,
            current: None,
            text: Vec::new(),
            pages: Vec::new(),
        }
    }

    /// Gives up the current segment: the next frame begins a new one.
    fn end_segment(&mut self, sound: bool) {
        if let Some(current) = self.current.take() {
            self.files.end(current.segment, current.last, sound);
        }
    }

    fn begin_segment(&mut self, sequence: u64, epoch: u32, bytes: u64) -> io::Result<()> {
        let salt = random_salt()?;
        let (segment, number) = self.files.begin(bytes + PAGE_BYTES)?;
        let (header, key) = seal_header(
            Header {
                epoch,
                number,
                first: sequence,
            },
            &salt,
            &self.key,
        )?;
        let last = sequence - 1;
        self.current = Some(Current {
            segment,
            key,
            epoch,
            offset: PAGE_BYTES,
            header: Some(header),
            last,
        });
        self.pressure.segment_begun();
        Ok(())
    }

    /// Writes the frame of `self.text` and syncs it. What fails before the first byte is written leaves the segment as it is.
    fn write_frame(&mut self, sequence: u64) -> io::Result<()> {
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        let bytes = frame_bytes(&self.text);
        let fits = self.current.as_ref().is_some_and(|current| {
            current.epoch == epoch && LogFiles::room(current.segment.size) + PAGE_BYTES >= current.offset + bytes
        });
        if !fits {
            self.end_segment(true);
            self.begin_segment(sequence, epoch, bytes)?;
        }
        let Some(current) = &mut self.current else {
            return Err(io::Error::other("no segment was begun"));
        };
        seal_frame(&mut self.pages, &current.key, epoch, sequence, &self.text)?;
        let file = &current.segment.file;
        if let Some(header) = &current.header {
            file.write_at(0, header)?;
        }
        file.write_at(current.offset, &self.pages)?;
        file.sync_data()?;
        current.header = None;
        current.offset += bytes;
        current.last = sequence;
        Ok(())
    }
}

impl Durable for Log {
    fn append(&mut self, sequence: u64, position: Position, changes: &ChangeSet) -> Result<(), CommitError> {
        self.pressure.admit(&self.shared)?;
        write_changes(&mut self.text, position, changes);
        let written = self.write_frame(sequence).map_err(|error| {
            tracing::error!(%error, "the log could not be written; it goes on in another file");
            self.end_segment(false);
            commit_error(&error)
        });
        self.text.clear();
        self.text.shrink_to(BUFFER_KEPT);
        self.pages.clear();
        self.pages.shrink_to(BUFFER_KEPT);
        written
    }

    fn published(&mut self) {
        self.pressure.published(&self.shared);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.end_segment(true);
    }
}

/// What a failed write means to whoever waits.
pub(crate) fn commit_error(error: &io::Error) -> CommitError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CommitError::DiskFull,
        _ => CommitError::Unknown(error.to_string()),
    }
}
