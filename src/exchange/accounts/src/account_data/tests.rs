//! Tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::{
    PutAccountDataError, Scope, TYPES_MAX, all, changed_since, content, delete, everything, forget, forget_room, put,
};
use crate::TABLES;
use crate::tables::ACCOUNT_DATA_CHANGE;
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_store::{KeyRange, Order, Read, ReadExt, Store, Topic, WriteError};

const ALICE: UserNum = UserNum(1);
const BOB: UserNum = UserNum(2);
const ROOM: Scope = Scope::Room(RoomNum(1));

async fn set(store: &Store, user: UserNum, scope: Scope, event_type: &'static str, json: &'static str) -> Position {
    store
        .write(move |txn| put(txn, user, scope, event_type, json.as_bytes()))
        .await
        .unwrap()
}

fn changes(store: &Store, from: Position, to: Position) -> Vec<(Scope, String, String)> {
    changed_since(&store.read(), ALICE, from, to)
        .unwrap()
        .into_iter()
        .map(|item| {
            (
                item.scope,
                item.event_type,
                String::from_utf8(item.content.to_vec()).unwrap(),
            )
        })
        .collect()
}

#[tokio::test]
async fn items_are_kept_by_user_scope_and_type() {
    let store = Store::in_memory(TABLES).unwrap();
    set(&store, ALICE, Scope::Global, "m.direct", r#"{"a":1}"#).await;
    set(&store, ALICE, ROOM, "m.direct", r#"{"a":2}"#).await;
    set(&store, BOB, Scope::Global, "m.direct", r#"{"a":3}"#).await;
    let read = store.read();
    assert_eq!(
        &content(&read, ALICE, Scope::Global, "m.direct").unwrap().unwrap()[..],
        br#"{"a":1}"#
    );
    assert_eq!(
        &content(&read, ALICE, ROOM, "m.direct").unwrap().unwrap()[..],
        br#"{"a":2}"#
    );
    assert_eq!(
        content(&read, ALICE, Scope::Room(RoomNum(2)), "m.direct").unwrap(),
        None
    );
    assert_eq!(content(&read, BOB, ROOM, "m.direct").unwrap(), None);
    assert_eq!(all(&read, ALICE, Scope::Global).unwrap().len(), 1);
    let scopes: Vec<_> = everything(&read, ALICE)
        .unwrap()
        .into_iter()
        .map(|item| item.scope)
        .collect();
    assert_eq!(scopes, [Scope::Global, ROOM]);
}

#[tokio::test]
async fn changes_come_in_order_and_once() {
    let store = Store::in_memory(TABLES).unwrap();
    let first = set(&store, ALICE, Scope::Global, "a", r#"{"v":1}"#).await;
    let second = set(&store, ALICE, ROOM, "b", r#"{"v":2}"#).await;
    set(&store, BOB, Scope::Global, "c", "{}").await;
    let third = set(&store, ALICE, Scope::Global, "a", r#"{"v":3}"#).await;
    let end = store.read().position();
    let a = (Scope::Global, "a".to_owned(), r#"{"v":3}"#.to_owned());
    let b = (ROOM, "b".to_owned(), r#"{"v":2}"#.to_owned());
    assert_eq!(changes(&store, Position(0), end), [b.clone(), a.clone()]);
    assert_eq!(changes(&store, first, end), [b.clone(), a.clone()]);
    assert_eq!(changes(&store, second, end), [a]);
    assert_eq!(changes(&store, third, end), []);
    assert_eq!(changes(&store, first, second), [b]);
    assert_eq!(changes(&store, Position(u64::MAX), Position(u64::MAX)), []);
    // One change row for each item.
    let rows = store
        .read()
        .rows(ACCOUNT_DATA_CHANGE, &KeyRange::all(), Order::Ascending, usize::MAX)
        .unwrap();
    assert_eq!(rows.len(), 3);
}

#[tokio::test]
async fn deleted_items_are_seen_once_and_gone() {
    let store = Store::in_memory(TABLES).unwrap();
    let at = set(&store, ALICE, ROOM, "a", r#"{"v":1}"#).await;
    assert!(store.write(|txn| delete(txn, ALICE, ROOM, "a")).await.unwrap());
    assert!(!store.write(|txn| delete(txn, ALICE, ROOM, "a")).await.unwrap());
    assert_eq!(content(&store.read(), ALICE, ROOM, "a").unwrap(), None);
    assert!(everything(&store.read(), ALICE).unwrap().is_empty());
    assert_eq!(
        changes(&store, at, store.read().position()),
        [(ROOM, "a".to_owned(), "{}".to_owned())]
    );
    set(&store, ALICE, ROOM, "a", r#"{"v":2}"#).await;
    assert_eq!(everything(&store.read(), ALICE).unwrap().len(), 1);
}

#[tokio::test]
async fn forgetting_leaves_nothing() {
    let store = Store::in_memory(TABLES).unwrap();
    set(&store, ALICE, ROOM, "a", "{}").await;
    set(&store, ALICE, Scope::Room(RoomNum(2)), "a", "{}").await;
    set(&store, ALICE, Scope::Global, "a", "{}").await;
    store.write(|txn| forget_room(txn, ALICE, RoomNum(1))).await.unwrap();
    assert_eq!(everything(&store.read(), ALICE).unwrap().len(), 2);
    assert_eq!(changes(&store, Position(0), store.read().position()).len(), 2);
    store.write(|txn| forget(txn, ALICE)).await.unwrap();
    assert!(everything(&store.read(), ALICE).unwrap().is_empty());
    assert!(changes(&store, Position(0), store.read().position()).is_empty());
}

#[tokio::test]
async fn types_are_bounded() {
    let store = Store::in_memory(TABLES).unwrap();
    let answer = store
        .write(|txn| {
            for number in 0..TYPES_MAX {
                put(txn, ALICE, Scope::Global, &format!("t{number}"), b"{}")?;
            }
            Ok::<_, PutAccountDataError>(())
        })
        .await;
    answer.unwrap();
    let answer = store
        .write(|txn| put(txn, ALICE, Scope::Global, "one more", b"{}"))
        .await;
    assert!(matches!(answer, Err(WriteError::Refused(PutAccountDataError::TooMany))));
    set(&store, ALICE, Scope::Global, "t0", r#"{"changed":true}"#).await;
    set(&store, ALICE, ROOM, "elsewhere", "{}").await;
    for event_type in [String::new(), "x".repeat(256)] {
        let answer = store.write(move |txn| put(txn, ALICE, ROOM, &event_type, b"{}")).await;
        assert!(matches!(answer, Err(WriteError::Refused(PutAccountDataError::Type))));
    }
}

#[tokio::test]
async fn a_change_wakes_its_user() {
    let store = Store::in_memory(TABLES).unwrap();
    let mut watch = store.watch(&[Topic::user(ALICE)]);
    set(&store, ALICE, ROOM, "a", "{}").await;
    watch.changed().await;
}
