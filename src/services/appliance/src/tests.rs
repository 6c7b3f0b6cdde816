//! A backup under load and its way back; and every way in which a backup can be unfit.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod carried;

use crate::{
    Backup, BackupError, Folders, MANIFEST_FILE, Manifest, PART_BYTES_MAX, PartError, PartWriter, PrepareError,
    RestoreError, RestoreOptions, Source, Stopped, restore, verify,
};
use lamchat_base::{Entropy, ManualClock, SecretBytes, UserNum};
use lamchat_media::{DownloadError, Media};
use lamchat_seal::{Keyring, PassphraseCost, Unlock};
use lamchat_store::{KeyRange, Options, Order, Position, Read, ReadError, ReadExt, Store, Table};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Ids of the appliance's block.
const NOTES: Table = Table::new(176, "test.notes");
const EMPTY: Table = Table::new(177, "test.empty");

#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let x = self
                .0
                .fetch_add(1, Relaxed)
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

fn tables() -> Vec<Table> {
    [lamchat_media::TABLES, lamchat_keys::TABLES, &[NOTES, EMPTY]].concat()
}

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(SecretBytes::new(text.as_bytes().to_vec()))
}

struct House {
    _home: tempfile::TempDir,
    root: PathBuf,
    entropy: Arc<Counted>,
    keyring: Arc<Keyring>,
    source: Source,
}

impl House {
    fn build() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().to_owned();
        let entropy = Arc::new(Counted::default());
        let folders = Folders::below(&root.join("data"));
        let keyring = Keyring::create(
            &root.join("data/keys"),
            &Unlock::File,
            PassphraseCost::MINIMUM,
            entropy.clone(),
        )
        .unwrap();
        let keyring = Arc::new(keyring);
        let source = open(&keyring, &folders, &entropy);
        Self {
            _home: home,
            root,
            entropy,
            keyring,
            source,
        }
    }

    fn back_up(&self, name: &str, part_bytes_max: u64) -> PathBuf {
        let dir = self.root.join(name);
        let mut writer = PartWriter::create(&dir, part_bytes_max).unwrap();
        let prepared = Backup::prepare(self.source.clone()).unwrap();
        let emitted = prepared.run(&mut |bytes| {
            // Cut anywhere, as a network does.
            bytes.chunks(10_007).for_each(|piece| writer.push(piece).unwrap());
            Ok(())
        });
        emitted.unwrap();
        writer.finish().unwrap();
        dir
    }

    fn options(&self, backup_dir: &Path, name: &str) -> RestoreOptions {
        RestoreOptions {
            backup_dir: backup_dir.to_owned(),
            data_dir: self.root.join(name),
            keys_dir: self.root.join(name).join("keys"),
            unlock: passphrase("correct horse"),
            file_slot: false,
            tables: tables(),
            entropy: self.entropy.clone(),
        }
    }
}

fn open(keyring: &Arc<Keyring>, folders: &Folders, entropy: &Arc<Counted>) -> Source {
    let keys = Arc::new(keyring.data_keys(&folders.data).unwrap());
    let key = keys.database_key().unwrap();
    let store = Store::open(Options {
        dir: folders.store.clone(),
        key,
        tables: tables(),
        progress: lamchat_store::Progress::default(),
    })
    .unwrap();
    let options = lamchat_media::Options::new(&folders.media);
    let clock = Arc::new(ManualClock::new(5));
    let media = Media::open(options, store.clone(), keys.clone(), clock, entropy.clone()).unwrap();
    Source {
        store,
        media,
        keys,
        keyring: keyring.clone(),
        entropy: entropy.clone(),
        server_name: "example.org".to_owned(),
        now_ms: 77,
        is_damaged: false,
    }
}

async fn upload(media: &Media, bytes: &[u8]) -> String {
    let mut upload = media.begin(UserNum(1), None, 1 << 30).unwrap();
    upload.write(bytes).await.unwrap();
    upload.finish(Some("image/png"), None).await.unwrap()
}

async fn read_back(media: &Media, id: &str) -> Vec<u8> {
    let mut download = media.download(id, Duration::ZERO).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(pieces) = download.next().await.unwrap() {
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
    }
    bytes
}

