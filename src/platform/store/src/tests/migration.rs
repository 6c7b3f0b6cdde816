//! From an older schema to a newer one, with the power going in the middle; and back, which is refused.
//! The versions are made up here.

use super::{HEADS, ROWS, options};
use crate::migrate::{Schema, Step};
use crate::pressure::Limits;
use crate::{KeyRange, OpenError, Order, Progress, Read, ReadError, ReadExt, Store, Work};
use lamchat_disk::simulation::SimulatedDisk;
use redb::ReadableTable;
use std::sync::Arc;
use std::time::Duration;

const COUNT: u32 = 40;

/// Adds a letter to every row: whoever did it twice, or not at all, would show.
fn append(txn: &redb::WriteTransaction, letter: u8, told: &dyn Fn(usize)) -> Result<(), redb::Error> {
    let mut rows = txn.open_table(redb::TableDefinition::<&[u8], &[u8]>::new(ROWS.name))?;
    let found: Result<Vec<_>, redb::StorageError> = rows
        .iter()?
        .map(|row| row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
        .collect();
    for (number, (key, mut value)) in found?.into_iter().enumerate() {
        told(number);
        value.push(letter);
        rows.insert(key.as_slice(), value.as_slice())?;
    }
    Ok(())
}

const STEPS: [Step; 2] = [|txn, told| append(txn, b'2', told), |txn, told| append(txn, b'3', told)];
const FIRST: Schema = Schema {
    version: 1,
    steps: &[],
    held_from: None,
};
const SECOND: Schema = Schema {
    version: 2,
    steps: STEPS.split_at(1).0,
    held_from: None,
};
const THIRD: Schema = Schema {
    version: 3,
    steps: &STEPS,
    held_from: None,
};
const BROKEN: Schema = Schema {
    version: 2,
    steps: &[|txn, told| {
        append(txn, b'?', told).and(Err(redb::Error::Corrupted("a row that nobody can read".to_owned())))
    }],
    held_from: None,
};

fn open(disk: &SimulatedDisk, schema: Schema) -> Result<Store, OpenError> {
    // Few checkpoints, so that rows are left in the log; and no long waits for a disk that is off.
    let limits = Limits {
        retry_after: Duration::from_millis(1),
        ..Limits::default()
    };
    Store::open_schema(Arc::new(disk.clone()), options(), limits, schema)
}

/// A store of version 1, part of it in redb and part of it (with a deletion) in the log only.
fn old(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    for half in 0..2 {
        let store = open(&disk, FIRST).unwrap();
        for number in half * COUNT / 2..(half + 1) * COUNT / 2 {
            let write = store.write_blocking(move |txn| {
                txn.put(ROWS, &number.to_be_bytes(), format!("row {number} "));
                txn.put(HEADS, b"newest", number.to_be_bytes().to_vec());
                txn.delete(HEADS, b"nothing");
                txn.next_position();
                Ok::<_, ReadError>(())
            });
            write.unwrap();
        }
        if half == 1 {
            disk.cut_power();
        }
    }
    disk.power_on()
}

fn check(store: &Store, letters: &str) {
    let read = store.read();
    let rows = read.rows(ROWS, &KeyRange::all(), Order::Ascending, usize::MAX).unwrap();
    let expected: Vec<_> = (0..COUNT).map(|number| format!("row {number} {letters}")).collect();
    let found: Vec<_> = rows
        .iter()
        .map(|(_, value)| String::from_utf8(value.to_vec()).unwrap())
        .collect();
    assert_eq!(found, expected);
    assert_eq!(read.position().0, u64::from(COUNT));
}

#[test]
fn every_row_is_migrated_once_with_what_a_killed_program_left_in_the_log() {
    for (schema, letters) in [(SECOND, "2"), (THIRD, "23")] {
        let disk = old(1);
        check(&open(&disk, schema).unwrap(), letters);
        // The next start has nothing to do.
        check(&open(&disk, schema).unwrap(), letters);
    }
    // One step after the other, by two programs.
    let disk = old(2);
    check(&open(&disk, SECOND).unwrap(), "2");
    check(&open(&disk, THIRD).unwrap(), "23");
}

#[test]
fn each_part_of_a_migration_is_told() {
    let disk = old(4);
    let heard = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let options = crate::Options {
        progress: Progress::to(move |work| listener.lock().push(work)),
        ..options()
    };
    drop(Store::open_schema(Arc::new(disk.clone()), options, Limits::default(), THIRD).unwrap());
    let mut heard = std::mem::take(&mut *heard.lock());
    heard.dedup();
    let migration = |to| Work::Migration { to };
    assert_eq!(heard, [Work::Log, Work::Drain, migration(2), migration(3)]);
}

#[test]
fn a_power_cut_in_the_middle_of_a_migration_is_made_good_by_the_next_start() {
    let calm = old(3);
    let before = calm.operations();
    check(&open(&calm, THIRD).unwrap(), "23");
    let operations = calm.operations() - before;
    let mut cut = 0;
    for seed in 0..2 {
        for operation in 0..operations {
            let disk = old(seed * 1_000 + operation);
            disk.cut_power_after(operation);
            if let Ok(store) = open(&disk, THIRD) {
                disk.cut_power();
                drop(store);
            } else {
                cut += 1;
            }
            let disk = disk.power_on();
            // Whatever was reached, the old program either opens it unchanged or refuses it.
            match open(&disk, FIRST) {
                Ok(store) => check(&store, ""),
                Err(OpenError::SchemaTooNew { found: 2 | 3, known: 1 }) => {}
                Err(error) => panic!("operation {operation}: {error}"),
            }
            check(&open(&disk, THIRD).unwrap(), "23");
        }
    }
    assert!(cut > 50, "{cut} of {operations} operations");
}

#[test]
fn a_release_on_trial_leaves_what_the_one_before_can_read_whenever_the_power_goes() {
    let trial = Schema {
        held_from: Some(1),
        ..THIRD
    };
    let write = |store: &Store| {
        store.write_blocking(|txn| {
            txn.put(ROWS, b"trial", b"acknowledged".to_vec());
            Ok::<_, ReadError>(())
        })
    };
    let calm = old(7);
    let before = calm.operations();
    let store = open(&calm, trial).unwrap();
    assert_eq!(store.schema(), 1, "the code writes the older form");
    write(&store).unwrap();
    drop(store);
    let operations = calm.operations() - before;
    for operation in 0..=operations {
        let disk = old(100 + operation);
        disk.cut_power_after(operation);
        let acknowledged = open(&disk, trial).is_ok_and(|store| write(&store).is_ok());
        disk.cut_power();
        let disk = disk.power_on();
        // It falls back: the release before opens it and has all that was acknowledged.
        let store = open(&disk, FIRST).unwrap();
        let found = store.read().get(ROWS, b"trial").unwrap();
        assert!(found.is_some() || !acknowledged, "operation {operation}");
        drop(store);
        // It was marked good: what cannot be taken back comes now.
        let store = open(&disk, THIRD).unwrap();
        assert_eq!(store.schema(), 3);
        drop(store);
        let refused = open(&disk, FIRST);
        assert!(matches!(refused, Err(OpenError::SchemaTooNew { found: 3, known: 1 })));
        assert!(
            matches!(open(&disk, trial).map(|store| store.schema()), Ok(3)),
            "never back"
        );
    }
    // One that no box has written migrates as far as nobody could fall back to.
    let disk = old(8);
    let held_from = Some(2);
    let store = open(&disk, Schema { held_from, ..THIRD }).unwrap();
    assert_eq!(store.schema(), 2);
    check(&store, "2");
}

#[test]
fn a_newer_database_is_refused_and_keeps_its_rows() {
    let disk = old(4);
    drop(open(&disk, THIRD).unwrap());
    let refused = open(&disk, SECOND);
    assert!(
        matches!(refused, Err(OpenError::SchemaTooNew { found: 3, known: 2 })),
        "{refused:?}"
    );
    assert!(refused.unwrap_err().to_string().contains("install a newer lamchat"));
    check(&open(&disk, THIRD).unwrap(), "23");
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let disk = old(5);
    let refused = open(&disk, BROKEN);
    assert!(
        matches!(&refused, Err(OpenError::Damaged(text)) if text.contains("to schema 2")),
        "{refused:?}"
    );
    check(&open(&disk, FIRST).unwrap(), "");
}

#[test]
fn a_power_cut_after_a_migration_costs_no_walk_through_the_file() {
    let disk = old(6);
    let store = open(&disk, THIRD).unwrap();
    disk.cut_power();
    drop(store);
    let disk = disk.power_on();
    let (file, options) = (
        lamchat_disk::Disk::open(&disk, "/data/db.redb".as_ref()).unwrap(),
        options(),
    );
    let cipher = Arc::new(crate::xts::SectorCipher::new(&options.key));
    let walked = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = walked.clone();
    redb::Builder::new()
        .set_repair_callback(move |_| seen.store(true, std::sync::atomic::Ordering::Relaxed))
        .create_with_backend(crate::backend::EncryptedBackend::new(file, cipher))
        .unwrap();
    assert!(
        !walked.load(std::sync::atomic::Ordering::Relaxed),
        "a commit without quick_repair"
    );
}
