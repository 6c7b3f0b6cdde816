//! Uploads, downloads, created ids, quotas and thumbnails together.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use crate::testing::{ALICE, BOB, Bench, content, read_back, upload};
use crate::{CreateError, DownloadError, Method, Thumbnail, ThumbnailError, UploadError};
use image::{DynamicImage, ImageFormat, RgbImage};
use lamchat_disk::simulation::SimulatedDisk;
use std::io::Cursor;
use std::time::Duration;

#[tokio::test]
async fn what_goes_up_comes_down_and_is_not_on_disk() {
    let bench = Bench::new(SimulatedDisk::new(0));
    let media = bench.open(Bench::options());
    let mut ids = Vec::new();
    for size in [
        0, 1, 65_535, 65_536, 65_537, 262_144, 262_145, 524_288, 524_289, 1_048_576, 3_000_000,
    ] {
        let bytes = content(size, size as u64);
        let media_id = upload(&media, &bytes).await.unwrap();
        assert_eq!(read_back(&media, &media_id).await.unwrap(), bytes, "{size}");
        let found = media.download(&media_id, Duration::ZERO).await.unwrap();
        assert_eq!(
            (found.size, found.uploader, found.created_ms),
            (size as u64, ALICE, 1_000_000)
        );
        assert_eq!(found.content_type.as_deref(), Some("text/plain; charset=utf-8"));
        assert_eq!(found.filename.as_deref(), Some("a \"b\".txt"));
        if size >= 16 {
            let clear = &bytes[..16];
            assert!(
                bench
                    .disk
                    .files()
                    .iter()
                    .all(|(_, stored)| stored.windows(16).all(|window| window != clear))
            );
        }
        ids.push((media_id, bytes));
    }
    let again = bench.open(Bench::options());
    for (media_id, bytes) in &ids {
        assert_eq!(read_back(&again, media_id).await.unwrap(), *bytes);
    }
}

#[tokio::test]
async fn ranges_are_parts_of_the_whole() {
    let bench = Bench::new(SimulatedDisk::new(0));
    let media = bench.open(Bench::options());
    let bytes = content(1_000_000, 3);
    let media_id = upload(&media, &bytes).await.unwrap();
    for (start, end) in [
        (0, 1),
        (65_535, 65_537),
        (65_536, 131_072),
        (999_999, 1_000_000),
        (5, 900_000),
        (7, 7),
    ] {
        let mut download = media.download(&media_id, Duration::ZERO).await.unwrap();
        download.restrict(start..end);
        let mut read = Vec::new();
        while let Some(pieces) = download.next().await.unwrap() {
            pieces.iter().for_each(|piece| read.extend_from_slice(piece));
        }
        assert_eq!(read, bytes[start as usize..end as usize], "{start}..{end}");
    }
}

#[tokio::test]
async fn damage_is_noticed() {
    for size in [1_000usize, 500_000] {
        let bench = Bench::new(SimulatedDisk::new(0));
        let media = bench.open(Bench::options());
        let media_id = upload(&media, &content(size, 3)).await.unwrap();
        let (path, stored) = bench.disk.files().pop().unwrap();
        for bit in [0, stored.len() * 4, stored.len() * 8 - 1] {
            bench.disk.flip_bit(&path, bit);
            assert!(matches!(
                read_back(&media, &media_id).await,
                Err(DownloadError::Damaged)
            ));
            bench.disk.flip_bit(&path, bit);
        }
        assert!(read_back(&media, &media_id).await.is_ok());
    }
}

#[tokio::test]
async fn limits_and_quotas_refuse() {
    let bench = Bench::new(SimulatedDisk::new(0));
    let mut options = Bench::options();
    options.quota_bytes_per_user = Some(1_000);
    options.uploads_per_user_max = 1;
    let media = bench.open(options);
    assert!(matches!(
        media.begin(ALICE, Some(11), 10),
        Err(UploadError::TooLarge { bytes_max: 10 })
    ));
    let mut first = media.begin(ALICE, None, 10).unwrap();
    assert!(matches!(media.begin(ALICE, None, 10), Err(UploadError::TooMany)));
    assert!(media.begin(BOB, None, 10).is_ok());
    assert!(matches!(first.write(&[0; 11]).await, Err(UploadError::TooLarge { .. })));
    drop(first);
    upload(&media, &[0; 900]).await.unwrap();
    assert!(matches!(
        media.begin(ALICE, Some(101), 1 << 20),
        Err(UploadError::Quota { .. })
    ));
    assert!(matches!(
        upload(&media, &[0; 101]).await,
        Err(UploadError::Quota { .. })
    ));
    upload(&media, &[0; 100]).await.unwrap();
}

