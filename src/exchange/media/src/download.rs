//! Reading a blob back: chunk by chunk, nothing handed out that was not authenticated.

use crate::blob::{CHUNK, Cipher, KeyError, TAG, stored_length};
use crate::media::{Inner, Media, file_name, files_folder, is_media_id, packs_folder, topic};
use crate::pack::pack_name;
use crate::row::{Blob, Content, ITEM, Item, Place};
use bytes::Bytes;
use lamchat_base::UserNum;
use lamchat_disk::File;
use lamchat_seal::{KeyringError, TamperedError};
use lamchat_store::{Read, ReadError};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Chunks that are read at once: 512 KiB.
const CHUNKS_AT_ONCE: u64 = 8;

/// Why content cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No such id here, or it expired without content.
    #[error("there is no such media here")]
    NotFound,
    /// The id was handed out, but nothing was uploaded in the time that the caller gave.
    #[error("nothing has been uploaded to this media id yet")]
    NotYetUploaded,
    /// The content was changed, or is shorter than it should be.
    #[error("the stored file is damaged")]
    Damaged,
    /// The row is there, the content is not.
    #[error("the stored file is missing")]
    Missing,
    /// No key for it.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The disk refused.
    #[error("the file could not be read: {0}")]
    Io(#[from] io::Error),
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<TamperedError> for DownloadError {
    fn from(_: TamperedError) -> Self {
        Self::Damaged
    }
}

impl From<KeyError> for DownloadError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Keyring(error) => error.into(),
            KeyError::Tampered(error) => error.into(),
        }
    }
}

/// Clear bytes, up to 64 KiB each.
pub type Piece = Bytes;

/// Content whose row is there, ready to be read.
pub struct Download {
    /// What the uploader called it; fit for a header.
    pub content_type: Option<String>,
    /// The name at upload, without control characters.
    pub filename: Option<String>,
    /// Bytes of the whole.
    pub size: u64,
    /// Who uploaded it.
    pub uploader: UserNum,
    /// When, in milliseconds since 1970.
    pub created_ms: u64,
    source: Source,
}

/// Where the next pieces come from. The file is opened by the thread that reads the first ones.
enum Source {
    Closed {
        inner: Arc<Inner>,
        blob: Blob,
        range: Range<u64>,
    },
    Open(Reader),
    Ended,
}

impl Media {
    /// Looks content up; waits up to `patience` if the id was handed out but nothing uploaded yet.
    pub async fn download(&self, media_id: &str, patience: Duration) -> Result<Download, DownloadError> {
        let ((uploader, created_ms), blob, content_type, filename) = self.find(media_id, patience).await?;
        let size = blob.size;
        let source = Source::Closed {
            inner: Arc::clone(&self.0),
            blob,
            range: 0..size,
        };
        Ok(Download {
            content_type,
            filename,
            size,
            uploader,
            created_ms,
            source,
        })
    }

    /// The row of content that is there.
    pub(crate) async fn find(&self, media_id: &str, patience: Duration) -> Result<Found, DownloadError> {
        if !is_media_id(media_id) {
            return Err(DownloadError::NotFound);
        }
        let deadline = Instant::now() + patience;
        let mut watch = None;
        loop {
            let row = self
                .0
                .store
                .read()
                .get(ITEM, media_id.as_bytes())?
                .ok_or(DownloadError::NotFound)?;
            let item = Item::decode(&row)?;
            match item.content {
                Content::There {
                    blob,
                    content_type,
                    filename,
                } => {
                    return Ok(((item.uploader, item.created_ms), blob, content_type, filename));
                }
                Content::Pending { expires_ms } if expires_ms <= self.0.clock.now_ms() => {
                    return Err(DownloadError::NotFound);
                }
                Content::Pending { .. } => {}
            }
            // The watch is registered before the row is read again, so that no upload falls in between.
            match &mut watch {
                None => watch = Some(self.0.store.watch(&[topic(media_id)])),
                Some(watch) => {
                    let waited = tokio::time::timeout_at(deadline, watch.changed()).await;
                    waited.map_err(|_| DownloadError::NotYetUploaded)?;
                }
            }
        }
    }
}

/// (uploader, created), content, content type, file name.
pub(crate) type Found = ((UserNum, u64), Blob, Option<String>, Option<String>);

