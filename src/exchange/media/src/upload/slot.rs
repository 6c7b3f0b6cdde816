//! The place of one upload among those under way, and what becomes of its file if it fails.

use super::UploadError;
use crate::media::{Media, file_name, files_folder};
use lamchat_base::UserNum;
use std::io;
use std::sync::Arc;

/// Counts an upload as long as it lives, and removes its file unless a row was committed.
#[derive(Debug)]
pub(super) struct Slot {
    media: Media,
    uploader: UserNum,
    /// The blob with a file of its own.
    file: Option<[u8; 16]>,
}

impl Media {
    /// Takes a place among the uploads under way.
    pub(super) fn slot(&self, uploader: UserNum) -> Result<Slot, UploadError> {
        let mut uploading = self.0.uploading.lock();
        let all: usize = uploading.values().sum();
        let own = uploading.entry(uploader).or_default();
        if *own >= self.0.options.uploads_per_user_max || all >= self.0.options.uploads_max {
            return Err(UploadError::TooMany);
        }
        *own += 1;
        Ok(Slot {
            media: self.clone(),
            uploader,
            file: None,
        })
    }
}

impl Slot {
    pub(super) fn begin_file(&mut self, id: [u8; 16]) {
        self.media.0.unfinished.lock().insert(id);
        self.file = Some(id);
    }

    pub(super) fn keep_file(&mut self) {
        if let Some(id) = self.file.take() {
            self.media.0.unfinished.lock().remove(&id);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut uploading = self.media.0.uploading.lock();
        if let Some(own) = uploading.get_mut(&self.uploader) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                uploading.remove(&self.uploader);
            }
        }
        drop(uploading);
        let Some(id) = self.file.take() else { return };
        let inner = Arc::clone(&self.media.0);
        let remove = move || {
            let path = files_folder(&inner.options.dir).join(file_name(&id));
            match inner.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "the file of an upload that failed is left for the next sweep");
                }
                _ => {}
            }
            inner.unfinished.lock().remove(&id);
        };
        // Removing a large file takes milliseconds, which a worker of the runtime should not spend.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}
