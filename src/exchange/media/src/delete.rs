//! Listing and deleting uploads, for administrators.
//!
//! Deleting is done in two steps, so that a power cut leaves nothing half done. The commit that removes an upload's row
//! (and with it the key that opens the content) notes what is left on disk in `media.erase`; then the content is erased
//! and the note removed. What is noted when the server starts is erased by the sweep.

use crate::blob::stored_length;
use crate::media::{Inner, Media, file_name, files_folder, is_media_id, packs_folder};
use crate::pack::pack_name;
use crate::row::{
    Blob, Content, ERASE, Erasure, ITEM, Item, PENDING, Place, THUMBNAIL, Thumb, USAGE, decode_number, pending_key,
};
use crate::sweep::SweepError;
use lamchat_base::UserNum;
use lamchat_store::{Key, KeyRange, Order, Read, ReadError, ReadExt, WriteError, WriteTxn};
use std::io;

/// Rows that a page of the list looks at, at most.
const LOOKED_AT_MAX: usize = 20_000;
/// Notes that are worked off in one go.
const ERASED_AT_ONCE: usize = 256;

/// An upload, as an administrator sees it. What it contains is nobody's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub media_id: String,
    /// Who uploaded it.
    pub uploader: UserNum,
    /// When, in milliseconds since 1970.
    pub created_ms: u64,
    /// Bytes in the clear.
    pub size: u64,
    /// What the uploader called it.
    pub content_type: Option<String>,
}

/// A page of uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The uploads, by id.
    pub uploads: Vec<Listed>,
    /// The id behind which the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// Who had uploaded it.
    pub uploader: UserNum,
    /// Bytes in the clear; 0 for an id without content.
    pub size: u64,
}

impl Media {
    /// Uploads behind the id `after`, of one user or of all, at most `limit`; ids without content are left out.
    pub fn list(
        read: &dyn Read,
        after: Option<&str>,
        uploader: Option<UserNum>,
        limit: usize,
    ) -> Result<ListPage, ReadError> {
        let mut range = KeyRange::all();
        if let Some(after) = after {
            range.start = [after.as_bytes(), &[0]].concat();
        }
        let mut page = ListPage::default();
        let rows = read.rows(ITEM, &range, Order::Ascending, LOOKED_AT_MAX)?;
        let is_cut = rows.len() == LOOKED_AT_MAX;
        let mut last = None;
        for (key, row) in rows {
            let media_id = String::from_utf8_lossy(&key).into_owned();
            if page.uploads.len() == limit {
                page.next = last;
                return Ok(page);
            }
            let item = Item::decode(&row)?;
            if let Content::There { blob, content_type, .. } = item.content
                && uploader.is_none_or(|uploader| uploader == item.uploader)
            {
                page.uploads.push(Listed {
                    media_id: media_id.clone(),
                    uploader: item.uploader,
                    created_ms: item.created_ms,
                    size: blob.size,
                    content_type,
                });
            }
            last = Some(media_id);
        }
        page.next = last.filter(|_| is_cut);
        Ok(page)
    }

    /// Removes an upload with its thumbnails from the tables; `None` if there is none. Call [`Media::erase`] after the
    /// commit.
    pub fn delete(txn: &mut WriteTxn<'_>, media_id: &str) -> Result<Option<Deleted>, ReadError> {
        if !is_media_id(media_id) {
            return Ok(None);
        }
        let Some(row) = txn.get(ITEM, media_id.as_bytes())? else {
            return Ok(None);
        };
        let item = Item::decode(&row)?;
        txn.delete(ITEM, media_id.as_bytes());
        let size = match &item.content {
            Content::Pending { .. } => {
                txn.delete(PENDING, &pending_key(item.uploader, media_id));
                0
            }
            Content::There { blob, .. } => {
                note(txn, blob);
                let key = item.uploader.to_key();
                if let Some(used) = txn.get(USAGE, &key)? {
                    let used = decode_number(USAGE, &used)?.saturating_sub(blob.size);
                    txn.put(USAGE, &key, used.to_be_bytes().to_vec());
                }
                blob.size
            }
        };
        let thumbnails = KeyRange::prefix(&Key::new().str(media_id));
        for (key, row) in txn.rows(THUMBNAIL, &thumbnails, Order::Ascending, usize::MAX)? {
            note(txn, &Thumb::decode(&row)?.blob);
            txn.delete(THUMBNAIL, &key);
        }
        Ok(Some(Deleted {
            uploader: item.uploader,
            size,
        }))
    }

