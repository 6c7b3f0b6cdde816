//! Handing out a media id before its content exists (Matrix 1.7, `POST /_matrix/media/v1/create`).

use crate::media::Media;
use crate::row::{Content, ITEM, Item, PENDING, decode_number, pending_key};
use lamchat_base::UserNum;
use lamchat_store::{CommitError, Key, KeyRange, Order, Read, ReadError, WriteError};
use std::ops::ControlFlow;

/// An id without content yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The id.
    pub media_id: String,
    /// When it is forgotten unless something was uploaded, in milliseconds since 1970.
    pub unused_expires_at_ms: u64,
}

/// Why no id was handed out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateError {
    /// The user has too many ids without content.
    #[error("too many media ids are waiting for their content; upload to them, or wait")]
    TooManyPending {
        /// When the first of them expires, in milliseconds from now.
        retry_after_ms: u64,
    },
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database did not keep it.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Media {
    /// Hands out a media id that `uploader`, and nobody else, may upload to.
    pub async fn create(&self, uploader: UserNum) -> Result<Created, CreateError> {
        let media_id = self.0.new_media_id();
        let now_ms = self.0.clock.now_ms();
        let expires_ms =
            now_ms.saturating_add(u64::try_from(self.0.options.pending_lifetime.as_millis()).unwrap_or(u64::MAX));
        let pending_max = self.0.options.pending_per_user_max;
        let created = Created {
            media_id: media_id.clone(),
            unused_expires_at_ms: expires_ms,
        };
        let write = self.0.store.write(move |txn| {
            let (mut pending, mut soonest_ms, mut fault) = (0, u64::MAX, None);
            let range = KeyRange::prefix(&Key::new().u32(uploader.0));
            txn.scan(
                PENDING,
                &range,
                Order::Ascending,
                &mut |_, value| match decode_number(PENDING, value) {
                    Ok(expires_ms) => {
                        if expires_ms > now_ms {
                            pending += 1;
                            soonest_ms = soonest_ms.min(expires_ms);
                        }
                        ControlFlow::Continue(())
                    }
                    Err(error) => {
                        fault = Some(error);
                        ControlFlow::Break(())
                    }
                },
            )?;
            if let Some(fault) = fault {
                return Err(fault.into());
            }
            if pending >= pending_max {
                return Err(CreateError::TooManyPending {
                    retry_after_ms: soonest_ms.saturating_sub(now_ms),
                });
            }
            let item = Item {
                uploader,
                created_ms: now_ms,
                content: Content::Pending { expires_ms },
            };
            txn.put(ITEM, media_id.as_bytes(), item.encode());
            txn.put(
                PENDING,
                &pending_key(uploader, &media_id),
                expires_ms.to_be_bytes().to_vec(),
            );
            Ok(())
        });
        write.await.map_err(WriteError::flatten)?;
        Ok(created)
    }
}
