//! What callers may rely on.

use super::{HEADS, LOG, ROWS, open, options};
use crate::{
    Bytes, CommitError, Epoch, ImportError, KeyRange, OpenError, Options, Order, Position, Read, ReadError, ReadExt,
    SCHEMA_VERSION, Store, Table, Topic, WriteError,
};
use lamchat_base::{RoomNum, Secret, UserNum};
use lamchat_disk::simulation::SimulatedDisk;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

fn put(store: &Store, key: &str, value: &str) -> Position {
    let (key, value) = (key.to_owned(), value.to_owned());
    store
        .write_blocking(move |txn| {
            txn.put(ROWS, key.as_bytes(), value.into_bytes());
            Ok::<_, ReadError>(txn.next_position())
        })
        .unwrap()
}

fn get(store: &Store, key: &str) -> Option<Bytes> {
    store.read().get(ROWS, key.as_bytes()).unwrap()
}

#[test]
fn a_refusal_and_a_panic_drop_only_their_own_changes() {
    let store = Store::in_memory(&[ROWS]).unwrap();
    put(&store, "a", "1");
    let refused = store.write_blocking(|txn| {
        txn.put(ROWS, b"a", "2");
        assert_eq!(txn.get(ROWS, b"a").unwrap().unwrap(), "2");
        Err::<(), _>("no")
    });
    assert!(matches!(refused, Err(WriteError::Refused("no"))));
    let panicked = store.write_blocking(|txn| -> Result<(), ReadError> {
        txn.put(ROWS, b"a", "3");
        panic!("as the test wants it");
    });
    assert!(matches!(panicked, Err(WriteError::Commit(CommitError::Panicked))));
    let undeclared = store.write_blocking(|txn| {
        txn.put(ROWS, b"a", "4");
        txn.put(HEADS, b"a", "4");
        Ok::<_, ReadError>(())
    });
    assert!(matches!(undeclared, Err(WriteError::Commit(CommitError::Panicked))));
    assert!(store.read().get(HEADS, b"a").is_err());
    assert_eq!(get(&store, "a").unwrap(), "1");
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let disk = SimulatedDisk::new(0);
    let store = open(&disk).unwrap();
    let first = put(&store, "a", "1");
    let snapshot = store.read();
    for round in 0..300 {
        put(&store, "a", &format!("later {round}"));
        put(&store, &format!("b{round}"), "new");
    }
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(snapshot.position(), first);
    assert_eq!(
        snapshot.rows(ROWS, &KeyRange::all(), Order::Ascending, 9).unwrap(),
        [("a".into(), "1".into())]
    );
    assert_eq!(
        store
            .read()
            .rows(ROWS, &KeyRange::prefix(b"b"), Order::Descending, 999)
            .unwrap()
            .len(),
        300
    );
}

#[test]
fn ranges_can_be_removed() {
    let store = Store::in_memory(&[ROWS]).unwrap();
    for key in ["a1", "a2", "b1"] {
        put(&store, key, "x");
    }
    let removed = store.write_blocking(|txn| {
        txn.put(ROWS, b"a3", "y");
        txn.delete(ROWS, b"a1");
        txn.delete_range(ROWS, &KeyRange::prefix(b"a"))
    });
    assert_eq!(removed.unwrap(), 2);
    assert_eq!(
        store
            .read()
            .first(ROWS, &KeyRange::all(), Order::Ascending)
            .unwrap()
            .unwrap()
            .0,
        "b1"
    );
}

#[tokio::test]
async fn watchers_wake_once_per_change() {
    let store = Store::in_memory(&[ROWS]).unwrap();
    let (room, user) = (Topic::room(RoomNum(7)), Topic::user(UserNum(7)));
    let mut watch = store.watch(&[room]);
    let soon = Duration::from_millis(20);
    assert!(tokio::time::timeout(soon, watch.changed()).await.is_err());
    store.notify(&[user]);
    assert!(tokio::time::timeout(soon, watch.changed()).await.is_err());
    store
        .write(move |txn| {
            txn.touch(room);
            txn.touch(room);
            Ok::<_, ReadError>(())
        })
        .await
        .unwrap();
    watch.changed().await;
    assert!(tokio::time::timeout(soon, watch.changed()).await.is_err());
    watch.add(&[user]);
    store.notify(&[user]);
    watch.changed().await;
    drop(watch);
    store.notify(&[user, room]);
}

#[tokio::test]
async fn a_refused_write_wakes_nobody_and_a_closed_store_answers() {
    let store = Store::in_memory(&[ROWS]).unwrap();
    let mut watch = store.watch(&[Topic::user(UserNum(1))]);
    let refused = store.write(|txn| {
        txn.touch(Topic::user(UserNum(1)));
        Err::<(), _>(())
    });
    assert!(refused.await.is_err());
    assert!(
        tokio::time::timeout(Duration::from_millis(20), watch.changed())
            .await
            .is_err()
    );
    store.close().await;
    let late = store.write(|_| Ok::<_, ReadError>(())).await;
    assert!(matches!(late, Err(WriteError::Commit(CommitError::Closed))));
    store.close().await;
}

