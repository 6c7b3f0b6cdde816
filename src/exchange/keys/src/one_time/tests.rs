#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{
    ALL_VERIFIED_MAX, ClaimedKey, Counts, UploadError, VerifiedKeys, claim, counts, delete_all, is_signed, upload,
    verify,
};
use crate::Owner;
use crate::testing::{Someone, raw, store, write};
use lamchat_store::{ReadError, Store};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

const SIGNED: &str = "signed_curve25519";

fn key(alice: &Someone, content: &str) -> Value {
    alice.signed(json!({ "key": content }))
}

fn checked(alice: &Someone, keys: &[(&str, Value)], fallback: &[(&str, Value)]) -> Result<VerifiedKeys, UploadError> {
    let map = |keys: &[(&str, Value)]| {
        keys.iter()
            .map(|(name, key)| ((*name).to_owned(), raw(key)))
            .collect::<BTreeMap<_, _>>()
    };
    let public = alice.key.public_key().to_base64();
    verify(
        &alice.user_id,
        &alice.device_id,
        Some(&public),
        &map(keys),
        &map(fallback),
    )
}

fn put(store: &Store, alice: &Someone, keys: VerifiedKeys) -> Result<Counts, UploadError> {
    let (user, user_id, device, device_id) = (alice.user, alice.user_id.clone(), alice.device, alice.device_id.clone());
    write(store, move |txn| {
        upload(
            txn,
            &Owner {
                user,
                user_id: &user_id,
                device,
                device_id: &device_id,
            },
            &keys,
        )
    })
}

fn take(store: &Store, alice: &Someone) -> Option<String> {
    let (user, device) = (alice.user, alice.device);
    write(store, move |txn| claim(txn, user, device, SIGNED))
        .unwrap()
        .map(|claimed| claimed.name)
}

fn many(alice: &Someone, number: usize) -> VerifiedKeys {
    let keys: Vec<(String, Value)> = (0..number)
        .map(|n| (format!("{SIGNED}:{n:04}"), key(alice, &n.to_string())))
        .collect();
    let keys: Vec<(&str, Value)> = keys.iter().map(|(name, key)| (name.as_str(), key.clone())).collect();
    checked(alice, &keys, &[]).unwrap()
}

#[test]
fn malformed_and_unsigned_keys_are_refused() {
    let store = store();
    let (alice, bob) = (
        Someone::new(&store, "alice", "PHONE"),
        Someone::new(&store, "bob", "PHONE"),
    );
    // Signed by the right device, but something else.
    let mut other = key(&alice, "x");
    other["key"] = json!("y");
    let mut cut = key(&alice, "x");
    cut["signatures"]["@alice:example.org"]["ed25519:PHONE"] = json!("c2hvcnQ");
    for wrong in [
        other,
        cut,
        key(&bob, "x"),
        json!({"key": "x"}),
        json!({"key": "x", "signatures": {}}),
    ] {
        assert!(matches!(
            checked(&alice, &[("signed_curve25519:A", wrong)], &[]),
            Err(UploadError::Signature(_))
        ));
    }
    for (name, wrong) in [
        ("noalgorithm", json!("x")),
        ("curve25519:A", json!(7)),
        ("signed_curve25519:A", json!("x")),
        ("signed_curve25519:A", alice.signed(json!({"other": "x"}))),
    ] {
        assert!(
            matches!(checked(&alice, &[(name, wrong)], &[]), Err(UploadError::Malformed(..))),
            "{name}"
        );
    }
    let unknown = verify(
        &alice.user_id,
        &alice.device_id,
        None,
        &BTreeMap::from([("signed_curve25519:A".to_owned(), raw(&key(&alice, "x")))]),
        &BTreeMap::new(),
    );
    assert!(matches!(unknown, Err(UploadError::NoDeviceKeys)));
}

#[test]
fn a_wrong_signature_is_noticed_at_the_upload_or_at_the_claim() {
    let alice = Someone::new(&store(), "alice", "PHONE");
    let public = alice.key.public_key().to_base64();
    let mut wrong = key(&alice, "x");
    wrong["key"] = json!("y");
    assert!(matches!(
        checked(&alice, &[], &[("signed_curve25519:F", wrong.clone())]),
        Err(UploadError::Signature(_))
    ));
    for number in [ALL_VERIFIED_MAX, ALL_VERIFIED_MAX + 1] {
        for at in 0..number {
            let names: Vec<String> = (0..number).map(|n| format!("{SIGNED}:{n:02}")).collect();
            let keys: Vec<(&str, Value)> = names
                .iter()
                .enumerate()
                .map(|(n, name)| (name.as_str(), if n == at { wrong.clone() } else { key(&alice, "x") }))
                .collect();
            let is_noticed = matches!(checked(&alice, &keys, &[]), Err(UploadError::Signature(_)));
            assert_eq!(is_noticed, number == ALL_VERIFIED_MAX || at == 0 || at + 1 == number);
        }
    }
    let claimed = |key: &Value| ClaimedKey {
        name: "signed_curve25519:A".to_owned(),
        json: key.to_string(),
    };
    let is_signed = |key: &Value, device: &str| is_signed(alice.user_id.as_str(), device, &public, &claimed(key));
    assert!(is_signed(&key(&alice, "x"), "PHONE"));
    assert!(!is_signed(&key(&alice, "x"), "OTHER"));
    assert!(!is_signed(&wrong, "PHONE"));
}

