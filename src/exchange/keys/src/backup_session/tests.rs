#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{PutError, Selection, SessionKey, delete, json, purge, put};
use crate::backup::{self, Encryption, VersionError};
use crate::testing::{raw, store, write};
use lamchat_base::UserNum;
use lamchat_store::Store;
use serde_json::{Value, json as value};

const ALICE: UserNum = UserNum(7);
const ROOM: &str = "!a:example.org";

fn encryption(algorithm: &str) -> Encryption {
    Encryption {
        algorithm: algorithm.to_owned(),
        auth_data: raw(&value!({"public_key": "x"})),
    }
}

fn create(store: &Store) -> String {
    write(store, |txn| backup::create(txn, ALICE, encryption("m.megolm"))).unwrap()
}

fn session(verified: bool, index: u64, forwarded: u64, data: &str) -> Value {
    value!({"is_verified": verified, "first_message_index": index, "forwarded_count": forwarded,
        "session_data": {"ciphertext": data}})
}

fn put_one(store: &Store, version: &str, room: &str, id: &str, key: &Value) -> Result<backup::Counts, PutError> {
    let keys = [SessionKey::parse(room, id, &raw(key)).unwrap()];
    let version = version.to_owned();
    write(store, move |txn| put(txn, ALICE, &version, &keys))
}

fn stored(store: &Store, version: &str, selection: Selection<'_>) -> Option<Value> {
    json(&store.read(), ALICE, version, selection)
        .unwrap()
        .map(|text| serde_json::from_str(&text).unwrap())
}

#[test]
fn the_better_key_is_kept() {
    let store = store();
    let version = create(&store);
    // In the order of their worth: each replaces all after it, none before it.
    let keys = [
        session(true, 0, 0, "a"),
        session(true, 0, 3, "b"),
        session(true, 5, 0, "c"),
        session(false, 0, 0, "d"),
        session(false, 0, 1, "e"),
        session(false, 9, 0, "f"),
    ];
    for (better, one) in keys.iter().enumerate() {
        for (worse, other) in keys.iter().enumerate() {
            let id = format!("{better}-{worse}");
            put_one(&store, &version, ROOM, &id, other).unwrap();
            let before = put_one(&store, &version, ROOM, &id, other).unwrap();
            let after = put_one(&store, &version, ROOM, &id, one).unwrap();
            let kept = stored(&store, &version, Selection::Session(ROOM, &id)).unwrap();
            assert_eq!(kept, keys[better.min(worse)], "{id}");
            assert_eq!(before.etag != after.etag, better < worse, "{id}");
            assert_eq!(before.count, after.count);
        }
    }
}

#[test]
fn keys_come_back_by_room_and_session() {
    let store = store();
    let version = create(&store);
    let (a, b) = (session(true, 0, 0, "a"), session(false, 1, 2, "b"));
    put_one(&store, &version, ROOM, "S1", &a).unwrap();
    put_one(&store, &version, ROOM, "S2", &b).unwrap();
    let counts = put_one(&store, &version, "!b:example.org", "S\"1", &b).unwrap();
    assert_eq!(counts.count, 3);
    assert_eq!(
        stored(&store, &version, Selection::All).unwrap(),
        value!({"rooms": {ROOM: {"sessions": {"S1": a, "S2": b}}, "!b:example.org": {"sessions": {"S\"1": b}}}})
    );
    assert_eq!(
        stored(&store, &version, Selection::Room(ROOM)).unwrap(),
        value!({"sessions": {"S1": a, "S2": b}})
    );
    assert_eq!(
        stored(&store, &version, Selection::Room("!none:x")).unwrap(),
        value!({"sessions": {}})
    );
    assert_eq!(stored(&store, &version, Selection::Session(ROOM, "S")), None);
    assert_eq!(stored(&store, "17", Selection::All), None);

    let remove = |selection: Selection<'static>| {
        let version = version.clone();
        write(&store, move |txn| delete(txn, ALICE, &version, selection)).unwrap()
    };
    let one = remove(Selection::Session(ROOM, "S2"));
    assert_eq!(one.count, 2);
    assert_ne!(one.etag, counts.etag);
    assert_eq!(remove(Selection::Session(ROOM, "S2")), one);
    assert_eq!(remove(Selection::Room(ROOM)).count, 1);
    assert_eq!(remove(Selection::All).count, 0);
}

