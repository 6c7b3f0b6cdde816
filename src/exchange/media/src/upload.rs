//! Uploading: encrypt as it comes, sync, commit the row, answer.

mod slot;

use crate::blob::{Batch, NewKey};
use crate::media::{Inner, Media, file_name, files_folder, is_media_id, topic};
use crate::pack::PACKED_BYTES_MAX;
use crate::row::{Blob, Content, ITEM, Item, PENDING, Place, USAGE, decode_number, pending_key};
use lamchat_base::UserNum;
use lamchat_disk::File;
use lamchat_seal::KeyringError;
use lamchat_store::{CommitError, Read, ReadError, WriteError, WriteTxn};
use slot::Slot;
use std::io;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Longest content type that is kept; a longer one counts as none.
const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Longest file name that is kept; a longer one is cut.
const FILENAME_BYTES_MAX: usize = 255;

/// Why an upload was not taken. Nothing of it is kept, unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// More bytes than allowed.
    #[error("the file is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The user's quota would be exceeded.
    #[error("the quota of {quota_bytes} bytes for uploads is used up")]
    Quota {
        /// The quota.
        quota_bytes: u64,
    },
    /// Too many uploads under way.
    #[error("too many uploads are under way; wait for one to end")]
    TooMany,
    /// The id was not handed out, or it has expired.
    #[error("this media id was not created here, or it has expired")]
    Unknown,
    /// The id was handed out to somebody else.
    #[error("this media id was created by another user")]
    NotYours,
    /// The id has content already.
    #[error("this media id has content already")]
    AlreadyUploaded,
    /// The disk refused. `StorageFull` means that there is no room.
    #[error("the file could not be stored: {0}")]
    Io(#[from] io::Error),
    /// No key for it.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database did not keep the row, or (`Unknown`) it is unknown whether it did.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// An upload under way. Dropping it gives it up.
#[derive(Debug)]
pub struct Upload {
    media: Media,
    uploader: UserNum,
    /// The id that was handed out before, if there was one.
    created: Option<String>,
    key: Arc<NewKey>,
    bytes_max: u64,
    received: u64,
    batch: Batch,
    /// Chunks that were handed to the disk.
    chunks: u64,
    writer: Writer,
    slot: Slot,
}

/// The blob's own file, from the first full batch on.
#[derive(Debug)]
enum Writer {
    None,
    Running(JoinHandle<io::Result<Written>>),
}

/// The file, its length, and the batch's memory for the next one.
#[derive(Debug)]
struct Written {
    file: Arc<dyn File>,
    length: u64,
    buffer: Vec<u8>,
}

impl Media {
    /// Begins an upload of at most `bytes_max` bytes; `announced` is a hint.
    pub fn begin(&self, uploader: UserNum, announced: Option<u64>, bytes_max: u64) -> Result<Upload, UploadError> {
        self.begin_as(uploader, None, announced, bytes_max)
    }

    /// Begins an upload to an id that was handed out by [`Media::create`].
    pub fn begin_created(
        &self,
        uploader: UserNum,
        media_id: &str,
        announced: Option<u64>,
        bytes_max: u64,
    ) -> Result<Upload, UploadError> {
        if !is_media_id(media_id) {
            return Err(UploadError::Unknown);
        }
        check_created(&self.0.store.read(), uploader, media_id, self.0.clock.now_ms())?;
        self.begin_as(uploader, Some(media_id.to_owned()), announced, bytes_max)
    }

    fn begin_as(
        &self,
        uploader: UserNum,
        created: Option<String>,
        announced: Option<u64>,
        bytes_max: u64,
    ) -> Result<Upload, UploadError> {
        let announced = announced.unwrap_or(0);
        if announced > bytes_max {
            return Err(UploadError::TooLarge { bytes_max });
        }
        check_quota(
            &self.0.store.read(),
            self.0.options.quota_bytes_per_user,
            uploader,
            announced,
        )?;
        let slot = self.slot(uploader)?;
        let key = Arc::new(NewKey::new(&self.0.keys, &*self.0.entropy)?);
        // A stranger's announcement reserves at most a packed blob's memory.
        let batch = Batch::with_room(usize::try_from(announced).unwrap_or(0).min(PACKED_BYTES_MAX));
        let (media, writer) = (self.clone(), Writer::None);
        Ok(Upload {
            media,
            uploader,
            created,
            key,
            bytes_max,
            received: 0,
            batch,
            chunks: 0,
            writer,
            slot,
        })
    }
}

impl Upload {
    /// Takes the next bytes. Waits for the disk when it is slower than the network.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        self.received = self.received.saturating_add(bytes.len() as u64);
        if self.received > self.bytes_max {
            return Err(UploadError::TooLarge {
                bytes_max: self.bytes_max,
            });
        }
        let mut rest = self.batch.push(bytes);
        // A full batch is written when more comes: so the last chunk is always still here at the end.
        while !rest.is_empty() {
            self.write_batch().await?;
            rest = self.batch.push(rest);
        }
        Ok(())
    }

    /// Hands the full batch to the disk and goes on in the memory of the one before.
    async fn write_batch(&mut self) -> Result<(), UploadError> {
        let before = self.writer_idle().await?;
        let first = self.chunks;
        self.chunks += (Batch::CLEAR_MAX / crate::blob::CHUNK) as u64;
        let (inner, key) = (Arc::clone(&self.media.0), Arc::clone(&self.key));
        let (written, next) = match before {
            Some(Written { file, length, buffer }) => (Some((file, length)), Batch::reuse(buffer)),
            None => {
                self.slot.begin_file(key.id);
                (None, Batch::with_room(Batch::CLEAR_MAX))
            }
        };
        let full = std::mem::replace(&mut self.batch, next);
        self.writer = Writer::Running(tokio::task::spawn_blocking(move || {
            let (file, length) = match written {
                Some(written) => written,
                None => (inner.create_file(&key.id)?, 0),
            };
            let mut buffer = full.finish();
            key.cipher.seal(&mut buffer, first, false);
            file.write_at(length, &buffer)?;
            Ok(Written {
                file,
                length: length + buffer.len() as u64,
                buffer,
            })
        }));
        Ok(())
    }

    async fn writer_idle(&mut self) -> Result<Option<Written>, UploadError> {
        match std::mem::replace(&mut self.writer, Writer::None) {
            Writer::None => Ok(None),
            Writer::Running(task) => Ok(Some(task.await.map_err(io::Error::other)??)),
        }
    }

    /// Ends the upload; answers the media id once content and row are durable.
    pub async fn finish(mut self, content_type: Option<&str>, filename: Option<&str>) -> Result<String, UploadError> {
        let written = self.writer_idle().await?;
        let batch = std::mem::take(&mut self.batch);
        let packed = written.is_none() && batch.clear_bytes() <= PACKED_BYTES_MAX;
        if written.is_none() && !packed {
            self.slot.begin_file(self.key.id);
        }
        let (inner, key, first) = (Arc::clone(&self.media.0), Arc::clone(&self.key), self.chunks);
        let store_rest = move || {
            let mut buffer = batch.finish();
            key.cipher.seal(&mut buffer, first, true);
            if packed {
                return inner.packs.append(&buffer);
            }
            let (file, length) = match written {
                Some(written) => (written.file, written.length),
                None => (inner.create_file(&key.id)?, 0),
            };
            file.write_at(length, &buffer)?;
            file.sync_data()?;
            inner
                .files_sync
                .run(|| inner.disk.sync_dir(&files_folder(&inner.options.dir)))?;
            Ok(Place::File)
        };
        let place = tokio::task::spawn_blocking(store_rest)
            .await
            .map_err(io::Error::other)??;
        let Self {
            media,
            uploader,
            created,
            key,
            received,
            mut slot,
            ..
        } = self;
        let blob = key.to_blob(received, place);
        let content_type = content_type.and_then(clean_content_type);
        let filename = filename.and_then(clean_filename);
        let committed = media.commit(uploader, created, blob, content_type, filename).await;
        match &committed {
            Ok(_) => slot.keep_file(),
            // The row may be there: the file stays, and a sweep decides later.
            Err(UploadError::Commit(CommitError::Unknown(_))) => slot.keep_file(),
            Err(_) => {}
        }
        committed
    }
}

