//! Disks that are full, and disks that fail.

use super::{ROWS, open, options};
use crate::{CommitError, Read, ReadError, Store, WriteError};
use lamchat_disk::simulation::SimulatedDisk;
use std::time::{Duration, Instant};

fn put(store: &Store, number: u32, bytes: usize) -> Result<(), CommitError> {
    let written = store.write_blocking(move |txn| {
        txn.put(ROWS, &number.to_be_bytes(), vec![number as u8; bytes]);
        Ok::<_, ReadError>(())
    });
    written.map_err(|error| match error {
        WriteError::Commit(error) => error,
        WriteError::Refused(error) => panic!("{error}"),
    })
}

fn has(store: &Store, number: u32) -> bool {
    store.read().get(ROWS, &number.to_be_bytes()).unwrap().is_some()
}

/// Tries again until it works; the store needs a moment to recover.
fn put_soon(store: &Store, number: u32) {
    let start = Instant::now();
    while let Err(error) = put(store, number, 10) {
        assert!(start.elapsed() < Duration::from_secs(10), "{error}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_full_disk_takes_nothing_and_then_goes_on() {
    let disk = SimulatedDisk::new(5);
    let store = open(&disk).unwrap();
    put(&store, 0, 10).unwrap();
    disk.limit_capacity(Some(disk.used() + 300_000));
    let mut kept = 1;
    let refused = loop {
        match put(&store, kept, 20_000) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1000, "the disk never got full");
    };
    assert!(matches!(refused, CommitError::DiskFull), "{refused}");
    assert!(!has(&store, kept));
    for number in 0..kept {
        assert!(has_soon(&store, number));
    }
    disk.limit_capacity(None);
    put_soon(&store, kept + 1);
    drop(store);
    let store = open(&disk).unwrap();
    assert!((0..kept).all(|number| has(&store, number)));
    assert!(!has(&store, kept) && has(&store, kept + 1));
}

/// While redb is reopened, reads may fail for a moment.
fn has_soon(store: &Store, number: u32) -> bool {
    let start = Instant::now();
    loop {
        match store.read().get(ROWS, &number.to_be_bytes()) {
            Ok(found) => return found.is_some(),
            Err(error) => assert!(start.elapsed() < Duration::from_secs(10), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_failed_sync_left_never_comes_back() {
    for seed in 0..20 {
        let mut disk = SimulatedDisk::new(seed);
        let store = open(&disk).unwrap();
        put(&store, 0, 100).unwrap();
        disk.fail_syncs("/wal/", 1);
        // The sync that fails may be the one of a file that is being prepared: nobody hears of that.
        let mut unknown = Vec::new();
        for number in 1..40 {
            match put(&store, number, 3000) {
                Ok(()) => assert!(has(&store, number)),
                Err(error) => {
                    assert!(matches!(error, CommitError::Unknown(_)), "{error}");
                    assert!(!has(&store, number));
                    unknown.push(number);
                }
            }
        }
        assert!(unknown.len() <= 1, "{unknown:?}");
        if seed % 2 == 0 {
            disk.cut_power();
        }
        drop(store);
        disk = disk.power_on();
        let store = open(&disk).unwrap();
        for number in 0..40 {
            assert_eq!(
                has(&store, number),
                !unknown.contains(&number),
                "seed {seed}, row {number}"
            );
        }
    }
}

#[test]
fn a_failed_checkpoint_is_made_again() {
    for seed in 0..10 {
        let mut disk = SimulatedDisk::new(seed);
        let store = open(&disk).unwrap();
        for number in 0..200 {
            if number % 70 == 60 {
                disk.fail_syncs("db.redb", 1 + seed % 3);
            }
            // While checkpoints fail, the memtable may reach its limit; then writers hear of it.
            put_soon(&store, number);
        }
        for number in 0..200 {
            assert!(has_soon(&store, number));
        }
        disk.fail_syncs("", 0);
        if seed % 2 == 0 {
            disk.cut_power();
        }
        drop(store);
        disk = disk.power_on();
        let store = open(&disk).unwrap();
        assert!((0..200).all(|number| has(&store, number)), "seed {seed}");
    }
}

#[test]
fn a_missing_database_is_not_made_anew() {
    use lamchat_disk::Disk;
    let disk = SimulatedDisk::new(0);
    put(&open(&disk).unwrap(), 0, 10).unwrap();
    let file = disk.open(&options().dir.join("db.redb")).unwrap();
    file.set_len(0).unwrap();
    assert!(open(&disk).is_err());
    disk.remove(&options().dir.join("key-check")).unwrap();
    assert!(open(&disk).is_err());
}
