//! Power cuts in the middle of uploads, on the simulated disk.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::testing::{Bench, content, read_back, upload};
use lamchat_disk::simulation::SimulatedDisk;

const SIZES: [usize; 4] = [10, 70_000, 300_000, 600_000];

/// Syncs that do nothing: of files, of folders.
type Ignored = (Option<&'static str>, Option<&'static str>);

/// Uploads until the power fails after `operations`, and then looks at what is left. Answers how many acknowledged
/// uploads came back whole and how many did not.
async fn round(ignored: Ignored, operations: Option<u64>, seed: u64) -> (usize, usize) {
    let bench = Bench::new(SimulatedDisk::new(seed));
    bench.disk.ignore_syncs(ignored.0);
    bench.disk.ignore_dir_syncs(ignored.1);
    let media = bench.open(Bench::options());
    if let Some(operations) = operations {
        bench.disk.cut_power_after(operations);
    }
    let mut acknowledged = Vec::new();
    for (number, size) in SIZES.into_iter().enumerate() {
        let bytes = content(size, number as u64);
        if let Ok(media_id) = upload(&media, &bytes).await {
            acknowledged.push((media_id, bytes));
        }
    }
    // The rows are in a store of their own here, which keeps what it committed: the worst case for the files.
    let after = bench.on(bench.disk.power_on());
    let media = after.open(Bench::options());
    let swept = {
        let media = media.clone();
        tokio::task::spawn_blocking(move || media.sweep())
            .await
            .unwrap()
            .unwrap()
    };
    let mut whole = 0;
    for (media_id, bytes) in &acknowledged {
        whole += usize::from(read_back(&media, media_id).await.is_ok_and(|read| read == *bytes));
    }
    if ignored == (None, None) {
        assert_eq!(swept.contents_missing, 0, "operations {operations:?}, seed {seed}");
        // Whatever has no row is gone: as many files are left as rows name.
        let left = after
            .disk
            .files()
            .iter()
            .filter(|(path, _)| path.starts_with("/data/media/files"))
            .count();
        let large = acknowledged
            .iter()
            .filter(|(_, bytes)| bytes.len() > 256 * 1024)
            .count();
        assert_eq!(left, large, "operations {operations:?}, seed {seed}");
        // And going on works.
        let again = upload(&media, b"after the cut").await.unwrap();
        assert_eq!(read_back(&media, &again).await.unwrap(), b"after the cut");
    }
    (whole, acknowledged.len() - whole)
}

#[tokio::test]
async fn acknowledged_uploads_survive_a_power_cut_at_every_moment() {
    let mut acknowledged = 0;
    for operations in 0..24 {
        for seed in 0..4 {
            let (whole, lost) = round((None, None), Some(operations), seed * 1_000 + operations).await;
            assert_eq!(lost, 0, "operations {operations}, seed {seed}");
            acknowledged += whole;
        }
    }
    assert!(acknowledged > 100, "{acknowledged}");
}

#[tokio::test]
async fn a_missing_sync_would_be_noticed() {
    for ignored in [
        (Some("files"), None),
        (Some("packs"), None),
        (None, Some("files")),
        (None, Some("packs")),
    ] {
        let mut lost = 0;
        for seed in 0..8 {
            lost += round(ignored, None, seed).await.1;
        }
        assert!(lost > 0, "{ignored:?}");
    }
}

#[tokio::test]
async fn a_full_disk_and_a_failing_sync_refuse_and_then_recover() {
    let bench = Bench::new(SimulatedDisk::new(0));
    let media = bench.open(Bench::options());
    for size in SIZES {
        let bytes = content(size, 9);
        bench.disk.limit_capacity(Some(5));
        assert!(upload(&media, &bytes).await.is_err());
        bench.disk.limit_capacity(None);
        bench.disk.fail_syncs("media", 1);
        assert!(upload(&media, &bytes).await.is_err());
        let media_id = upload(&media, &bytes).await.unwrap();
        assert_eq!(read_back(&media, &media_id).await.unwrap(), bytes);
    }
}
