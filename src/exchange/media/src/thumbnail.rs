//! Thumbnails: made on demand, kept encrypted, never of more than the limits allow.

use crate::blob::{Batch, NewKey};
use crate::download::{Download, DownloadError, Reader};
use crate::media::{Inner, Media};
use crate::render::{self, Method, RenderError, Rendered, Target};
use crate::row::{Blob, ITEM, THUMBNAIL, Thumb, thumbnail_key};
use bytes::Bytes;
use lamchat_store::{CommitError, Read, ReadError, WriteError, WriteTxn};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Largest thumbnail that is kept: far more than one of 800 by 800 pixels takes. A larger one is made anew each time.
const KEPT_BYTES_MAX: usize = Batch::CLEAR_MAX;

/// What a client gets.
#[derive(Debug)]
pub enum Thumbnail {
    /// A smaller image.
    Made {
        /// `image/png` or `image/jpeg`.
        content_type: &'static str,
        /// The image.
        bytes: Bytes,
    },
    /// The image itself, which is not larger than what was asked for.
    Original(Download),
}

/// Why there is no thumbnail.
#[derive(Debug, thiserror::Error)]
pub enum ThumbnailError {
    /// Not an image, encrypted by the client, or of a format that is not known here.
    #[error("no thumbnail can be made of this file")]
    Undecodable,
    /// Too many bytes or pixels.
    #[error("the image is too large to make a thumbnail of it")]
    TooLarge,
    /// The content cannot be had.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The thumbnail could not be kept.
    #[error("the thumbnail could not be stored: {0}")]
    Io(#[from] io::Error),
    /// The database did not keep it.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<ReadError> for ThumbnailError {
    fn from(error: ReadError) -> Self {
        Self::Download(error.into())
    }
}

impl Media {
    /// A thumbnail of at least `width` by `height` pixels, where the image has that many. Thumbnails are never animated.
    pub async fn thumbnail(
        &self,
        media_id: &str,
        width: u32,
        height: u32,
        method: Method,
        patience: Duration,
    ) -> Result<Thumbnail, ThumbnailError> {
        let (_, blob, ..) = self.find(media_id, patience).await?;
        let Some(target) = Target::for_request(width, height, method) else {
            return self.original(media_id, &blob).await;
        };
        let key = thumbnail_key(media_id, target.width, target.height, target.method.code());
        if let Some(made) = self.kept(&key).await? {
            return Ok(made);
        }
        if self.image_type(&blob).await?.is_none() {
            return Err(ThumbnailError::Undecodable);
        }
        if blob.size > self.0.options.thumbnail_source_bytes_max {
            return Err(ThumbnailError::TooLarge);
        }
        // The semaphore is never closed, so this waits until it is our turn.
        let _permit = self.0.thumbnail_permits.acquire().await.map_err(io::Error::other)?;
        // Whoever was before us may have made the same one.
        if let Some(made) = self.kept(&key).await? {
            return Ok(made);
        }
        let inner = Arc::clone(&self.0);
        let source = blob.clone();
        let rendered = tokio::task::spawn_blocking(move || inner.make(&source, target))
            .await
            .map_err(io::Error::other)??;
        let Some((bytes, thumb)) = rendered else {
            return self.original(media_id, &blob).await;
        };
        let content_type = content_type(is_png(&bytes));
        if let Some(thumb) = thumb {
            let media_id = media_id.to_owned();
            let write = self
                .0
                .store
                .write(move |txn: &mut WriteTxn<'_>| -> Result<(), ThumbnailError> {
                    // An item that was removed meanwhile gets no thumbnail that nobody would ever remove.
                    if txn.get(ITEM, media_id.as_bytes())?.is_some() {
                        txn.put(THUMBNAIL, &key, thumb.encode());
                    }
                    Ok(())
                });
            write.await.map_err(WriteError::flatten)?;
        }
        Ok(Thumbnail::Made { content_type, bytes })
    }

    /// The image itself, if it is one.
    async fn original(&self, media_id: &str, blob: &Blob) -> Result<Thumbnail, ThumbnailError> {
        let image_type = self.image_type(blob).await?.ok_or(ThumbnailError::Undecodable)?;
        let mut original = self.download(media_id, Duration::ZERO).await?;
        // Not what its uploader said: a thumbnail is of one of a few types, and shown in place.
        original.content_type = Some(image_type.to_owned());
        Ok(Thumbnail::Original(original))
    }

    /// A thumbnail that was made before. One whose content is lost or damaged is made anew.
    async fn kept(&self, key: &[u8]) -> Result<Option<Thumbnail>, ThumbnailError> {
        let Some(row) = self.0.store.read().get(THUMBNAIL, key)? else {
            return Ok(None);
        };
        let thumb = Thumb::decode(&row)?;
        let (inner, png) = (Arc::clone(&self.0), thumb.png);
        let read = tokio::task::spawn_blocking(move || inner.read_all(&thumb.blob))
            .await
            .map_err(io::Error::other)?;
        match read {
            Ok(bytes) => Ok(Some(Thumbnail::Made {
                content_type: content_type(png),
                bytes: bytes.into(),
            })),
            Err(error) => {
                tracing::warn!(%error, "a kept thumbnail cannot be read and is made anew");
                Ok(None)
            }
        }
    }

    /// The type of the image that a blob starts like: cheap, and it spares encrypted files the rest.
    async fn image_type(&self, blob: &Blob) -> Result<Option<&'static str>, DownloadError> {
        let (inner, blob) = (Arc::clone(&self.0), blob.clone());
        let look = move || -> Result<Option<&'static str>, DownloadError> {
            let mut reader = Reader::open(&inner, &blob)?;
            reader.stop_at(64);
            Ok(reader.next()?.first().and_then(|start| render::image_type(start)))
        };
        tokio::task::spawn_blocking(look).await.map_err(io::Error::other)?
    }
}

impl Inner {
    /// Makes a thumbnail and stores its content; without a row if it is too large to be kept, and nothing if the
    /// original does. Blocks.
    fn make(&self, source: &Blob, target: Target) -> Result<Option<(Bytes, Option<Thumb>)>, ThumbnailError> {
        let source = self.read_all(source)?;
        let (bytes, png) = match render::render(&source, target, self.options.thumbnail_pixels_max) {
            Ok(Rendered::Image { bytes, png }) => (bytes, png),
            Ok(Rendered::KeepOriginal) => return Ok(None),
            Err(RenderError::Undecodable) => return Err(ThumbnailError::Undecodable),
            Err(RenderError::TooLarge) => return Err(ThumbnailError::TooLarge),
        };
        if bytes.len() > KEPT_BYTES_MAX {
            return Ok(Some((bytes.into(), None)));
        }
        let key = NewKey::new(&self.keys, &*self.entropy).map_err(DownloadError::from)?;
        let mut batch = Batch::with_room(bytes.len());
        batch.push(&bytes);
        let mut stored = batch.finish();
        key.cipher.seal(&mut stored, 0, true);
        let place = self.packs.append(&stored)?;
        let blob = key.to_blob(bytes.len() as u64, place);
        Ok(Some((bytes.into(), Some(Thumb { blob, png }))))
    }

    /// A whole blob in memory. Blocks.
    fn read_all(&self, blob: &Blob) -> Result<Vec<u8>, DownloadError> {
        let mut reader = Reader::open(self, blob)?;
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size).unwrap_or(0));
        loop {
            let pieces = reader.next()?;
            if pieces.is_empty() {
                return Ok(bytes);
            }
            pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        }
    }
}

fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG")
}

fn content_type(png: bool) -> &'static str {
    if png { "image/png" } else { "image/jpeg" }
}