#[test]
fn the_last_clone_may_go_inside_a_write() {
    let store = Store::in_memory(&[ROWS]).unwrap();
    let clone = store.clone();
    drop(store.write_blocking(move |_| {
        drop(clone);
        Ok::<_, ReadError>(())
    }));
}

#[test]
fn positions_and_epochs_outlive_the_process() {
    let disk = SimulatedDisk::new(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = open(&disk).unwrap();
    let first = put(&store, "a", "1");
    assert_eq!(store.epoch(), Epoch(1));
    assert_eq!(runtime.block_on(store.start_new_epoch()).unwrap(), Epoch(2));
    let second = put(&store, "a", "2");
    assert!(second > first);
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(store.epoch(), Epoch(2));
    assert!(put(&store, "a", "3") > second);
}

#[test]
fn only_the_right_one_opens_it() {
    let disk = SimulatedDisk::new(0);
    let store = open(&disk).unwrap();
    put(&store, "a", "1");
    assert!(matches!(open(&disk), Err(OpenError::Locked(_))));
    drop(store);
    let other = Options {
        key: Secret::new([8; 64]),
        ..options()
    };
    assert!(matches!(
        Store::open_on(Arc::new(disk.clone()), other),
        Err(OpenError::WrongKey)
    ));
    let twins = Options {
        tables: vec![ROWS, Table::new(ROWS.id, "twin")],
        ..options()
    };
    assert!(matches!(
        Store::open_on(Arc::new(disk.clone()), twins),
        Err(OpenError::Tables(_))
    ));
    assert_eq!(get(&open(&disk).unwrap(), "a").unwrap(), "1");
}

#[test]
fn a_newer_schema_is_left_alone() {
    let disk = SimulatedDisk::new(0);
    let store = open(&disk).unwrap();
    store
        .write_blocking(|txn| {
            txn.put(
                crate::table::META,
                crate::migrate::SCHEMA_ROW,
                99u32.to_le_bytes().to_vec(),
            );
            Ok::<_, ReadError>(())
        })
        .unwrap();
    drop(store);
    assert!(matches!(
        open(&disk),
        Err(OpenError::SchemaTooNew {
            found: 99,
            known: SCHEMA_VERSION
        })
    ));
}

#[test]
fn a_real_folder_works_as_well() {
    let folder = std::env::temp_dir().join(format!("lamchat-store-{}", std::process::id()));
    let real = || Options {
        dir: folder.clone(),
        ..options()
    };
    for round in 0..3 {
        let store = Store::open(real()).unwrap();
        assert_eq!(get(&store, "a").is_some(), round > 0);
        put(&store, "a", "1");
        assert!(matches!(Store::open(real()), Err(OpenError::Locked(_))));
    }
    let size: u64 = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < 4_000_000, "an empty store takes {size} bytes");
    assert_eq!(std::fs::read_dir(folder.join("wal")).unwrap().count(), 0);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_backup_comes_back_in_a_new_epoch() {
    let store = open(&SimulatedDisk::new(0)).unwrap();
    for number in 0..500 {
        put(&store, &format!("{number}"), "value");
    }
    let last = put(&store, "0", "newest");
    let snapshot = store.snapshot();
    put(&store, "1", "after the snapshot");
    let disk = SimulatedDisk::new(1);
    let copy = open(&disk).unwrap();
    let mut import = copy.import().unwrap();
    snapshot
        .rows(&mut |table, key, value| {
            import.row(table.name, key, value).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(matches!(
        import.row("nobody.knows", b"", b""),
        Err(ImportError::UnknownTable(_))
    ));
    assert_eq!(import.finish(snapshot.position(), snapshot.epoch()).unwrap(), Epoch(2));
    assert!(matches!(copy.import(), Err(ImportError::NotEmpty)));
    drop(copy);
    let copy = open(&disk).unwrap();
    assert_eq!(copy.epoch(), Epoch(2));
    assert_eq!(
        copy.read()
            .rows(ROWS, &KeyRange::all(), Order::Ascending, 999)
            .unwrap()
            .len(),
        500
    );
    assert_eq!(
        (get(&copy, "0").unwrap(), get(&copy, "1").unwrap()),
        ("newest".into(), "value".into())
    );
    assert!(put(&copy, "x", "y") > last);
    assert!(copy.read().get(LOG, b"").unwrap().is_none());
}

#[test]
fn half_an_import_does_not_open() {
    let disk = SimulatedDisk::new(0);
    let store = open(&disk).unwrap();
    let mut import = store.import().unwrap();
    import.row(ROWS.name, b"a", b"1").unwrap();
    drop(import);
    drop(store);
    assert!(matches!(open(&disk), Err(OpenError::Damaged(_))));
}