impl Download {
    /// Reads only `range` of the whole; both ends are cut to the size. Has no effect after the first [`Download::next`].
    pub fn restrict(&mut self, wanted: Range<u64>) {
        if let Source::Closed { range, .. } = &mut self.source {
            range.start = wanted.start.min(self.size);
            range.end = wanted.end.min(self.size).max(range.start);
        }
    }

    /// The next pieces, at least one unless the end is reached; at most 512 KiB. After an error there are no more.
    pub async fn next(&mut self) -> Result<Option<Vec<Piece>>, DownloadError> {
        let source = std::mem::replace(&mut self.source, Source::Ended);
        let read = move || -> Result<Option<(Reader, Vec<Piece>)>, DownloadError> {
            let mut reader = match source {
                Source::Closed { inner, blob, range } => {
                    let mut reader = Reader::open(&inner, &blob)?;
                    (reader.position, reader.end) = (range.start, range.end);
                    reader
                }
                Source::Open(reader) => reader,
                Source::Ended => return Ok(None),
            };
            let pieces = reader.next()?;
            Ok((!pieces.is_empty()).then_some((reader, pieces)))
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        Ok(read.map(|(reader, pieces)| {
            if reader.position < reader.end {
                self.source = Source::Open(reader);
            }
            pieces
        }))
    }
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Reads a blob. Blocks.
#[derive(Debug)]
pub(crate) struct Reader {
    file: Arc<dyn File>,
    base: u64,
    size: u64,
    cipher: Cipher,
    position: u64,
    end: u64,
    /// Whether anything was read: an empty blob is checked as well.
    begun: bool,
}

impl Reader {
    pub fn open(inner: &Inner, blob: &Blob) -> Result<Self, DownloadError> {
        let cipher = Cipher::of(&inner.keys, blob)?;
        let (path, base) = match blob.place {
            Place::File => (files_folder(&inner.options.dir).join(file_name(&blob.id)), 0),
            Place::Pack { number, offset } => (packs_folder(&inner.options.dir).join(pack_name(number)), offset),
        };
        let file = inner.disk.open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DownloadError::Missing,
            _ => error.into(),
        })?;
        // A file that is too long was appended to by somebody else; a pack holds more than this blob.
        if blob.place == Place::File && file.size()? != stored_length(blob.size) {
            return Err(DownloadError::Damaged);
        }
        Ok(Self {
            file,
            base,
            size: blob.size,
            cipher,
            position: 0,
            end: blob.size,
            begun: false,
        })
    }

    /// Ends the reading at `end`, if the blob goes further.
    pub fn stop_at(&mut self, end: u64) {
        self.end = self.end.min(end);
    }

    /// The next pieces; none at the end.
    pub fn next(&mut self) -> Result<Vec<Piece>, DownloadError> {
        let chunk = CHUNK as u64;
        if self.position >= self.end && (self.begun || self.size > 0) {
            return Ok(Vec::new());
        }
        self.begun = true;
        let last = self.size.div_ceil(chunk).max(1) - 1;
        let first = self.position / chunk;
        let until = self.end.div_ceil(chunk).max(first + 1).min(first + CHUNKS_AT_ONCE);
        let stored = chunk + TAG as u64;
        let length = (until * stored).min(stored_length(self.size)) - first * stored;
        let mut buffer = vec![0u8; length as usize];
        let read = self.file.read_at(self.base + first * stored, &mut buffer);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => DownloadError::Damaged,
            _ => error.into(),
        })?;
        let mut spans = Vec::new();
        for (number, sealed) in (first..).zip(buffer.chunks_mut(CHUNK + TAG)) {
            let clear = self.cipher.open(sealed, number, number == last)? as u64;
            let skipped = self.position.saturating_sub(number * chunk);
            let kept = clear.min(self.end - number * chunk);
            let start = (number - first) * stored;
            spans.push((start + skipped) as usize..(start + kept) as usize);
            self.position = number * chunk + kept;
        }
        let buffer = Bytes::from(buffer);
        Ok(spans
            .into_iter()
            .filter(|span| !span.is_empty())
            .map(|span| buffer.slice(span))
            .collect())
    }
}