fn note(store: &Store, number: u64) -> Position {
    let write = store.write_blocking(move |txn| {
        // Two rows that belong together, and a position with each.
        txn.put(NOTES, &number.to_be_bytes(), vec![7; 100]);
        txn.put(NOTES, b"newest", number.to_be_bytes().to_vec());
        Ok::<_, ReadError>(txn.next_position())
    });
    write.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn media_that_a_damaged_disk_does_not_read_cost_nothing_else() {
    let mut house = House::build();
    house
        .keyring
        .add_slot(&passphrase("correct horse"), PassphraseCost::MINIMUM)
        .unwrap();
    let small = upload(&house.source.media, b"in a pack").await;
    let large = upload(&house.source.media, &vec![7; 3_000_000]).await;
    note(&house.source.store, 1);
    // What stands in the place of the file opens, and cannot be read.
    let files = Folders::below(&house.root.join("data")).media.join("files");
    let file = std::fs::read_dir(&files).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let broken = Backup::prepare(house.source.clone()).unwrap().run(&mut |_| Ok(()));
    assert!(matches!(broken, Err(BackupError::Media(_))), "{broken:?}");

    house.source.is_damaged = true;
    let dir = tokio::task::block_in_place(|| house.back_up("backup", PART_BYTES_MAX));
    let options = house.options(&dir, "restored");
    let restored = tokio::task::block_in_place(|| restore(&options)).unwrap();
    assert_eq!(restored.counts.media_missing, 1);
    let keyring = Keyring::open(&options.keys_dir, &options.unlock, house.entropy.clone()).unwrap();
    let new = open(&Arc::new(keyring), &Folders::below(&options.data_dir), &house.entropy);
    assert_eq!(read_back(&new.media, &small).await, b"in a pack");
    let mut gone = new.media.download(&large, Duration::ZERO).await.unwrap();
    let gone = gone.next().await;
    assert!(matches!(gone, Err(DownloadError::Missing)), "{gone:?}");
    assert!(new.store.read().get(NOTES, b"newest").unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_comes_back_whole() {
    let house = House::build();
    let Source { store, media, keys, .. } = house.source.clone();
    house
        .keyring
        .add_slot(&passphrase("correct horse"), PassphraseCost::MINIMUM)
        .unwrap();
    keys.seal_secret("signing-key", &SecretBytes::new(b"seed".to_vec()))
        .unwrap();
    let mut files = Vec::new();
    for size in [0usize, 10, 100_000, 3_000_000] {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 253) as u8).collect();
        files.push((upload(&media, &bytes).await, bytes));
    }
    let before = (0..500).fold(Position(0), |_, number| note(&store, number));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop) = (store.clone(), stop.clone());
        std::thread::spawn(move || {
            (500..).take_while(|_| !stop.load(Relaxed)).for_each(|number| {
                note(&store, number);
            });
        })
    };
    // Parts of 200 kB, less than a frame, so that there are several.
    let dir = tokio::task::block_in_place(|| house.back_up("backup", 200_000));
    stop.store(true, Relaxed);
    writer.join().unwrap();
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(dir.join(MANIFEST_FILE)).unwrap()).unwrap();
    assert!(manifest.parts.len() > 5, "{}", manifest.parts.len());
    // Neither rows nor files nor the file slot's key are readable in it.
    let wrapping = std::fs::read(house.root.join("data/keys/keyring.key")).unwrap();
    for part in &manifest.parts {
        let bytes = std::fs::read(dir.join(&part.file)).unwrap();
        assert!(!bytes.windows(20).any(|window| window == [7; 20]));
        assert!(!bytes.windows(32).any(|window| window == &wrapping[8..40]));
    }

    let options = house.options(&dir, "restored");
    let restored = tokio::task::block_in_place(|| restore(&options)).unwrap();
    assert_eq!(
        (restored.server_name.as_str(), restored.created_ms),
        ("example.org", 77)
    );
    assert_eq!((restored.counts.secrets, restored.counts.media_missing), (1, 0));
    let folders = Folders::below(&options.data_dir);
    assert!(matches!(
        Keyring::open(&options.keys_dir, &Unlock::File, house.entropy.clone()),
        Err(lamchat_seal::OpenError::NoSlot(_))
    ));
    let keyring = Keyring::open(&options.keys_dir, &options.unlock, house.entropy.clone()).unwrap();
    let new = open(&Arc::new(keyring), &folders, &house.entropy);
    assert_ne!(new.keys.database_key().unwrap(), keys.database_key().unwrap());
    assert_eq!(
        new.keys.unseal_secret("signing-key").unwrap().unwrap().expose(),
        b"seed"
    );
    for (id, bytes) in &files {
        assert_eq!(read_back(&new.media, id).await, *bytes);
    }
    // One moment: as many notes as the newest one says, and the positions go on.
    let read = new.store.read();
    let newest = u64::from_be_bytes(
        read.get(NOTES, b"newest")
            .unwrap()
            .unwrap()
            .as_ref()
            .try_into()
            .unwrap(),
    );
    let notes = read
        .rows(NOTES, &KeyRange::all(), Order::Ascending, usize::MAX)
        .unwrap();
    assert_eq!(notes.len() as u64, newest + 2);
    assert!(newest >= 499);
    assert_ne!(new.store.epoch(), store.epoch());
    let after = tokio::task::block_in_place(|| note(&new.store, 1_000_000));
    assert!(after > before);
    // A folder that has something in it is left alone.
    assert!(matches!(
        tokio::task::block_in_place(|| restore(&options)),
        Err(RestoreError::NotEmpty(_))
    ));
}