    /// Erases the content of all that was deleted; answers how many blobs. Blocks.
    pub fn erase(&self) -> Result<usize, SweepError> {
        let inner = &self.0;
        let _one_at_a_time = inner.erasing.lock();
        let mut erased = 0;
        loop {
            let rows = inner
                .store
                .read()
                .rows(ERASE, &KeyRange::all(), Order::Ascending, ERASED_AT_ONCE)?;
            if rows.is_empty() {
                return Ok(erased);
            }
            for (_, row) in &rows {
                erase_one(inner, &Erasure::decode(row)?)?;
            }
            inner.disk.sync_dir(&files_folder(&inner.options.dir))?;
            erased += rows.len();
            let done = inner.store.write_blocking(move |txn| -> Result<(), ReadError> {
                for (key, _) in rows {
                    txn.delete(ERASE, &key);
                }
                Ok(())
            });
            done.map_err(|error| match error {
                WriteError::Refused(error) => SweepError::from(error),
                WriteError::Commit(error) => SweepError::from(error),
            })?;
        }
    }
}

/// The greatest number of a pack in which something is to be erased; 0 if there is none.
pub(crate) fn erased_packs(read: &dyn Read) -> Result<u32, ReadError> {
    let mut greatest = 0;
    for (_, row) in read.rows(ERASE, &KeyRange::all(), Order::Ascending, usize::MAX)? {
        if let Place::Pack { number, .. } = Erasure::decode(&row)?.place {
            greatest = greatest.max(number);
        }
    }
    Ok(greatest)
}

/// Notes that the content of a blob is to be erased.
fn note(txn: &mut WriteTxn<'_>, blob: &Blob) {
    let erasure = Erasure {
        id: blob.id,
        place: blob.place,
        length: stored_length(blob.size),
    };
    txn.put(ERASE, &blob.id, erasure.encode());
}

