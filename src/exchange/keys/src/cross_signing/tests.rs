#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{ParsedKeys, UploadError, is_public_key, upload, verify};
use crate::query::{Asked, QueryCache};
use crate::signatures::{self, SignatureError, Uploaded};
use crate::testing::{Someone, raw, signed_by, store, write};
use crate::{device_list, signatures::Failures};
use lamchat_base::Position;
use lamchat_store::Store;
use ruma::server_name;
use serde_json::{Value, json};
use vodozemac::Ed25519SecretKey;

/// The cross-signing keys of somebody.
struct Identity {
    master: Ed25519SecretKey,
    self_signing: Ed25519SecretKey,
    user_signing: Ed25519SecretKey,
}

impl Identity {
    fn new() -> Self {
        Self {
            master: Ed25519SecretKey::new(),
            self_signing: Ed25519SecretKey::new(),
            user_signing: Ed25519SecretKey::new(),
        }
    }

    fn object(&self, of: &Someone, usage: &str, key: &Ed25519SecretKey) -> Value {
        let public = key.public_key().to_base64();
        let object = json!({
            "keys": { format!("ed25519:{public}"): public }, "usage": [usage], "user_id": of.user_id
        });
        if usage == "master" {
            return object;
        }
        signed_by(
            object,
            of.user_id.as_str(),
            &self.master.public_key().to_base64(),
            &self.master,
        )
    }

    fn objects(&self, of: &Someone) -> [Value; 3] {
        [
            self.object(of, "master", &self.master),
            self.object(of, "self_signing", &self.self_signing),
            self.object(of, "user_signing", &self.user_signing),
        ]
    }

    fn upload(&self, store: &Store, of: &Someone) -> Result<(bool, bool), UploadError> {
        let [master, self_signing, user_signing] = self.objects(of);
        put(store, of, Some(&master), Some(&self_signing), Some(&user_signing))
    }
}

/// Uploads, and answers whether authentication was asked for and whether something changed.
fn put(
    store: &Store,
    of: &Someone,
    master: Option<&Value>,
    self_signing: Option<&Value>,
    user_signing: Option<&Value>,
) -> Result<(bool, bool), UploadError> {
    let [master, self_signing, user_signing] = [master, self_signing, user_signing].map(|key| key.map(raw));
    let parsed = ParsedKeys::parse(
        &of.user_id,
        master.as_deref(),
        self_signing.as_deref(),
        user_signing.as_deref(),
    )?;
    let verified = verify(&store.read(), of.user, &of.user_id, &parsed)?;
    let (needs_auth, user) = (verified.needs_auth(), of.user);
    Ok((needs_auth, write(store, move |txn| upload(txn, user, &verified))?))
}

fn sign(store: &Store, by: &Someone, uploaded: &Value) -> Failures {
    let uploaded: Uploaded = serde_json::from_str(&uploaded.to_string()).unwrap();
    let verified = signatures::verify(&store.read(), by.user, &by.user_id, &uploaded).unwrap();
    let failures = verified.failures.clone();
    let (user, user_id) = (by.user, by.user_id.clone());
    write(store, move |txn| signatures::store(txn, user, &user_id, &verified)).unwrap();
    failures
}

fn query(store: &Store, asker: &Someone, asked: &Someone) -> Value {
    let asked = Asked::from([(asked.user_id.as_str().into(), Vec::new())]);
    let answer = QueryCache::new()
        .query(&store.read(), server_name!("example.org"), asker.user, &asked)
        .unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn first_and_repeated_uploads_need_no_authentication_others_do() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    let identity = Identity::new();
    assert_eq!(identity.upload(&store, &alice).unwrap(), (false, true));
    assert_eq!(identity.upload(&store, &alice).unwrap(), (false, false));
    let [master, ..] = identity.objects(&alice);
    assert_eq!(put(&store, &alice, Some(&master), None, None).unwrap(), (false, false));
    // Only a new self-signing key, signed by the stored master key.
    let another = identity.object(&alice, "self_signing", &Ed25519SecretKey::new());
    assert_eq!(put(&store, &alice, None, Some(&another), None).unwrap(), (true, true));
    assert_eq!(Identity::new().upload(&store, &alice).unwrap(), (true, true));
}

