//! The store against a map in memory: random writes, snapshots, checkpoints and restarts.

use super::{HEADS, LOG, ROWS, open, seed, setting};
use crate::{Bytes, KeyRange, Order, Read, ReadError, ReadExt, ReadTxn, Store, Table};
use lamchat_disk::simulation::{Dice, SimulatedDisk};
use std::collections::BTreeMap;

type Model = BTreeMap<(u16, Vec<u8>), Vec<u8>>;

const TABLES: [Table; 3] = [ROWS, HEADS, LOG];

fn key(dice: &mut Dice) -> Vec<u8> {
    (0..dice.below(4))
        .map(|_| b"\x00ab\xff"[dice.below(4) as usize])
        .collect()
}

fn range(dice: &mut Dice) -> KeyRange {
    match dice.below(4) {
        0 => KeyRange::all(),
        1 => KeyRange::prefix(&key(dice)),
        2 => KeyRange {
            start: key(dice),
            end: None,
        },
        _ => KeyRange::between(&key(dice), &key(dice)),
    }
}

fn expected(model: &Model, table: Table, range: &KeyRange, order: Order, limit: usize) -> Vec<(Bytes, Bytes)> {
    let inside =
        |key: &[u8]| key >= range.start.as_slice() && range.end.as_ref().is_none_or(|end| key < end.as_slice());
    let rows = model.iter().filter(|((id, key), _)| *id == table.id && inside(key));
    let mut rows: Vec<_> = rows
        .map(|((_, key), value)| (key.clone().into(), value.clone().into()))
        .collect();
    if order == Order::Descending {
        rows.reverse();
    }
    rows.truncate(limit);
    rows
}

fn compare(reader: &dyn Read, model: &Model, dice: &mut Dice) {
    for table in TABLES {
        let range = range(dice);
        let order = if dice.below(2) == 0 {
            Order::Ascending
        } else {
            Order::Descending
        };
        let limit = if dice.below(2) == 0 {
            usize::MAX
        } else {
            dice.below(5) as usize
        };
        assert_eq!(
            reader.rows(table, &range, order, limit).unwrap(),
            expected(model, table, &range, order, limit)
        );
        let key = key(dice);
        let found = reader.get(table, &key).unwrap();
        assert_eq!(found.as_deref(), model.get(&(table.id, key)).map(Vec::as_slice));
    }
}

/// One write of a few random changes; the closure compares what it sees with the model on the way.
fn change(store: &Store, model: &mut Model, dice: &mut Dice) {
    let mut own = model.clone();
    let mut inner = Dice::new(dice.roll());
    let refused = dice.below(5) == 0;
    let outcome = store.write_blocking(move |txn| {
        for _ in 0..1 + inner.below(6) {
            let (table, key) = (TABLES[inner.below(3) as usize], key(&mut inner));
            match inner.below(8) {
                0..4 => {
                    let value = vec![inner.roll() as u8; inner.below(600) as usize];
                    txn.put(table, &key, value.clone());
                    own.insert((table.id, key), value);
                }
                4 | 5 => {
                    txn.delete(table, &key);
                    own.remove(&(table.id, key));
                }
                6 => {
                    let range = range(&mut inner);
                    let gone = expected(&own, table, &range, Order::Ascending, usize::MAX);
                    assert_eq!(txn.delete_range(table, &range).unwrap(), gone.len());
                    own.retain(|(id, key), _| *id != table.id || !gone.iter().any(|(lost, _)| lost == key));
                }
                _ => compare(txn, &own, &mut inner),
            }
        }
        compare(txn, &own, &mut inner);
        if refused {
            Err(None)
        } else {
            Ok::<_, Option<ReadError>>(own)
        }
    });
    match outcome {
        Ok(own) => *model = own,
        Err(error) => assert!(refused, "{error:?}"),
    }
}

#[test]
fn it_behaves_like_a_map() {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let disk = SimulatedDisk::new(seed);
    let mut store = open(&disk).unwrap();
    let mut model = Model::new();
    let mut snapshots: Vec<(ReadTxn, Model)> = Vec::new();
    for _ in 0..setting("LAMCHAT_MODEL_STEPS", 3000) {
        match dice.below(40) {
            0 => {
                snapshots.clear();
                drop(store);
                store = open(&disk).unwrap();
            }
            1 | 2 => snapshots.push((store.read(), model.clone())),
            3 if !snapshots.is_empty() => {
                snapshots.swap_remove(dice.below(snapshots.len() as u64) as usize);
            }
            4..8 => {
                for (snapshot, model) in &snapshots {
                    compare(snapshot, model, &mut dice);
                }
            }
            _ => change(&store, &mut model, &mut dice),
        }
        compare(&store.read(), &model, &mut dice);
    }
}