#[test]
fn a_backup_needs_a_passphrase_slot_and_the_right_passphrase() {
    let house = House::build();
    let Err(error) = Backup::prepare(house.source.clone()) else {
        panic!("it had only a file slot")
    };
    assert!(matches!(error, PrepareError::Export(_)));
    assert!(error.to_string().contains("add-passphrase"));
    house
        .keyring
        .add_slot(&passphrase("correct horse"), PassphraseCost::MINIMUM)
        .unwrap();
    let dir = house.back_up("backup", 1 << 20);
    assert!(verify(&dir, &passphrase("correct horse")).is_ok());
    let mut options = house.options(&dir, "restored");
    for unlock in [passphrase("wrong horse"), Unlock::File] {
        options.unlock = unlock;
        assert!(matches!(restore(&options), Err(RestoreError::Keyring(_))));
        assert!(!options.data_dir.exists());
    }
    // With a file slot if asked for.
    options.unlock = passphrase("correct horse");
    options.file_slot = true;
    restore(&options).unwrap();
    let restored = Keyring::open(&options.keys_dir, &Unlock::File, house.entropy.clone()).unwrap();
    // Into a folder of keys that somebody emptied of its keyring alone: the log of before is not remembered.
    let heads = SecretBytes::new(b"heads".to_vec());
    restored.keep_own("audit-heads", &heads).unwrap();
    std::fs::remove_file(options.keys_dir.join("keyring")).unwrap();
    std::fs::remove_file(options.keys_dir.join("keyring.key")).unwrap();
    options.data_dir = house.root.join("once more");
    restore(&options).unwrap();
    let restored = Keyring::open(&options.keys_dir, &Unlock::File, house.entropy.clone()).unwrap();
    assert_eq!(restored.own("audit-heads").unwrap(), None);
    assert!(matches!(PartWriter::create(&dir, 1), Err(PartError::NotEmpty(_))));
}

#[test]
fn a_changed_or_truncated_backup_is_refused_before_anything_is_written() {
    let house = House::build();
    house
        .keyring
        .add_slot(&passphrase("correct horse"), PassphraseCost::MINIMUM)
        .unwrap();
    (0..10_000).for_each(|number| {
        if number % 20 == 0 {
            note(&house.source.store, number);
        }
    });
    let dir = house.back_up("backup", 50_000);
    let options = house.options(&dir, "restored");
    let manifest_path = dir.join(MANIFEST_FILE);
    let manifest = std::fs::read(&manifest_path).unwrap();
    let parts = serde_json::from_slice::<Manifest>(&manifest).unwrap().parts;
    let refused = |what: &str| {
        assert!(restore(&options).is_err(), "{what}");
        assert!(!options.data_dir.exists(), "{what}");
    };
    for part in &parts {
        let path = dir.join(&part.file);
        let good = std::fs::read(&path).unwrap();
        for at in [0, 9, 13, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            refused("a flipped bit");
            // Also for somebody who adjusts the manifest.
            forge(&manifest_path, &dir, parts.len());
            refused("a flipped bit and a forged manifest");
            std::fs::write(&manifest_path, &manifest).unwrap();
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        refused("a truncated part");
        forge(&manifest_path, &dir, parts.len());
        refused("a truncated part and a forged manifest");
        std::fs::remove_file(&path).unwrap();
        refused("a missing part");
        std::fs::write(&path, &good).unwrap();
        std::fs::write(&manifest_path, &manifest).unwrap();
    }
    forge(&manifest_path, &dir, parts.len() - 1);
    refused("the last part left out");
    std::fs::remove_file(&manifest_path).unwrap();
    assert!(matches!(
        restore(&options),
        Err(RestoreError::Part(PartError::NoManifest(_)))
    ));
    std::fs::write(&manifest_path, &manifest).unwrap();
    restore(&options).unwrap();
}

/// A manifest that fits the first `count` parts as they are.
fn forge(path: &Path, dir: &Path, count: usize) {
    let mut manifest: Manifest = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    manifest.parts.truncate(count);
    for part in &mut manifest.parts {
        let bytes = std::fs::read(dir.join(&part.file)).unwrap();
        part.bytes = bytes.len() as u64;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        part.sha256 = crate::manifest::hex(digest.as_ref());
    }
    std::fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

#[test]
fn a_stream_that_ends_early_makes_no_backup() {
    let house = House::build();
    house
        .keyring
        .add_slot(&passphrase("correct horse"), PassphraseCost::MINIMUM)
        .unwrap();
    let dir = house.root.join("backup");
    let mut writer = PartWriter::create(&dir, 1 << 20).unwrap();
    let mut left = 1;
    let result = Backup::prepare(house.source.clone()).unwrap().run(&mut |bytes| {
        if left == 0 {
            return Err(Stopped);
        }
        left -= 1;
        writer.push(&bytes).unwrap();
        Ok(())
    });
    assert!(matches!(result, Err(BackupError::Stopped(_))));
    assert!(matches!(writer.finish(), Err(PartError::Incomplete)));
    assert!(matches!(
        verify(&dir, &passphrase("correct horse")),
        Err(RestoreError::Part(PartError::NoManifest(_)))
    ));
}