#[test]
fn what_the_master_key_did_not_sign_is_refused() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    let (identity, other) = (Identity::new(), Identity::new());
    let [master, self_signing, user_signing] = identity.objects(&alice);
    let [_, foreign, _] = other.objects(&alice);
    assert!(matches!(
        put(&store, &alice, Some(&master), Some(&foreign), Some(&user_signing)),
        Err(UploadError::Signature("self_signing"))
    ));
    assert!(matches!(
        put(&store, &alice, None, Some(&self_signing), None),
        Err(UploadError::NoMaster)
    ));
    let mut forged = self_signing.clone();
    forged["usage"] = json!(["self_signing", "user_signing"]);
    assert!(matches!(
        put(&store, &alice, Some(&master), Some(&forged), None),
        Err(UploadError::Signature(_))
    ));
    // Swapped usages, a foreign owner, a key that is not named by itself.
    assert!(matches!(
        put(&store, &alice, Some(&self_signing), None, None),
        Err(UploadError::Malformed(..))
    ));
    let mut wrong = master.clone();
    wrong["user_id"] = json!("@bob:example.org");
    assert!(matches!(
        put(&store, &alice, Some(&wrong), None, None),
        Err(UploadError::Malformed(..))
    ));
    wrong = master;
    wrong["keys"] = json!({"ed25519:x": identity.master.public_key().to_base64()});
    assert!(matches!(
        put(&store, &alice, Some(&wrong), None, None),
        Err(UploadError::Malformed(..))
    ));
    assert_eq!(query(&store, &alice, &alice)["master_keys"], json!({}));
}

#[test]
fn a_wrong_signature_of_a_device_on_the_master_key_is_refused() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    alice.upload(&store, &alice.device_keys()).unwrap();
    let [master, ..] = Identity::new().objects(&alice);
    let right = alice.signed(master.clone());
    let wrong = signed_by(master, "@alice:example.org", "PHONE", &Ed25519SecretKey::new());
    assert!(matches!(
        put(&store, &alice, Some(&wrong), None, None),
        Err(UploadError::Signature("master"))
    ));
    put(&store, &alice, Some(&right), None, None).unwrap();
    assert_eq!(
        query(&store, &alice, &alice)["master_keys"]["@alice:example.org"],
        right
    );
}

#[test]
fn keys_and_device_ids_do_not_collide() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    let identity = Identity::new();
    let public = identity.master.public_key().to_base64();
    let twin = Someone::device_of(&store, alice.user, &public);
    assert!(matches!(identity.upload(&store, &alice), Err(UploadError::IdInUse)));
    write(&store, move |txn| {
        lamchat_accounts::device::remove(txn, twin.user, &twin.device_id)
    })
    .unwrap();
    identity.upload(&store, &alice).unwrap();
    assert!(is_public_key(&store.read(), alice.user, &public).unwrap());
    let twin = Someone::device_of(&store, alice.user, &public);
    assert!(matches!(
        twin.upload(&store, &twin.device_keys()),
        Err(crate::device_keys::UploadError::IdInUse)
    ));
}