#[test]
fn oldest_first_then_the_fallback_key() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    assert_eq!(take(&store, &alice), None);
    put(
        &store,
        &alice,
        checked(&alice, &[("signed_curve25519:Z", key(&alice, "1"))], &[]).unwrap(),
    )
    .unwrap();
    let fallback = alice.signed(json!({"key": "f", "fallback": true}));
    let second = checked(
        &alice,
        &[
            ("signed_curve25519:A", key(&alice, "2")),
            ("curve25519:B", json!("plain")),
        ],
        &[("signed_curve25519:F", fallback.clone())],
    );
    let counted = put(&store, &alice, second.unwrap()).unwrap();
    assert_eq!(
        counted.one_time,
        BTreeMap::from([(SIGNED.to_owned(), 2), ("curve25519".to_owned(), 1)])
    );
    assert_eq!(counted.unused_fallback, [SIGNED]);

    assert_eq!(take(&store, &alice).unwrap(), "signed_curve25519:Z");
    assert_eq!(counts(&store.read(), alice.device).unwrap().unused_fallback, [SIGNED]);
    assert_eq!(take(&store, &alice).unwrap(), "signed_curve25519:A");
    assert_eq!(take(&store, &alice).unwrap(), "signed_curve25519:F");
    assert_eq!(take(&store, &alice).unwrap(), "signed_curve25519:F");
    let counted = counts(&store.read(), alice.device).unwrap();
    assert_eq!(counted.one_time[SIGNED], 0);
    assert!(counted.unused_fallback.is_empty());

    // The same fallback key again stays used, another is unused.
    let same = checked(&alice, &[], &[("signed_curve25519:F", fallback)]).unwrap();
    assert!(put(&store, &alice, same).unwrap().unused_fallback.is_empty());
    let other = alice.signed(json!({"key": "g", "fallback": true}));
    let other = checked(&alice, &[], &[("signed_curve25519:G", other)]).unwrap();
    assert_eq!(put(&store, &alice, other).unwrap().unused_fallback, [SIGNED]);
}

#[test]
fn repeated_uploads_add_nothing_and_changed_ones_are_refused() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    put(&store, &alice, many(&alice, 3)).unwrap();
    let taken = take(&store, &alice).unwrap();
    // The answer to the first upload was lost: the key that was claimed meanwhile must not come back.
    let counted = put(&store, &alice, many(&alice, 3)).unwrap();
    assert_eq!(counted.one_time[SIGNED], 2);
    assert_ne!(take(&store, &alice).unwrap(), taken);

    let changed = checked(&alice, &[("signed_curve25519:0002", key(&alice, "other"))], &[]).unwrap();
    assert!(matches!(put(&store, &alice, changed), Err(UploadError::Exists(_))));
    assert!(matches!(
        put(&store, &alice, many(&alice, super::ONE_TIME_KEYS_MAX)),
        Ok(Counts { .. }) | Err(UploadError::TooMany)
    ));
}

#[test]
fn there_is_a_limit() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    let keys: Vec<(String, Value)> = (0..=super::ONE_TIME_KEYS_MAX)
        .map(|n| (format!("curve25519:{n}"), json!("x")))
        .collect();
    let keys: Vec<(&str, Value)> = keys.iter().map(|(name, key)| (name.as_str(), key.clone())).collect();
    assert!(matches!(checked(&alice, &keys, &[]), Err(UploadError::TooMany)));
    put(&store, &alice, checked(&alice, &keys[1..], &[]).unwrap()).unwrap();
    let one_more = checked(&alice, &keys[..1], &[]).unwrap();
    assert!(matches!(put(&store, &alice, one_more), Err(UploadError::TooMany)));
}

#[test]
fn sixty_four_claims_at_once_get_different_keys() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    put(&store, &alice, many(&alice, 130)).unwrap();
    let claimed = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..2 {
                    let name = take(&store, &alice).unwrap();
                    claimed.lock().unwrap().push(name);
                }
            });
        }
    });
    let claimed = claimed.lock().unwrap();
    assert_eq!(claimed.len(), 128);
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), 128);
    assert_eq!(counts(&store.read(), alice.device).unwrap().one_time[SIGNED], 2);
}

#[test]
fn a_restore_deletes_one_time_keys_but_not_fallback_keys() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    put(&store, &alice, many(&alice, 100)).unwrap();
    take(&store, &alice).unwrap();
    let fallback = alice.signed(json!({"key": "f", "fallback": true}));
    put(
        &store,
        &alice,
        checked(&alice, &[], &[("signed_curve25519:F", fallback)]).unwrap(),
    )
    .unwrap();
    assert_eq!(write::<_, ReadError>(&store, delete_all).unwrap(), 1);
    let counted = counts(&store.read(), alice.device).unwrap();
    assert_eq!(counted.one_time[SIGNED], 0);
    assert_eq!(take(&store, &alice).unwrap(), "signed_curve25519:F");
    put(&store, &alice, many(&alice, 1)).unwrap();
    assert_eq!(take(&store, &alice).unwrap(), "signed_curve25519:0000");
}
