//! Rows that are kept one by one, against the same rows in a table of which none are.

use super::{HEADS, KEPT, open, seed, setting};
use crate::{CommitError, Read, ReadError, ReadTxn, Store, WriteError};
use lamchat_disk::simulation::{Dice, SimulatedDisk};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const KEYS: u64 = 40;

/// Puts or removes some rows in both tables.
fn change(store: &Store, dice: &mut Dice) -> Result<(), WriteError<ReadError>> {
    let mut inner = Dice::new(dice.roll());
    store.write_blocking(move |txn| {
        for _ in 0..1 + inner.below(3) {
            let key = inner.below(KEYS).to_be_bytes();
            if inner.below(4) == 0 {
                txn.delete(KEPT, &key);
                txn.delete(HEADS, &key);
            } else {
                let value = inner.roll().to_be_bytes().repeat(1 + inner.below(60) as usize);
                txn.put(KEPT, &key, value.clone());
                txn.put(HEADS, &key, value);
            }
        }
        Ok(())
    })
}

fn compare(read: &ReadTxn, dice: &mut Dice) -> Result<(), ReadError> {
    for _ in 0..KEYS {
        let key = dice.below(KEYS).to_be_bytes();
        let (whole, head) = (read.get(HEADS, &key)?, read.head(KEPT, &key)?);
        assert_eq!(read.get(KEPT, &key)?, whole);
        match (whole, head) {
            (None, None) => {}
            (Some(whole), Some(head)) => assert!(whole.starts_with(&head) && head.len() >= whole.len() / 2),
            (whole, head) => panic!("{head:?} is not the head of {whole:?}"),
        }
    }
    Ok(())
}

#[test]
fn each_snapshot_has_its_own_rows_while_others_read_and_write() {
    let seed = seed();
    let store = open(&SimulatedDisk::new(seed)).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for reader in 1..4u64 {
            let (store, ended) = (&store, &ended);
            threads.spawn(move || {
                let mut dice = Dice::new(seed ^ reader);
                let mut older = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let read = store.read();
                    compare(&read, &mut dice).unwrap();
                    if dice.below(4) == 0 {
                        older.push(read);
                    }
                    for read in &older {
                        compare(read, &mut dice).unwrap();
                    }
                    if older.len() > 6 {
                        older.swap_remove(dice.below(7) as usize);
                    }
                }
            });
        }
        let mut dice = Dice::new(seed);
        for _ in 0..setting("LAMCHAT_MODEL_STEPS", 3000) {
            change(&store, &mut dice).unwrap();
        }
        ended.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_database_that_was_opened_again_has_the_rows_of_its_own_state() {
    let seed = seed();
    let disk = SimulatedDisk::new(seed);
    let store = open(&disk).unwrap();
    let mut dice = Dice::new(seed);
    let mut failed = 0;
    for round in 0..60u64 {
        disk.limit_capacity((round % 3 == 0).then(|| disk.used() + 40_000));
        for _ in 0..20 {
            match change(&store, &mut dice) {
                Ok(()) => {}
                Err(WriteError::Commit(CommitError::DiskFull | CommitError::Unknown(_))) => failed += 1,
                Err(error) => panic!("{error:?}"),
            }
            // While redb is opened again, reads may fail for a moment.
            if let Err(error) = compare(&store.read(), &mut dice) {
                assert!(matches!(error, ReadError::Database(_)), "{error}");
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    disk.limit_capacity(None);
    std::thread::sleep(Duration::from_millis(50));
    compare(&store.read(), &mut dice).unwrap();
    println!("{failed} writes were refused");
}
