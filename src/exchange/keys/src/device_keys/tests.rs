#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{UploadError, forget, verify};
use crate::testing::{Someone, raw, rows_of, signed_by, store, write};
use crate::{device_list, one_time};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vodozemac::Ed25519SecretKey;

#[test]
fn the_same_keys_again_write_nothing() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    assert!(alice.upload(&store, &alice.device_keys()).unwrap());
    let position = device_list::newest(&store.read()).unwrap();
    assert!(!alice.upload(&store, &alice.device_keys()).unwrap());
    assert_eq!(device_list::newest(&store.read()).unwrap(), position);
}

#[test]
fn forged_and_foreign_keys_are_refused() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    let refusal = |json: &Value| verify(&alice.user_id, &alice.device_id, &raw(json)).unwrap_err();

    let mut forged = alice.device_keys();
    forged["algorithms"] = json!(["m.megolm.v1.aes-sha2"]);
    assert!(matches!(refusal(&forged), UploadError::Signature));

    let mut by_another = alice.device_keys();
    by_another.as_object_mut().unwrap().remove("signatures");
    let by_another = signed_by(by_another, "@alice:example.org", "PHONE", &Ed25519SecretKey::new());
    assert!(matches!(refusal(&by_another), UploadError::Signature));

    let mut unsigned = alice.device_keys();
    unsigned.as_object_mut().unwrap().remove("signatures");
    assert!(matches!(refusal(&unsigned), UploadError::Signature));

    let bob = Someone::new(&store, "bob", "PHONE");
    assert!(matches!(refusal(&bob.device_keys()), UploadError::NotYours));
    let tablet = Someone::device_of(&store, alice.user, "TABLET");
    assert!(matches!(refusal(&tablet.device_keys()), UploadError::NotYours));
}

#[test]
fn malformed_keys_are_refused() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    for (field, value) in [
        ("keys", json!([])),
        ("keys", json!({"ed25519:PHONE": 7})),
        ("keys", json!({"ed25519:OTHER": "x"})),
        ("keys", json!({"ed25519:PHONE": "no key"})),
        ("algorithms", json!("x")),
        ("algorithms", json!([1])),
        ("signatures", json!({"@alice:example.org": "x"})),
        ("signatures", json!(null)),
        ("more", json!(1.5)),
        ("more", json!("x".repeat(40_000))),
    ] {
        let mut keys = alice.device_keys();
        keys[field] = value;
        assert!(
            verify(&alice.user_id, &alice.device_id, &raw(&keys)).is_err(),
            "{field}"
        );
    }
    assert!(verify(&alice.user_id, &alice.device_id, &raw(&json!([]))).is_err());
}

#[test]
fn an_identity_cannot_be_exchanged_but_its_description_can() {
    let store = store();
    let mut alice = Someone::new(&store, "alice", "PHONE");
    alice.upload(&store, &alice.device_keys()).unwrap();

    let mut described = alice.device_keys();
    described["algorithms"] = json!(["m.megolm.v1.aes-sha2"]);
    described.as_object_mut().unwrap().remove("signatures");
    assert!(alice.upload(&store, &alice.signed(described)).unwrap());

    alice.key = Ed25519SecretKey::new();
    assert!(matches!(
        alice.upload(&store, &alice.device_keys()),
        Err(UploadError::IdentityChanged)
    ));
}

#[test]
fn a_deleted_device_leaves_nothing() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    alice.upload(&store, &alice.device_keys()).unwrap();
    let key = alice.signed(json!({"key": "x", "fallback": true}));
    let uploaded = BTreeMap::from([("signed_curve25519:A".to_owned(), raw(&key))]);
    let keys = one_time::verify(
        &alice.user_id,
        &alice.device_id,
        Some(&alice.key.public_key().to_base64()),
        &uploaded,
        &uploaded,
    )
    .unwrap();
    let (user, user_id, device, device_id) = (alice.user, alice.user_id, alice.device, alice.device_id);
    write(&store, move |txn| {
        let owner = crate::Owner {
            user,
            user_id: &user_id,
            device,
            device_id: &device_id,
        };
        one_time::upload(txn, &owner, &keys).map(|_| ())
    })
    .unwrap();
    let before = device_list::newest(&store.read()).unwrap();
    assert!(write(&store, move |txn| forget(txn, user, device, "PHONE".into())).unwrap());
    assert!(device_list::newest(&store.read()).unwrap() > before);
    let read = store.read();
    assert_eq!(rows_of(&read, super::DEVICE, user.0), 0);
    for table in [one_time::CHUNK, one_time::STATE, one_time::FALLBACK] {
        assert_eq!(rows_of(&read, table, device.0), 0);
    }
    drop(read);
    assert!(!write(&store, move |txn| forget(txn, user, device, "PHONE".into())).unwrap());
}
