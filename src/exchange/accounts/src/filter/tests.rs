//! Tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::{CreateFilterError, FILTER_BYTES_MAX, FILTERS_MAX, create, find, forget, one};
use crate::TABLES;
use lamchat_base::UserNum;
use lamchat_store::{Store, WriteError};

const ALICE: UserNum = UserNum(1);
const BOB: UserNum = UserNum(2);

async fn add(store: &Store, user: UserNum, filter: &str) -> Result<u32, WriteError<CreateFilterError>> {
    let filter = filter.to_owned();
    store.write(move |txn| create(txn, user, filter.as_bytes())).await
}

#[tokio::test]
async fn equal_filters_are_kept_once_for_each_user() {
    let store = Store::in_memory(TABLES).unwrap();
    assert_eq!(find(&store.read(), ALICE, b"{}").unwrap(), None);
    let empty = add(&store, ALICE, "{}").await.unwrap();
    let other = add(&store, ALICE, r#"{"room":{}}"#).await.unwrap();
    assert_ne!(empty, other);
    assert_eq!(add(&store, ALICE, "{}").await.unwrap(), empty);
    assert_eq!(find(&store.read(), ALICE, b"{}").unwrap(), Some(empty));
    assert_eq!(one(&store.read(), BOB, empty).unwrap(), None);
    add(&store, BOB, "{}").await.unwrap();
    assert_eq!(one(&store.read(), ALICE, other).unwrap().unwrap(), r#"{"room":{}}"#);
    store.write(|txn| forget(txn, ALICE)).await.unwrap();
    assert_eq!(one(&store.read(), ALICE, empty).unwrap(), None);
    assert!(one(&store.read(), BOB, 1).unwrap().is_some());
}

#[tokio::test]
async fn filters_are_bounded() {
    let store = Store::in_memory(TABLES).unwrap();
    store
        .write(|txn| {
            for number in 0..FILTERS_MAX {
                create(txn, ALICE, number.to_string().as_bytes())?;
            }
            Ok::<_, CreateFilterError>(())
        })
        .await
        .unwrap();
    assert!(matches!(
        add(&store, ALICE, "more").await,
        Err(WriteError::Refused(CreateFilterError::TooMany))
    ));
    assert_eq!(add(&store, ALICE, "0").await.unwrap(), 1);
    let large = "x".repeat(FILTER_BYTES_MAX + 1);
    assert!(matches!(
        add(&store, BOB, &large).await,
        Err(WriteError::Refused(CreateFilterError::TooLarge))
    ));
}
