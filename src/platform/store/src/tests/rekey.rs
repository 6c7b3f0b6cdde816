//! A store under another key: everything is there, nothing opens under the former one, and the power may go at any time.

use super::{ROWS, seed, setting};
use crate::rekey::{RekeyError, rekey_on};
use crate::{Key, KeyRange, OpenError, Options, Order, ReadExt, Store};
use lamchat_base::Secret;
use lamchat_disk::simulation::{Dice, SimulatedDisk};
use std::path::PathBuf;
use std::sync::Arc;

fn key(number: u8) -> Secret<64> {
    Secret::new([number; 64])
}

fn options(number: u8) -> Options {
    Options {
        key: key(number),
        ..super::options()
    }
}

fn open(disk: &SimulatedDisk, number: u8) -> Result<Store, OpenError> {
    Store::open_on(Arc::new(disk.clone()), options(number))
}

fn rekey(disk: &SimulatedDisk, to: u8, former: &[u8]) -> Result<bool, RekeyError> {
    let former: Vec<Secret<64>> = former.iter().map(|number| key(*number)).collect();
    rekey_on(Arc::new(disk.clone()), &options(to), &former)
}

fn write(store: &Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let value = vec![number as u8; 900];
        let put = store.write_blocking(move |txn| {
            txn.put(ROWS, &Key::new().u64(number), value);
            Ok::<_, crate::ReadError>(())
        });
        put.unwrap();
    }
}

fn rows(store: &Store) -> usize {
    let rows = store
        .read()
        .rows(ROWS, &KeyRange::all(), Order::Ascending, usize::MAX)
        .unwrap();
    for (number, (key, value)) in (0u64..).zip(&rows) {
        assert_eq!((**key).to_vec(), Key::new().u64(number).to_vec());
        assert_eq!(*value, vec![number as u8; 900]);
    }
    rows.len()
}

/// Every file of the store, for a search for what was under the former key.
fn files(disk: &SimulatedDisk) -> Vec<PathBuf> {
    disk.files().into_iter().map(|(path, _)| path).collect()
}

#[test]
fn everything_is_there_under_the_new_key_alone() {
    let disk = SimulatedDisk::new(1);
    assert!(!rekey(&disk, 2, &[1]).unwrap(), "nothing is there yet");
    let store = open(&disk, 1).unwrap();
    write(&store, 0..300);
    drop(store);
    // As a power cut leaves it: some rows are in the log alone.
    let store = open(&disk, 1).unwrap();
    write(&store, 300..320);
    disk.cut_power();
    drop(store);
    let disk = disk.power_on();
    assert!(matches!(rekey(&disk, 2, &[3]), Err(RekeyError::Foreign)));
    assert!(rekey(&disk, 2, &[3, 1]).unwrap());
    assert!(!rekey(&disk, 2, &[3, 1]).unwrap(), "once");
    assert!(
        files(&disk)
            .iter()
            .all(|path| !path.to_string_lossy().contains("rekey"))
    );
    assert!(matches!(open(&disk, 1), Err(OpenError::WrongKey)));
    let store = open(&disk, 2).unwrap();
    assert_eq!(rows(&store), 320);
    write(&store, 320..330);
    drop(store);
    assert_eq!(rows(&open(&disk, 2).unwrap()), 330);
}

#[test]
fn without_room_it_stays_as_it_was() {
    let disk = SimulatedDisk::new(1);
    let store = open(&disk, 1).unwrap();
    write(&store, 0..50);
    drop(store);
    disk.limit_capacity(Some(disk.used() + (16 << 20)));
    assert!(matches!(rekey(&disk, 2, &[1]), Err(RekeyError::NoRoom { .. })));
    assert_eq!(rows(&open(&disk, 1).unwrap()), 50);
}

/// Cuts the power at a random operation, again and again, until it is through.
fn until_done(seed: u64, ignored: Option<&str>) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let mut disk = SimulatedDisk::new(dice.roll());
    let store = open(&disk, 1).map_err(|error| error.to_string())?;
    let count = 20 + dice.below(60);
    write(&store, 0..count);
    drop(store);
    loop {
        disk.ignore_syncs(ignored);
        disk.cut_power_after(dice.below(400));
        let done = rekey(&disk, 2, &[1]);
        let cut = disk.is_off();
        disk = disk.power_on();
        disk.ignore_syncs(None);
        match done {
            Ok(_) if !cut => break,
            Err(error) if !cut => return Err(error.to_string()),
            _ => {}
        }
        // Whatever was reached: it is whole under one of the keys, the former one until the copy takes its place.
        if dice.below(3) == 0 {
            rekey(&disk, 2, &[1]).map_err(|error| error.to_string())?;
            break;
        }
    }
    // And a last time, after which everything must have been durable.
    disk.cut_power();
    let disk = disk.power_on();
    let store = open(&disk, 2).map_err(|error| error.to_string())?;
    let found = store
        .read()
        .rows(ROWS, &KeyRange::all(), Order::Ascending, usize::MAX)
        .map_err(|error| error.to_string())?;
    if found.len() as u64 == count {
        Ok(())
    } else {
        Err(format!("{} of {count} rows", found.len()))
    }
}

#[test]
fn power_cuts_only_delay_it() {
    let seed = seed();
    for round in 0..setting("LAMCHAT_POWER_CUT_ROUNDS", 40) {
        until_done(seed.wrapping_add(round), None).unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
}

#[test]
fn a_copy_that_was_not_synced_is_noticed() {
    let lost = (0..60).filter(|round| {
        let tried = std::panic::catch_unwind(|| until_done(*round, Some("rekey")));
        !matches!(tried, Ok(Ok(())))
    });
    assert!(lost.count() > 0, "the test would not notice a missing sync");
}
