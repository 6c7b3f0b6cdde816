//! Sixteen writers, and the power goes: what was acknowledged must be there, in order, once, and whole.

use super::{HEADS, LOG, ROWS, open, seed, setting};
use crate::{Key, KeyRange, KeyReader, OpenError, Order, Read, ReadError, ReadExt, Store, WriteTxn};
use lamchat_disk::simulation::{Dice, SimulatedDisk};
use std::collections::BTreeMap;

const WRITERS: u32 = 16;

/// What a writer knows of its own writes.
#[derive(Debug, Clone, Copy, Default)]
struct Writer {
    /// So many were acknowledged.
    acknowledged: u64,
    /// So many were begun: one more at most.
    begun: u64,
}

/// Write number `number` of a writer: a row, its newest number, and an entry of the common log. Half of them say nothing.
fn write(txn: &mut WriteTxn<'_>, writer: u32, number: u64) -> Result<(), ReadError> {
    let position = txn.next_position();
    let filler = vec![number as u8; (number as usize * 37 + writer as usize * 211) % 3000];
    txn.put(ROWS, &Key::new().u32(writer).u64(number), filler);
    txn.put(HEADS, &Key::new().u32(writer), number.to_be_bytes().to_vec());
    txn.put(
        LOG,
        &Key::new().u64(position.0),
        Key::new().u32(writer).u64(number).to_vec(),
    );
    // Something to delete, so that deletions are replayed as well.
    txn.put(ROWS, &Key::new().u32(1000 + writer).u64(number), "short-lived");
    txn.delete(ROWS, &Key::new().u32(1000 + writer).u64(number.wrapping_sub(1)));
    Ok(())
}

/// Writes from all sides until the power is cut.
fn load(store: &Store, writers: &mut [Writer]) {
    std::thread::scope(|scope| {
        for (id, writer) in (0..).zip(writers) {
            scope.spawn(move || {
                loop {
                    let number = writer.acknowledged;
                    writer.begun = number + 1;
                    if store.write_blocking(move |txn| write(txn, id, number)).is_err() {
                        return;
                    }
                    writer.acknowledged = number + 1;
                    assert_eq!(newest(&store.read(), id), Ok(number + 1));
                }
            });
        }
    });
}

/// How many writes of a writer are there, if they are there in order.
fn newest(reader: &dyn Read, writer: u32) -> Result<u64, String> {
    let head = reader
        .get(HEADS, &Key::new().u32(writer))
        .map_err(|error| error.to_string())?;
    Ok(head
        .and_then(|head| KeyReader::new(&head).u64())
        .map_or(0, |number| number + 1))
}

/// Compares what is there with what the writers know; they go on from there.
fn check(reader: &dyn Read, writers: &mut [Writer]) -> Result<(), String> {
    let mut logged: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (_, value) in reader
        .rows(LOG, &KeyRange::all(), Order::Ascending, usize::MAX)
        .map_err(|e| e.to_string())?
    {
        let mut entry = KeyReader::new(&value);
        let (id, number) = (entry.u32().unwrap(), entry.u64().unwrap());
        logged.entry(id).or_default().push(number);
    }
    for (id, writer) in (0..).zip(writers) {
        let there = newest(reader, id)?;
        if there < writer.acknowledged || there > writer.begun {
            return Err(format!("writer {id} knows of {writer:?}, there are {there}"));
        }
        let in_order: Vec<u64> = (0..there).collect();
        if logged.remove(&id).unwrap_or_default() != in_order {
            return Err(format!("the log of writer {id} has gaps, doubles, or another order"));
        }
        let rows = reader.rows(
            ROWS,
            &KeyRange::prefix(&Key::new().u32(id)),
            Order::Ascending,
            usize::MAX,
        );
        let rows = rows.map_err(|error| error.to_string())?;
        if rows.len() as u64 != there {
            return Err(format!("writer {id} has {} rows of {there}", rows.len()));
        }
        for ((key, value), number) in rows.iter().zip(0u64..) {
            let length = (number as usize * 37 + id as usize * 211) % 3000;
            if **key != *Key::new().u32(id).u64(number) || *value != vec![number as u8; length] {
                return Err(format!("row {number} of writer {id} is half-written"));
            }
        }
        let short = reader.rows(ROWS, &KeyRange::prefix(&Key::new().u32(1000 + id)), Order::Ascending, 9);
        if short.map_err(|error| error.to_string())?.len() as u64 != there.min(1) {
            return Err(format!("a deletion of writer {id} is missing"));
        }
        writer.acknowledged = there;
    }
    Ok(())
}

/// Loads, cuts, restarts and checks, `rounds` times. What was lost, if anything was.
fn rounds(seed: u64, rounds: u64, ignored: Option<&str>) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let mut disk = SimulatedDisk::new(seed);
    let mut writers = [Writer::default(); WRITERS as usize];
    for round in 0..rounds {
        if round % 12 == 0 {
            // From an empty disk now and then: the first start has its own ways to break.
            disk = SimulatedDisk::new(dice.roll());
            writers = [Writer::default(); WRITERS as usize];
        }
        disk.ignore_syncs(ignored);
        let span = if dice.below(3) == 0 { 60 } else { 1500 };
        disk.cut_power_after(dice.below(span));
        let failed = |error: String| format!("round {round}: {error}");
        match open(&disk) {
            Ok(store) => {
                check(&store.read(), &mut writers).or_else(|e| if disk.is_off() { Ok(()) } else { Err(failed(e)) })?;
                load(&store, &mut writers);
            }
            // The power went while the store opened.
            Err(_) if disk.is_off() => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        disk = disk.power_on();
        let store = open(&disk).map_err(|error: OpenError| failed(error.to_string()))?;
        check(&store.read(), &mut writers).map_err(failed)?;
        if dice.below(2) == 0 {
            // Half of the next rounds start from a log, half from a store that was closed.
            disk.cut_power();
        }
        drop(store);
        disk = disk.power_on();
    }
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost() {
    let count = setting("LAMCHAT_POWER_CUT_ROUNDS", 60);
    println!("LAMCHAT_POWER_CUT_ROUNDS={count}");
    rounds(seed(), count, None).unwrap();
}

#[test]
fn a_missing_sync_is_noticed() {
    let seed = seed();
    for part in ["/wal/", "db.redb"] {
        let lost = rounds(seed, 60, Some(part));
        assert!(lost.is_err(), "nobody missed the syncs of {part}");
        println!("without the syncs of {part}: {lost:?}");
    }
}