#[tokio::test]
async fn a_dropped_upload_leaves_nothing() {
    let bench = Bench::new(SimulatedDisk::new(0));
    let media = bench.open(Bench::options());
    let mut begun = media.begin(ALICE, None, 1 << 30).unwrap();
    begun.write(&content(2_000_000, 1)).await.unwrap();
    let sweep = {
        let media = media.clone();
        tokio::task::spawn_blocking(move || media.sweep())
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(sweep.orphans_removed, 0, "an upload under way is no orphan");
    drop(begun);
    for _ in 0..1_000 {
        if bench.disk.files().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the file is still there");
}

#[tokio::test]
async fn a_created_id_takes_content_once_from_its_owner() {
    let bench = Bench::new(SimulatedDisk::new(0));
    let mut options = Bench::options();
    options.pending_per_user_max = 2;
    let media = bench.open(options);
    let created = media.create(ALICE).await.unwrap();
    let id = created.media_id.as_str();
    assert_eq!(created.unused_expires_at_ms, 1_000_000 + 86_400_000);
    assert!(matches!(
        media.download(id, Duration::from_millis(5)).await,
        Err(DownloadError::NotYetUploaded)
    ));
    assert!(matches!(
        media.begin_created(BOB, id, None, 10),
        Err(UploadError::NotYours)
    ));
    assert!(matches!(
        media.begin_created(ALICE, "unknown", None, 10),
        Err(UploadError::Unknown)
    ));
    assert!(matches!(
        media.begin_created(ALICE, "../../etc/passwd", None, 10),
        Err(UploadError::Unknown)
    ));
    let waiting = {
        let (media, id) = (media.clone(), id.to_owned());
        tokio::spawn(async move {
            media
                .download(&id, Duration::from_secs(20))
                .await
                .map(|found| found.size)
        })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut one = media.begin_created(ALICE, id, None, 10).unwrap();
    let mut two = media.begin_created(ALICE, id, None, 10).unwrap();
    one.write(b"one").await.unwrap();
    two.write(b"two").await.unwrap();
    assert_eq!(one.finish(None, None).await.unwrap(), id);
    assert!(matches!(
        two.finish(None, None).await,
        Err(UploadError::AlreadyUploaded)
    ));
    assert_eq!(waiting.await.unwrap().unwrap(), 3);
    assert!(matches!(
        media.begin_created(ALICE, id, None, 10),
        Err(UploadError::AlreadyUploaded)
    ));
    assert_eq!(read_back(&media, id).await.unwrap(), b"one");

    let second = media.create(ALICE).await.unwrap();
    media.create(ALICE).await.unwrap();
    assert!(matches!(
        media.create(ALICE).await,
        Err(CreateError::TooManyPending { .. })
    ));
    bench.clock.advance_ms(86_400_000);
    assert!(matches!(
        media.begin_created(ALICE, &second.media_id, None, 10),
        Err(UploadError::Unknown)
    ));
    let swept = {
        let media = media.clone();
        tokio::task::spawn_blocking(move || media.sweep())
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(swept.ids_expired, 2);
    assert!(matches!(
        media.download(&second.media_id, Duration::ZERO).await,
        Err(DownloadError::NotFound)
    ));
    assert_eq!(read_back(&media, id).await.unwrap(), b"one");
}

#[tokio::test]
async fn thumbnails_are_made_once_and_kept_encrypted() {
    let bench = Bench::new(SimulatedDisk::new(0));
    let media = bench.open(Bench::options());
    let mut png = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(RgbImage::new(1_000, 1_000))
        .write_to(&mut png, ImageFormat::Png)
        .unwrap();
    let image = upload(&media, png.get_ref()).await.unwrap();
    let text = upload(&media, b"no image").await.unwrap();
    let mut first = None;
    for _ in 0..2 {
        match media
            .thumbnail(&image, 90, 90, Method::Crop, Duration::ZERO)
            .await
            .unwrap()
        {
            Thumbnail::Made { content_type, bytes } => {
                assert_eq!(content_type, "image/jpeg");
                assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 96);
                assert_eq!(*first.get_or_insert_with(|| bytes.clone()), bytes);
            }
            Thumbnail::Original(_) => panic!("too large"),
        }
    }
    let clear = &first.unwrap()[..16];
    assert!(
        bench
            .disk
            .files()
            .iter()
            .all(|(_, stored)| stored.windows(16).all(|window| window != clear))
    );
    let original = media
        .thumbnail(&image, 2_000, 2_000, Method::Scale, Duration::ZERO)
        .await
        .unwrap();
    assert!(matches!(original, Thumbnail::Original(found) if found.size == png.get_ref().len() as u64));
    let refused = media.thumbnail(&text, 90, 90, Method::Crop, Duration::ZERO).await;
    assert!(matches!(refused, Err(ThumbnailError::Undecodable)));
    let unknown = media.thumbnail("nothing", 90, 90, Method::Crop, Duration::ZERO).await;
    assert!(matches!(
        unknown,
        Err(ThumbnailError::Download(DownloadError::NotFound))
    ));
}