impl Media {
    async fn commit(
        &self,
        uploader: UserNum,
        created: Option<String>,
        blob: Blob,
        content_type: Option<String>,
        filename: Option<String>,
    ) -> Result<String, UploadError> {
        let was_created = created.is_some();
        let media_id = created.unwrap_or_else(|| self.0.new_media_id());
        let (now_ms, quota) = (self.0.clock.now_ms(), self.0.options.quota_bytes_per_user);
        let id = media_id.clone();
        let write = self
            .0
            .store
            .write(move |txn: &mut WriteTxn<'_>| -> Result<(), UploadError> {
                if was_created {
                    check_created(txn, uploader, &id, now_ms)?;
                    txn.delete(PENDING, &pending_key(uploader, &id));
                }
                let used = check_quota(txn, quota, uploader, blob.size)?;
                txn.put(USAGE, &uploader.to_key(), used.to_be_bytes().to_vec());
                let item = Item {
                    uploader,
                    created_ms: now_ms,
                    content: Content::There {
                        blob,
                        content_type,
                        filename,
                    },
                };
                txn.put(ITEM, id.as_bytes(), item.encode());
                if was_created {
                    txn.touch(topic(&id));
                }
                Ok(())
            });
        write.await.map_err(WriteError::flatten)?;
        Ok(media_id)
    }
}