fn erase_one(inner: &Inner, erasure: &Erasure) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    };
    match erasure.place {
        Place::File => {
            let path = files_folder(&inner.options.dir).join(file_name(&erasure.id));
            gone(inner.disk.remove(&path))
        }
        Place::Pack { number, offset } => {
            let path = packs_folder(&inner.options.dir).join(pack_name(number));
            gone(inner.disk.open(&path).and_then(|pack| {
                // A pack that a fault cut off has less to erase.
                let length = erasure.length.min(pack.size()?.saturating_sub(offset));
                pack.erase(offset, length)?;
                pack.sync_data()
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use crate::testing::{ALICE, BOB, Bench, content, read_back, upload};
    use crate::{DownloadError, Media, Method};
    use lamchat_disk::simulation::SimulatedDisk;
    use std::time::Duration;

    fn delete(bench: &Bench, media_id: &str) -> Option<u64> {
        let media_id = media_id.to_owned();
        let deleted = bench
            .store
            .write_blocking(move |txn| Media::delete(txn, &media_id))
            .unwrap();
        deleted.map(|deleted| deleted.size)
    }

    /// Bytes on disk that are not zero.
    fn stored(bench: &Bench) -> usize {
        let files = bench.disk.files();
        files
            .iter()
            .flat_map(|(_, bytes)| bytes)
            .filter(|byte| **byte != 0)
            .count()
    }

    #[tokio::test]
    async fn what_is_deleted_is_gone_from_tables_and_disk() {
        let bench = Bench::new(SimulatedDisk::new(0));
        let mut options = Bench::options();
        options.quota_bytes_per_user = Some(400_000);
        let media = bench.open(options);
        let (small, large) = (content(5_000, 1), content(300_000, 2));
        let kept = upload(&media, &small).await.unwrap();
        let before = stored(&bench);
        let ids = [
            upload(&media, &small).await.unwrap(),
            upload(&media, &large).await.unwrap(),
        ];
        assert!(upload(&media, &large).await.is_err(), "the quota");
        assert_eq!(delete(&bench, &ids[0]), Some(5_000));
        assert_eq!(delete(&bench, &ids[1]), Some(300_000));
        assert_eq!(delete(&bench, &ids[1]), None);
        assert_eq!(delete(&bench, "../x"), None);
        for id in &ids {
            assert!(matches!(read_back(&media, id).await, Err(DownloadError::NotFound)));
        }
        assert!(stored(&bench) > before);
        assert_eq!(media.erase().unwrap(), 2);
        assert_eq!(stored(&bench), before, "nothing of it is left");
        assert_eq!(media.erase().unwrap(), 0);
        assert_eq!(read_back(&media, &kept).await.unwrap(), small);
        upload(&media, &large).await.unwrap();
        let swept = media.sweep().unwrap();
        assert_eq!((swept.orphans_removed, swept.contents_missing), (0, 0));
    }

    #[tokio::test]
    async fn a_start_erases_what_a_power_cut_left() {
        let bench = Bench::new(SimulatedDisk::new(0));
        let media = bench.open(Bench::options());
        let id = upload(&media, &content(5_000, 1)).await.unwrap();
        assert_eq!(delete(&bench, &id), Some(5_000));
        drop(media);
        let media = bench.open(Bench::options());
        assert!(stored(&bench) > 0);
        media.sweep().unwrap();
        assert_eq!(stored(&bench), 0);
        assert_eq!(media.erase().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_restored_backup_erases_nothing_new() {
        let bench = Bench::new(SimulatedDisk::new(0));
        let media = bench.open(Bench::options());
        let id = upload(&media, &content(5_000, 1)).await.unwrap();
        assert_eq!(delete(&bench, &id), Some(5_000));
        // The rows are there, the pack is not.
        let restored = bench.on(SimulatedDisk::new(1));
        let media = restored.open(Bench::options());
        let bytes = content(5_000, 2);
        let new = upload(&media, &bytes).await.unwrap();
        assert_eq!(media.erase().unwrap(), 1);
        assert_eq!(read_back(&media, &new).await.unwrap(), bytes);
    }

    #[tokio::test]
    async fn thumbnails_go_with_their_image() {
        let bench = Bench::new(SimulatedDisk::new(0));
        let media = bench.open(Bench::options());
        let mut png = std::io::Cursor::new(Vec::new());
        let image = image::DynamicImage::ImageRgb8(image::RgbImage::from_fn(600, 400, |x, y| {
            image::Rgb([x as u8, y as u8, 9])
        }));
        image.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let id = upload(&media, png.get_ref()).await.unwrap();
        media
            .thumbnail(&id, 32, 32, Method::Crop, Duration::ZERO)
            .await
            .unwrap();
        delete(&bench, &id).unwrap();
        assert_eq!(media.erase().unwrap(), 2);
        assert_eq!(stored(&bench), 0);
        let missing = media.thumbnail(&id, 32, 32, Method::Crop, Duration::ZERO).await;
        assert!(missing.is_err());
    }

    #[tokio::test]
    async fn uploads_are_listed_in_pages_and_by_user() {
        let bench = Bench::new(SimulatedDisk::new(0));
        let media = bench.open(Bench::options());
        let mut ids = Vec::new();
        for number in 0..5 {
            ids.push(upload(&media, &content(10, number)).await.unwrap());
        }
        ids.sort();
        media.create(ALICE).await.unwrap();
        let read = bench.store.read();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = Media::list(&read, after.as_deref(), Some(ALICE), 2).unwrap();
            seen.extend(page.uploads.into_iter().map(|upload| upload.media_id));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, ids);
        let others = Media::list(&read, None, Some(BOB), 10).unwrap();
        assert!(others.uploads.is_empty() && others.next.is_none());
    }
}
