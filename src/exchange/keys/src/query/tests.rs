#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{Asked, QueryCache, QueryError};
use crate::device_keys;
use crate::testing::{Someone, store, write};
use lamchat_base::UserNum;
use lamchat_store::Store;
use ruma::server_name;
use serde_json::{Value, json};

fn ask(cache: &QueryCache, store: &Store, asker: UserNum, asked: &Value) -> Value {
    let text = asked.to_string();
    let asked: Asked<'_> = serde_json::from_str(&text).unwrap();
    let answer = cache
        .query(&store.read(), server_name!("example.org"), asker, &asked)
        .unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn what_was_uploaded_comes_back_with_the_name() {
    let (store, cache) = (store(), QueryCache::new());
    let alice = Someone::new(&store, "alice", "PHONE");
    let tablet = Someone::device_of(&store, alice.user, "TABLET");
    let bob = Someone::new(&store, "bob", "X");
    alice.upload(&store, &alice.device_keys()).unwrap();
    tablet.upload(&store, &tablet.device_keys()).unwrap();
    for _ in 0..2 {
        let answer = ask(
            &cache,
            &store,
            bob.user,
            &json!({
                "@alice:example.org": [], "@bob:example.org": [], "@nobody:example.org": [], "@carol:elsewhere.org": []
            }),
        );
        let mut expected = alice.device_keys();
        expected["unsigned"] = json!({"device_display_name": "The \"PHONE\""});
        assert_eq!(answer["device_keys"]["@alice:example.org"]["PHONE"], expected);
        assert!(answer["device_keys"]["@alice:example.org"]["TABLET"].is_object());
        assert_eq!(answer["device_keys"]["@bob:example.org"], json!({}));
        assert_eq!(answer["device_keys"].get("@nobody:example.org"), None);
        assert!(answer["failures"]["elsewhere.org"].is_object());
    }
    let one = ask(
        &cache,
        &store,
        bob.user,
        &json!({"@alice:example.org": ["TABLET", "NONE", "TABLET"]}),
    );
    assert_eq!(one["device_keys"]["@alice:example.org"].as_object().unwrap().len(), 1);
}

#[test]
fn the_cache_follows_changes() {
    let (store, cache) = (store(), QueryCache::new());
    let alice = Someone::new(&store, "alice", "PHONE");
    let bob = Someone::new(&store, "bob", "X");
    let asked = json!({"@alice:example.org": []});
    let devices = |store: &Store| ask(&cache, store, bob.user, &asked)["device_keys"]["@alice:example.org"].clone();
    assert_eq!(devices(&store), json!({}));
    alice.upload(&store, &alice.device_keys()).unwrap();
    assert!(devices(&store)["PHONE"].is_object());

    let before = store.read();
    let (user, device) = (alice.user, alice.device);
    write(&store, move |txn| {
        lamchat_accounts::device::rename(txn, user, "PHONE".into(), Some("New".to_owned())).unwrap();
        device_keys::renamed(txn, user, "PHONE".into())
    })
    .unwrap();
    assert_eq!(devices(&store)["PHONE"]["unsigned"]["device_display_name"], "New");
    // An older snapshot still sees what it contains.
    let text = asked.to_string();
    let old: Asked<'_> = serde_json::from_str(&text).unwrap();
    assert!(
        !cache
            .query(&before, server_name!("example.org"), bob.user, &old)
            .unwrap()
            .contains("\"New\"")
    );

    write(&store, move |txn| {
        device_keys::forget(txn, user, device, "PHONE".into())
    })
    .unwrap();
    assert_eq!(devices(&store), json!({}));
}

#[test]
fn what_is_no_user_id_is_refused() {
    let (store, cache) = (store(), QueryCache::new());
    let asked: Asked<'_> = serde_json::from_str(r#"{"alice":[]}"#).unwrap();
    let refusal = cache.query(&store.read(), server_name!("example.org"), UserNum(1), &asked);
    assert!(matches!(refusal, Err(QueryError::UserId(_))));
}
