//! The time of the last commit.

use super::{HEADS, open};
use crate::{ReadError, Store};
use lamchat_base::{Clock, ManualClock};
use lamchat_disk::simulation::SimulatedDisk;
use std::sync::Arc;

fn put(store: &Store) {
    store
        .write_blocking(|txn| {
            txn.put(HEADS, b"a", "1");
            Ok::<_, ReadError>(())
        })
        .unwrap();
}

#[test]
fn every_commit_brings_its_time_along_and_a_refused_write_does_not() {
    let disk = SimulatedDisk::new(0);
    let store = open(&disk).unwrap();
    put(&store);
    assert_eq!(store.last_commit_ms().unwrap(), None);
    let clock = Arc::new(ManualClock::new(5_000));
    store.stamp_commits(Arc::clone(&clock) as Arc<dyn Clock>);
    for expected in [5_000, 5_007] {
        put(&store);
        assert_eq!(store.last_commit_ms().unwrap(), Some(expected));
        clock.advance_ms(7);
    }
    let refused = store.write_blocking(|_| Err::<(), _>("no"));
    assert!(refused.is_err());
    assert_eq!(store.last_commit_ms().unwrap(), Some(5_007));
    drop(store);
    assert_eq!(open(&disk).unwrap().last_commit_ms().unwrap(), Some(5_007));
}

#[test]
fn what_was_answered_has_its_time_after_a_power_cut() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let store = open(&disk).unwrap();
        let clock = Arc::new(ManualClock::new(0));
        store.stamp_commits(Arc::clone(&clock) as Arc<dyn Clock>);
        for _ in 0..=seed {
            clock.advance_ms(1000);
            put(&store);
        }
        disk.cut_power();
        drop(store);
        let found = open(&disk.power_on()).unwrap().last_commit_ms().unwrap();
        assert_eq!(found, Some(clock.now_ms()), "seed {seed}");
    }
}
