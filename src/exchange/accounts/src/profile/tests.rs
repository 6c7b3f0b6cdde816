//! Tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::{
    AVATAR_URL, DISPLAYNAME, FIELD_NAME_BYTES_MAX, PROFILE_BYTES_MAX, SetProfileError, all, display, field, remove, set,
};
use crate::TABLES;
use lamchat_base::UserNum;
use lamchat_store::{Store, WriteError};
use serde_json::{Value, json};

const ALICE: UserNum = UserNum(1);

async fn put(store: &Store, name: &str, value: Value) -> Result<bool, SetProfileError> {
    let name = name.to_owned();
    match store.write(move |txn| set(txn, ALICE, &name, &value)).await {
        Ok(changed) => Ok(changed),
        Err(WriteError::Refused(error)) => Err(error),
        Err(WriteError::Commit(error)) => unreachable!("{error}"),
    }
}

#[tokio::test]
async fn fields_are_set_changed_and_removed() {
    let store = Store::in_memory(TABLES).unwrap();
    assert!(put(&store, DISPLAYNAME, json!("Alice")).await.unwrap());
    assert!(!put(&store, DISPLAYNAME, json!("Alice")).await.unwrap());
    assert!(put(&store, AVATAR_URL, json!("mxc://example.org/a")).await.unwrap());
    assert!(put(&store, "m.tz", json!("Europe/Vienna")).await.unwrap());
    assert!(
        put(&store, "org.example.pronouns", json!([{"summary": "she"}]))
            .await
            .unwrap()
    );
    let shown = display(&store.read(), ALICE).unwrap();
    assert_eq!(shown.displayname.as_deref(), Some("Alice"));
    assert_eq!(shown.avatar_url.as_deref(), Some("mxc://example.org/a"));
    assert_eq!(all(&store.read(), ALICE).unwrap().len(), 4);
    assert!(all(&store.read(), UserNum(2)).unwrap().is_empty());
    assert!(store.write(|txn| remove(txn, ALICE, "m.tz")).await.unwrap());
    assert!(!store.write(|txn| remove(txn, ALICE, "m.tz")).await.unwrap());
    assert_eq!(field(&store.read(), ALICE, "m.tz").unwrap(), None);
}

#[tokio::test]
async fn values_have_to_fit() {
    let store = Store::in_memory(TABLES).unwrap();
    for (name, value) in [
        (DISPLAYNAME, json!(7)),
        (DISPLAYNAME, json!(null)),
        (AVATAR_URL, json!({})),
        (AVATAR_URL, json!("https://example.org/x.png")),
    ] {
        assert!(
            matches!(put(&store, name, value).await, Err(SetProfileError::Value)),
            "{name}"
        );
    }
    for name in ["", "M.upper", "1number", "with space", "ä", "a\0b", "a/b"] {
        assert!(
            matches!(put(&store, name, json!(1)).await, Err(SetProfileError::FieldName)),
            "{name:?}"
        );
    }
    let longest = "a".repeat(FIELD_NAME_BYTES_MAX);
    assert!(put(&store, &longest, json!(1)).await.unwrap());
    assert!(matches!(
        put(&store, &(longest + "a"), json!(1)).await,
        Err(SetProfileError::FieldNameTooLong)
    ));
}

#[tokio::test]
async fn the_whole_profile_is_bounded() {
    let store = Store::in_memory(TABLES).unwrap();
    let half = "x".repeat(PROFILE_BYTES_MAX / 2);
    assert!(put(&store, "org.example.a", json!(half)).await.unwrap());
    assert!(matches!(
        put(&store, "org.example.b", json!(half)).await,
        Err(SetProfileError::TooLarge)
    ));
    // Replacing is no addition.
    assert!(put(&store, "org.example.a", json!(half.clone() + "y")).await.unwrap());
    assert!(matches!(
        put(&store, DISPLAYNAME, json!("x".repeat(2000))).await,
        Err(SetProfileError::TooLarge)
    ));
}