#[test]
fn only_the_newest_version_takes_keys() {
    let store = store();
    let key = session(true, 0, 0, "a");
    assert!(matches!(put_one(&store, "1", ROOM, "S", &key), Err(PutError::NotFound)));
    let first = create(&store);
    put_one(&store, &first, ROOM, "S", &key).unwrap();
    let second = create(&store);
    match put_one(&store, &first, ROOM, "S", &key) {
        Err(PutError::WrongVersion(current)) => assert_eq!(current, second),
        other => unreachable!("{other:?}"),
    }
    // The old version can still be read.
    assert!(stored(&store, &first, Selection::Session(ROOM, "S")).is_some());
    let newest = |store: &Store| {
        backup::newest(&store.read(), ALICE)
            .unwrap()
            .map(|version| version.version)
    };
    assert_eq!(newest(&store), Some(second.clone()));
    let gone = second.clone();
    write(&store, move |txn| backup::delete(txn, ALICE, &gone)).unwrap();
    assert_eq!(newest(&store), Some(first.clone()));
    put_one(&store, &first, ROOM, "S3", &key).unwrap();
    // Names are not used again.
    let third = create(&store);
    assert!(third != first && third != second);
}

#[test]
fn deleted_versions_stay_deleted() {
    let store = store();
    let version = create(&store);
    put_one(&store, &version, ROOM, "S", &session(true, 0, 0, "a")).unwrap();
    let remove = |version: &str| {
        let version = version.to_owned();
        write(&store, move |txn| backup::delete(txn, ALICE, &version))
    };
    remove(&version).unwrap();
    remove(&version).unwrap();
    assert!(matches!(remove("99"), Err(VersionError::NotFound)));
    assert!(matches!(remove("x"), Err(VersionError::NotFound)));
    assert_eq!(stored(&store, &version, Selection::All), None);
    assert!(backup::version(&store.read(), ALICE, &version).unwrap().is_none());
    assert!(!write(&store, move |txn| purge(txn, ALICE, &version)).unwrap());
    assert_eq!(crate::testing::rows_of(&store.read(), super::SESSION, ALICE.0), 0);
}

#[test]
fn auth_data_can_be_changed_but_not_the_algorithm() {
    let store = store();
    let version = create(&store);
    let update = |in_body: Option<&'static str>, new: Encryption| {
        let version = version.clone();
        write(&store, move |txn| backup::update(txn, ALICE, &version, in_body, new))
    };
    let mut new = encryption("m.megolm");
    new.auth_data = raw(&value!({"public_key": "y"}));
    update(Some("1"), new).unwrap();
    let now = backup::newest(&store.read(), ALICE).unwrap().unwrap();
    assert_eq!(now.encryption.auth_data.get(), r#"{"public_key":"y"}"#);
    assert!(matches!(
        update(Some("2"), encryption("m.megolm")),
        Err(VersionError::OtherVersion)
    ));
    assert!(matches!(
        update(None, encryption("other")),
        Err(VersionError::OtherAlgorithm)
    ));
}

#[test]
fn malformed_keys_are_refused() {
    let good = session(true, 0, 0, "a");
    for field in ["is_verified", "first_message_index", "forwarded_count", "session_data"] {
        for wrong in [Value::Null, value!("x"), value!([]), value!(-1), value!(1.5)] {
            let mut key = good.clone();
            key[field] = wrong;
            assert!(SessionKey::parse(ROOM, "S", &raw(&key)).is_err(), "{key}");
        }
        let mut key = good.clone();
        key.as_object_mut().unwrap().remove(field);
        assert!(SessionKey::parse(ROOM, "S", &raw(&key)).is_err(), "{key}");
    }
    assert!(SessionKey::parse(ROOM, "", &raw(&good)).is_err());
    assert!(SessionKey::parse(&"x".repeat(256), "S", &raw(&good)).is_err());
}
