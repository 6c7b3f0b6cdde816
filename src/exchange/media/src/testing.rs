//! For the tests of this crate: media on a simulated disk over a store in memory.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::{Media, Options, TABLES};
use lamchat_base::{Entropy, ManualClock, UserNum};
use lamchat_disk::simulation::SimulatedDisk;
use lamchat_seal::{DataKeys, Keyring, PassphraseCost, Unlock};
use lamchat_store::Store;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub const ALICE: UserNum = UserNum(1);
pub const BOB: UserNum = UserNum(2);

/// Numbers that look random and are the same in each run.
#[derive(Debug, Default)]
pub struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let x = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(1)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            chunk
                .iter_mut()
                .zip((x ^ (x >> 31)).to_le_bytes())
                .for_each(|(to, from)| *to = from);
        }
    }
}

/// What outlives a restart.
pub struct Bench {
    pub disk: SimulatedDisk,
    pub store: Store,
    pub clock: Arc<ManualClock>,
    entropy: Arc<Counted>,
    keys: Arc<DataKeys>,
}

impl Bench {
    pub fn new(disk: SimulatedDisk) -> Self {
        let entropy = Arc::new(Counted::default());
        let dir = Path::new("/data");
        let shared = Arc::new(SimulatedDisk::new(0));
        let keyring = Keyring::create_on(shared, dir, &Unlock::File, PassphraseCost::MINIMUM, entropy.clone()).unwrap();
        let clock = Arc::new(ManualClock::new(1_000_000));
        Self {
            disk,
            store: Store::in_memory(TABLES).unwrap(),
            clock,
            entropy,
            keys: Arc::new(keyring.data_keys(dir).unwrap()),
        }
    }

    pub fn options() -> Options {
        Options::new("/data/media")
    }

    pub fn open(&self, options: Options) -> Media {
        let disk = Arc::new(self.disk.clone());
        let (keys, entropy) = (Arc::clone(&self.keys), self.entropy.clone());
        Media::open_on(disk, options, self.store.clone(), keys, self.clock.clone(), entropy).unwrap()
    }

    /// The same rows over another disk.
    pub fn on(&self, disk: SimulatedDisk) -> Self {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Self {
            disk,
            store,
            clock,
            entropy: self.entropy.clone(),
            keys: Arc::clone(&self.keys),
        }
    }
}

/// Bytes that are different everywhere.
pub fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let source = Counted(AtomicU64::new(seed << 32));
    source.fill(&mut bytes);
    bytes
}

pub async fn upload(media: &Media, bytes: &[u8]) -> Result<String, crate::UploadError> {
    let mut upload = media.begin(ALICE, None, 1 << 30)?;
    for piece in bytes.chunks(100_003) {
        upload.write(piece).await?;
    }
    upload
        .finish(Some("text/plain; charset=utf-8"), Some("a \"b\".txt"))
        .await
}

pub async fn read_back(media: &Media, media_id: &str) -> Result<Vec<u8>, crate::DownloadError> {
    let mut download = media.download(media_id, Duration::ZERO).await?;
    let mut bytes = Vec::new();
    while let Some(pieces) = download.next().await? {
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
    }
    Ok(bytes)
}
