//! Tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::{SetTagError, TAG_BYTES_MAX, TAGS_MAX, all, remove, set};
use crate::TABLES;
use crate::account_data::{self, Scope};
use lamchat_base::{RoomNum, UserNum};
use lamchat_store::{Store, WriteError};
use serde_json::{Map, Value, json};

const ALICE: UserNum = UserNum(1);
const ROOM: RoomNum = RoomNum(1);

async fn put(store: &Store, tag: &str, info: Value) -> Result<(), WriteError<SetTagError>> {
    let (tag, info) = (tag.to_owned(), info.as_object().cloned().unwrap());
    store.write(move |txn| set(txn, ALICE, ROOM, &tag, info)).await
}

#[tokio::test]
async fn tags_are_account_data() {
    let store = Store::in_memory(TABLES).unwrap();
    put(&store, "m.favourite", json!({"order": 0.25})).await.unwrap();
    put(&store, "u.work", json!({})).await.unwrap();
    put(&store, "m.favourite", json!({"order": 0.5})).await.unwrap();
    let tags = Value::Object(all(&store.read(), ALICE, ROOM).unwrap());
    assert_eq!(tags, json!({"m.favourite": {"order": 0.5}, "u.work": {}}));
    store
        .write(|txn| remove(txn, ALICE, ROOM, "m.favourite"))
        .await
        .unwrap();
    store.write(|txn| remove(txn, ALICE, ROOM, "never set")).await.unwrap();
    let content = account_data::content(&store.read(), ALICE, Scope::Room(ROOM), "m.tag")
        .unwrap()
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&content).unwrap(),
        json!({"tags": {"u.work": {}}})
    );
    assert!(all(&store.read(), ALICE, RoomNum(2)).unwrap().is_empty());
}

#[tokio::test]
async fn tags_are_bounded() {
    let store = Store::in_memory(TABLES).unwrap();
    for number in 0..TAGS_MAX {
        put(&store, &format!("u.{number}"), json!({})).await.unwrap();
    }
    assert!(matches!(
        put(&store, "u.more", json!({})).await,
        Err(WriteError::Refused(SetTagError::TooMany))
    ));
    put(&store, "u.0", json!({"order": 1})).await.unwrap();
    let long = "x".repeat(TAG_BYTES_MAX + 1);
    assert!(matches!(
        put(&store, &long, json!({})).await,
        Err(WriteError::Refused(SetTagError::TooLong))
    ));
}

#[tokio::test]
async fn what_is_no_map_of_tags_counts_as_none() {
    let store = Store::in_memory(TABLES).unwrap();
    for content in [r#"{"tags": 7}"#, r#"{}"#, r#"{"tags": null}"#] {
        store
            .write(move |txn| account_data::put(txn, ALICE, Scope::Room(ROOM), "m.tag", content.as_bytes()))
            .await
            .unwrap();
        assert_eq!(all(&store.read(), ALICE, ROOM).unwrap(), Map::new());
    }
    put(&store, "u.work", json!({})).await.unwrap();
    assert_eq!(all(&store.read(), ALICE, ROOM).unwrap().len(), 1);
}