/// Whether `uploader` may upload to an id that was handed out.
fn check_created(read: &dyn Read, uploader: UserNum, media_id: &str, now_ms: u64) -> Result<(), UploadError> {
    let row = read.get(ITEM, media_id.as_bytes())?.ok_or(UploadError::Unknown)?;
    let item = Item::decode(&row)?;
    match item.content {
        // "The request comes from a different user than the one that called POST /_matrix/media/v1/create."
        _ if item.uploader != uploader => Err(UploadError::NotYours),
        // "The endpoint was called with a media ID that already has content."
        Content::There { .. } => Err(UploadError::AlreadyUploaded),
        // "The MXC ID has expired."
        Content::Pending { expires_ms } if expires_ms <= now_ms => Err(UploadError::Unknown),
        Content::Pending { .. } => Ok(()),
    }
}

/// What the user will have used with `more` bytes.
fn check_quota(read: &dyn Read, quota: Option<u64>, uploader: UserNum, more: u64) -> Result<u64, UploadError> {
    let used = match read.get(USAGE, &uploader.to_key())? {
        Some(row) => decode_number(USAGE, &row)?,
        None => 0,
    };
    let used = used.saturating_add(more);
    match quota {
        Some(quota_bytes) if used > quota_bytes => Err(UploadError::Quota { quota_bytes }),
        _ => Ok(used),
    }
}

impl Inner {
    /// A blob's own file. Its name is synced with the folder later.
    fn create_file(&self, id: &[u8; 16]) -> io::Result<Arc<dyn File>> {
        self.disk.create(&files_folder(&self.options.dir).join(file_name(id)))
    }
}

/// A content type that can stand in a header, or none.
fn clean_content_type(text: &str) -> Option<String> {
    let text = text.trim();
    let good = text.bytes().all(|byte| (0x20..0x7F).contains(&byte)) && text.contains('/');
    (good && text.len() <= CONTENT_TYPE_BYTES_MAX).then(|| text.to_owned())
}

/// A file name without control characters and of bounded length, or none.
fn clean_filename(text: &str) -> Option<String> {
    let mut name: String = text.chars().filter(|letter| !letter.is_control()).collect();
    while name.len() > FILENAME_BYTES_MAX {
        name.pop();
    }
    (!name.is_empty()).then_some(name)
}
