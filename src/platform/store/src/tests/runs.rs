//! What gathered tables leave in redb.

use super::{LOG, ROWS, options};
use crate::pressure::Limits;
use crate::runs::Gathering;
use crate::{KeyRange, Order, Read, ReadError, ReadExt, Store};
use lamchat_disk::simulation::SimulatedDisk;
use redb::ReadableDatabase;
use std::sync::Arc;
use std::time::Duration;

const COUNT: u64 = 60;

/// How many rows redb's table `name` has.
fn stored(disk: &SimulatedDisk, name: &str) -> usize {
    let file = lamchat_disk::Disk::open(disk, "/data/db.redb".as_ref()).unwrap();
    let cipher = Arc::new(crate::xts::SectorCipher::new(&options().key));
    let database = redb::Builder::new()
        .create_with_backend(crate::backend::EncryptedBackend::new(file, cipher))
        .unwrap();
    let table = redb::TableDefinition::<&[u8], &[u8]>::new(name);
    match database.begin_read().unwrap().open_table(table) {
        Ok(table) => table.range::<&[u8]>(..).unwrap().count(),
        Err(redb::TableError::TableDoesNotExist(_)) => 0,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn many_checkpoints_of_one_row_leave_few_runs() {
    let disk = SimulatedDisk::new(1);
    let limits = Limits {
        after: Duration::from_millis(1),
        gathering: Gathering {
            rows: 1_000,
            shelves: 2,
        },
        ..Limits::default()
    };
    for number in 0..COUNT {
        // Closing a store makes a checkpoint.
        let store = Store::open_limited(Arc::new(disk.clone()), options(), limits).unwrap();
        let write = store.write_blocking(move |txn| {
            txn.put(LOG, &number.to_be_bytes(), number.to_be_bytes().to_vec());
            Ok::<_, ReadError>(())
        });
        write.unwrap();
        let rows = store.read().rows(LOG, &KeyRange::all(), Order::Ascending, usize::MAX);
        assert_eq!(rows.unwrap().len() as u64, number + 1);
        drop(store);
    }
    let runs = stored(&disk, "store.runs");
    assert!((1..12).contains(&runs), "{runs} runs of {COUNT} checkpoints");
}

/// A number as a key that comes in no order.
fn scattered(number: u64) -> [u8; 16] {
    u128::from(number + 1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
        .to_be_bytes()
}

#[test]
fn shelves_fill_drain_and_are_read_at_every_stage() {
    const AT_ONCE: u64 = 100;
    let disk = SimulatedDisk::new(2);
    let gathering = Gathering { rows: 400, shelves: 3 };
    let limits = Limits {
        gathering,
        ..Limits::default()
    };
    let (mut most_blocks, mut in_table, mut drained) = (0, 0, 0);
    for round in 0..60 {
        let store = Store::open_limited(Arc::new(disk.clone()), options(), limits).unwrap();
        let write = store.write_blocking(move |txn| {
            for number in round * AT_ONCE..(round + 1) * AT_ONCE {
                txn.put(ROWS, &scattered(number), number.to_be_bytes().to_vec());
            }
            // Every seventh row of an earlier round goes, wherever it has come to, and one row changes each time.
            if let Some(earlier) = round.checked_sub(9) {
                for number in (earlier * AT_ONCE..(earlier + 1) * AT_ONCE).step_by(7) {
                    txn.delete(ROWS, &scattered(number));
                }
            }
            txn.put(ROWS, &scattered(3), round.to_be_bytes().to_vec());
            Ok::<_, ReadError>(())
        });
        write.unwrap();
        // Closing a store makes a checkpoint; the next one reads what it left.
        drop(store);
        let blocks = stored(&disk, "store.shelves");
        most_blocks = most_blocks.max(blocks);
        let rows = stored(&disk, ROWS.name);
        drained += usize::from(rows > in_table);
        in_table = rows;
        let store = Store::open_limited(Arc::new(disk.clone()), options(), limits).unwrap();
        let read = store.read();
        let gone = |number: u64| number / AT_ONCE + 9 <= round && (number % AT_ONCE).is_multiple_of(7);
        let mut expected = Vec::new();
        for number in 0..(round + 1) * AT_ONCE {
            let value = if number == 3 { round } else { number };
            let row = (!gone(number)).then(|| value.to_be_bytes().to_vec());
            assert_eq!(
                read.get(ROWS, &scattered(number)).unwrap().map(|row| row.to_vec()),
                row,
                "{number} in round {round}"
            );
            expected.extend(row.map(|row| (scattered(number).to_vec(), row)));
            assert_eq!(read.get(ROWS, &scattered(1_000_000 + number)).unwrap(), None);
        }
        expected.sort();
        for order in [Order::Ascending, Order::Descending] {
            let rows = read.rows(ROWS, &KeyRange::all(), order, usize::MAX).unwrap();
            let rows: Vec<_> = rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
            assert_eq!(rows, expected);
            expected.reverse();
        }
        let (from, to) = (scattered(3).min(scattered(40)), scattered(3).max(scattered(40)));
        let part = read.rows(ROWS, &KeyRange::between(&from, &to), Order::Descending, usize::MAX);
        let inside = |(key, _): &&(Vec<u8>, Vec<u8>)| (from.as_slice()..to.as_slice()).contains(&key.as_slice());
        assert_eq!(part.unwrap().len(), expected.iter().filter(inside).count());
        drop(read);
    }
    assert!(most_blocks > 12, "{most_blocks} blocks");
    assert!(drained > 10, "rows came into the table in {drained} rounds");
    assert!(in_table > 2_000, "{in_table} rows in the table");
}