#[test]
fn devices_are_signed_by_the_self_signing_key_only() {
    let store = store();
    let (alice, bob) = (Someone::new(&store, "alice", "PHONE"), Someone::new(&store, "bob", "X"));
    alice.upload(&store, &alice.device_keys()).unwrap();
    let identity = Identity::new();
    identity.upload(&store, &alice).unwrap();
    let name = identity.self_signing.public_key().to_base64();
    let good = signed_by(alice.device_keys(), "@alice:example.org", &name, &identity.self_signing);
    let forged = signed_by(alice.device_keys(), "@alice:example.org", &name, &identity.master);
    let wrong_key = signed_by(
        alice.device_keys(),
        "@alice:example.org",
        "OTHER",
        &identity.self_signing,
    );
    let upload = |keys: &Value| json!({"@alice:example.org": {"PHONE": keys}});
    for bad in [&forged, &wrong_key] {
        let failures = sign(&store, &alice, &upload(bad));
        assert_eq!(failures[&alice.user_id]["PHONE"], SignatureError::Invalid);
    }
    let before = device_list::newest(&store.read()).unwrap();
    assert!(sign(&store, &alice, &upload(&good)).is_empty());
    let seen = query(&store, &bob, &alice);
    assert_eq!(
        seen["device_keys"]["@alice:example.org"]["PHONE"]["signatures"],
        good["signatures"]
    );
    let changed = device_list::changed_since(&store.read(), bob.user, before, Position(u64::MAX)).unwrap();
    assert_eq!(changed, [alice.user]);
    // Once more changes nothing; keys that are not there are named.
    let before = device_list::newest(&store.read()).unwrap();
    assert!(sign(&store, &alice, &upload(&good)).is_empty());
    assert_eq!(device_list::newest(&store.read()).unwrap(), before);
    let unknown = sign(
        &store,
        &alice,
        &json!({"@alice:example.org": {"NONE": good}, "@nobody:example.org": {"A": good}}),
    );
    assert_eq!(
        unknown.values().flat_map(|keys| keys.values()).collect::<Vec<_>>(),
        [&SignatureError::Unknown; 2]
    );
}

#[test]
fn who_verified_whom_is_seen_by_the_verifier_only() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    let bob = Someone::new(&store, "bob", "X");
    let carol = Someone::new(&store, "carol", "Y");
    let (of_alice, of_bob) = (Identity::new(), Identity::new());
    of_alice.upload(&store, &alice).unwrap();
    of_bob.upload(&store, &bob).unwrap();
    let [bobs_master, ..] = of_bob.objects(&bob);
    let name = of_alice.user_signing.public_key().to_base64();
    let signed = signed_by(bobs_master.clone(), "@alice:example.org", &name, &of_alice.user_signing);
    let bobs_name = of_bob.master.public_key().to_base64();
    let upload = |keys: &Value| json!({"@bob:example.org": {&bobs_name: keys}});

    let forged = signed_by(bobs_master, "@alice:example.org", &name, &of_alice.master);
    assert_eq!(
        sign(&store, &alice, &upload(&forged))[&bob.user_id][&bobs_name],
        SignatureError::Invalid
    );
    assert_eq!(
        sign(&store, &carol, &upload(&signed))[&bob.user_id][&bobs_name],
        SignatureError::Invalid
    );

    let before = device_list::newest(&store.read()).unwrap();
    assert!(sign(&store, &alice, &upload(&signed)).is_empty());
    let signatures =
        |asker: &Someone| query(&store, asker, &bob)["master_keys"]["@bob:example.org"]["signatures"].clone();
    assert_eq!(signatures(&alice), signed["signatures"]);
    assert_eq!(signatures(&carol), json!({}));
    assert_eq!(signatures(&bob), json!({}));
    let changed =
        |viewer: &Someone| device_list::changed_since(&store.read(), viewer.user, before, Position(u64::MAX)).unwrap();
    assert_eq!(changed(&alice), [bob.user]);
    assert!(changed(&carol).is_empty());

    // Only the owner sees a user-signing key.
    assert!(query(&store, &alice, &alice)["user_signing_keys"]["@alice:example.org"].is_object());
    assert_eq!(query(&store, &bob, &alice)["user_signing_keys"], json!({}));
    // A new master key is not verified any more.
    Identity::new().upload(&store, &bob).unwrap();
    assert_eq!(signatures(&alice), json!({}));
}
