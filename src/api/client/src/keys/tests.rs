#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::App;
use crate::testing::{app, call};
use http::StatusCode;
use lamchat_store::{KeyRange, Read};
use serde_json::{Value, json};
use std::sync::Arc;
use vodozemac::Ed25519SecretKey;

/// A person with a device, registered over the API.
struct Person {
    app: Arc<App>,
    id: String,
    token: String,
    key: Ed25519SecretKey,
}

impl Person {
    async fn new(app: &Arc<App>, name: &str) -> Self {
        let body = json!({
            "username": name, "password": "correct horse battery", "device_id": "DEV",
            "initial_device_display_name": "A phone", "auth": {"type": "m.login.dummy"}
        });
        let (status, answer) = call(app, "POST", "/_matrix/client/v3/register", None, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        Self {
            app: Arc::clone(app),
            id: answer["user_id"].as_str().unwrap().to_owned(),
            token: answer["access_token"].as_str().unwrap().to_owned(),
            key: Ed25519SecretKey::new(),
        }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let body = (!body.is_null()).then_some(body);
        call(
            &self.app,
            method,
            &format!("/_matrix/client/v3{path}"),
            Some(&self.token),
            body,
        )
        .await
    }

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    fn sign_as(&self, mut object: Value, name: &str, key: &Ed25519SecretKey) -> Value {
        let signature = key.sign(object.to_string().as_bytes()).to_base64();
        object["signatures"] = json!({ &self.id: { format!("ed25519:{name}"): signature } });
        object
    }

    fn device_keys(&self) -> Value {
        let object = json!({
            "user_id": self.id, "device_id": "DEV", "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
            "keys": {"ed25519:DEV": self.key.public_key().to_base64(), "curve25519:DEV": "x"}
        });
        self.sign_as(object, "DEV", &self.key)
    }

    fn cross_signing_keys(&self, master: &Ed25519SecretKey, own: &Ed25519SecretKey) -> Value {
        let object = |usage: &str, key: &Ed25519SecretKey| {
            let public = key.public_key().to_base64();
            json!({"user_id": self.id, "usage": [usage], "keys": {format!("ed25519:{public}"): public}})
        };
        let name = master.public_key().to_base64();
        json!({
            "master_key": self.sign_as(object("master", master), "DEV", &self.key),
            "self_signing_key": self.sign_as(object("self_signing", own), &name, master),
        })
    }

    /// As `POST /login` and confirmations want it.
    fn password(&self) -> Value {
        json!({
            "type": "m.login.password", "identifier": {"type": "m.id.user", "user": self.id},
            "password": "correct horse battery"
        })
    }

    fn one_time_keys(&self, number: usize) -> Value {
        let key = |n: usize| {
            let object = json!({"key": format!("key{n}")});
            (format!("signed_curve25519:{n}"), self.sign_as(object, "DEV", &self.key))
        };
        Value::Object((0..number).map(key).collect())
    }
}

#[tokio::test]
async fn keys_are_uploaded_queried_and_claimed() {
    let app = app();
    let (alice, bob) = (Person::new(&app, "alice").await, Person::new(&app, "bob").await);
    let upload =
        json!({"device_keys": alice.device_keys(), "one_time_keys": alice.one_time_keys(10), "fallback_keys": null});
    let counts = alice.ok("POST", "/keys/upload", upload).await;
    assert_eq!(counts, json!({"one_time_key_counts": {"signed_curve25519": 10}}));

    let seen = bob
        .ok("POST", "/keys/query", json!({"device_keys": {&alice.id: []}}))
        .await;
    let mut expected = alice.device_keys();
    expected["unsigned"] = json!({"device_display_name": "A phone"});
    assert_eq!(seen["device_keys"][&alice.id]["DEV"], expected);

    let wanted = json!({"one_time_keys": {
        &alice.id: {"DEV": "signed_curve25519", "NONE": "signed_curve25519"},
        "@nobody:example.org": {"X": "signed_curve25519"},
        "@carol:elsewhere.org": {"X": "signed_curve25519"},
    }});
    let claimed = bob.ok("POST", "/keys/claim", wanted.clone()).await;
    let key = &claimed["one_time_keys"][&alice.id]["DEV"]["signed_curve25519:0"];
    assert_eq!(*key, alice.one_time_keys(1)["signed_curve25519:0"]);
    assert_eq!(claimed["one_time_keys"].as_object().unwrap().len(), 1);
    assert!(claimed["failures"]["elsewhere.org"].is_object());
    let again = bob.ok("POST", "/keys/claim", wanted).await;
    assert!(again["one_time_keys"][&alice.id]["DEV"]["signed_curve25519:1"].is_object());
    assert_eq!(
        alice.ok("POST", "/keys/upload", json!({})).await["one_time_key_counts"]["signed_curve25519"],
        8
    );

    let mut forged = alice.device_keys();
    forged["algorithms"] = json!([]);
    let (status, error) = alice.call("POST", "/keys/upload", json!({"device_keys": forged})).await;
    assert_eq!(
        (status, &error["errcode"]),
        (StatusCode::BAD_REQUEST, &json!("M_INVALID_SIGNATURE"))
    );
    let (status, _) = bob
        .call("POST", "/keys/upload", json!({"one_time_keys": bob.one_time_keys(1)}))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, error) = bob
        .call("POST", "/keys/query", json!({"device_keys": {"alice": []}}))
        .await;
    assert_eq!(
        (status, &error["errcode"]),
        (StatusCode::BAD_REQUEST, &json!("M_INVALID_PARAM"))
    );
}

#[tokio::test]
async fn nobody_is_given_a_one_time_key_that_its_device_did_not_sign() {
    let app = app();
    let (alice, bob) = (Person::new(&app, "alice").await, Person::new(&app, "bob").await);
    let mut one = alice.one_time_keys(1);
    one["signed_curve25519:0"]["key"] = json!("other");
    let (status, error) = alice
        .call(
            "POST",
            "/keys/upload",
            json!({"device_keys": alice.device_keys(), "one_time_keys": one}),
        )
        .await;
    assert_eq!(
        (status, &error["errcode"]),
        (StatusCode::BAD_REQUEST, &json!("M_INVALID_SIGNATURE"))
    );
    // In a large upload a wrong signature may come to light at the claim only: ids 1, 10, 11 … are handed out in turn.
    let mut many = alice.one_time_keys(12);
    many["signed_curve25519:1"]["key"] = json!("other");
    let upload = json!({"device_keys": alice.device_keys(), "one_time_keys": many});
    alice.ok("POST", "/keys/upload", upload).await;
    let wanted = json!({"one_time_keys": {&alice.id: {"DEV": "signed_curve25519"}}});
    for id in ["0", "10"] {
        let claimed = bob.ok("POST", "/keys/claim", wanted.clone()).await;
        let key = &claimed["one_time_keys"][&alice.id]["DEV"][format!("signed_curve25519:{id}")];
        assert_eq!(
            *key,
            alice.one_time_keys(12)[format!("signed_curve25519:{id}")],
            "{claimed}"
        );
    }
    let left = alice.ok("POST", "/keys/upload", json!({})).await;
    assert_eq!(left["one_time_key_counts"]["signed_curve25519"], 9);
}

#[tokio::test]
async fn cross_signing_asks_for_the_password_only_when_keys_change() {
    let app = app();
    let alice = Person::new(&app, "alice").await;
    alice
        .ok("POST", "/keys/upload", json!({"device_keys": alice.device_keys()}))
        .await;
    let keys = |master: &Ed25519SecretKey, own: &Ed25519SecretKey| alice.cross_signing_keys(master, own);
    let (master, own) = (Ed25519SecretKey::new(), Ed25519SecretKey::new());
    let path = "/keys/device_signing/upload";
    alice.ok("POST", path, keys(&master, &own)).await;
    alice.ok("POST", path, keys(&master, &own)).await;
    let mut other = keys(&Ed25519SecretKey::new(), &own);
    let (status, question) = alice.call("POST", path, other.clone()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{question}");
    other["auth"] = json!({
        "type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"},
        "password": "correct horse battery", "session": question["session"]
    });
    alice.ok("POST", path, other).await;

    let signed = alice.sign_as(
        {
            let mut keys = alice.device_keys();
            keys.as_object_mut().unwrap().remove("signatures");
            keys
        },
        &own.public_key().to_base64(),
        &own,
    );
    let sign = |signed: &Value| json!({&alice.id: {"DEV": signed}});
    assert_eq!(
        alice.ok("POST", "/keys/signatures/upload", sign(&signed)).await,
        json!({"failures": {}})
    );
    let forged = alice.sign_as(json!({"x": 1}), &own.public_key().to_base64(), &own);
    let failed = alice.ok("POST", "/keys/signatures/upload", sign(&forged)).await;
    assert_eq!(failed["failures"][&alice.id]["DEV"]["errcode"], "M_INVALID_SIGNATURE");
    let seen = alice
        .ok("POST", "/keys/query", json!({"device_keys": {&alice.id: ["DEV"]}}))
        .await;
    assert_eq!(
        seen["device_keys"][&alice.id]["DEV"]["signatures"][&alice.id]
            .as_object()
            .unwrap()
            .len(),
        2
    );
    assert!(seen["self_signing_keys"][&alice.id].is_object());
}

#[tokio::test]
async fn messages_reach_devices_once() {
    let app = app();
    let (alice, bob) = (Person::new(&app, "alice").await, Person::new(&app, "bob").await);
    let path = "/sendToDevice/m.room_key_request/txn%2F1";
    let message = json!({"messages": {&bob.id: {"*": {"n": 1}}, "@nobody:example.org": {"X": {}}, "@c:elsewhere.org": {"X": {}}}});
    for _ in 0..2 {
        assert_eq!(alice.ok("PUT", path, message.clone()).await, json!({}));
    }
    let synced = bob.ok("GET", "/sync", Value::Null).await;
    let event = json!({"type": "m.room_key_request", "sender": alice.id, "content": {"n": 1}});
    assert_eq!(synced["to_device"]["events"], json!([event]));
    for wrong in [
        json!({}),
        json!({"messages": []}),
        json!({"messages": {&bob.id: {"*": 1}}}),
        json!({"messages": {"x": {}}}),
    ] {
        let (status, error) = alice.call("PUT", "/sendToDevice/t/2", wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
    }
    let large = json!({"messages": {&bob.id: {"*": {"x": "x".repeat(70_000)}}}});
    assert_eq!(
        alice.call("PUT", "/sendToDevice/t/3", large).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn changes_need_tokens() {
    let app = app();
    let alice = Person::new(&app, "alice").await;
    let from = alice.ok("GET", "/sync", Value::Null).await["next_batch"]
        .as_str()
        .unwrap()
        .to_owned();
    alice
        .ok("POST", "/keys/upload", json!({"device_keys": alice.device_keys()}))
        .await;
    let to = alice.ok("GET", "/sync", Value::Null).await["next_batch"]
        .as_str()
        .unwrap()
        .to_owned();
    let changes = alice
        .ok("GET", &format!("/keys/changes?from={from}&to={to}"), Value::Null)
        .await;
    assert_eq!(changes, json!({"changed": [alice.id], "left": []}));
    let nothing = alice
        .ok("GET", &format!("/keys/changes?from={to}&to={to}"), Value::Null)
        .await;
    assert_eq!(nothing, json!({"changed": [], "left": []}));
    for (query, errcode) in [("to=x", "M_MISSING_PARAM"), ("from=x&to=y", "M_INVALID_PARAM")] {
        let (status, error) = alice.call("GET", &format!("/keys/changes?{query}"), Value::Null).await;
        assert_eq!((status, &error["errcode"]), (StatusCode::BAD_REQUEST, &json!(errcode)));
    }
}

#[tokio::test]
async fn a_device_cannot_be_called_like_a_cross_signing_key() {
    let app = app();
    let alice = Person::new(&app, "alice").await;
    alice
        .ok("POST", "/keys/upload", json!({"device_keys": alice.device_keys()}))
        .await;
    let master = Ed25519SecretKey::new();
    let keys = alice.cross_signing_keys(&master, &Ed25519SecretKey::new());
    alice.ok("POST", "/keys/device_signing/upload", keys).await;
    let mut login = alice.password();
    login["device_id"] = json!(master.public_key().to_base64());
    let (status, error) = alice.call("POST", "/login", login.clone()).await;
    assert_eq!(
        (status, &error["errcode"]),
        (StatusCode::FORBIDDEN, &json!("M_FORBIDDEN"))
    );
    login["device_id"] = json!("TABLET");
    alice.ok("POST", "/login", login).await;
}

#[tokio::test]
async fn a_closed_account_leaves_no_keys() {
    let app = app();
    let (alice, bob) = (Person::new(&app, "alice").await, Person::new(&app, "bob").await);
    let upload = json!({"device_keys": alice.device_keys(), "one_time_keys": alice.one_time_keys(3)});
    alice.ok("POST", "/keys/upload", upload).await;
    let keys = alice.cross_signing_keys(&Ed25519SecretKey::new(), &Ed25519SecretKey::new());
    alice.ok("POST", "/keys/device_signing/upload", keys).await;
    let backup = json!({"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "x"}});
    for _ in 0..2 {
        let version = alice.ok("POST", "/room_keys/version", backup.clone()).await["version"].clone();
        let key = json!({"first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": {"c": "secret"}});
        let path = format!("/room_keys/keys/!r:example.org/s?version={}", version.as_str().unwrap());
        alice.ok("PUT", &path, key).await;
    }
    let closed = alice
        .ok("POST", "/account/deactivate", json!({"auth": alice.password()}))
        .await;
    assert_eq!(closed, json!({"id_server_unbind_result": "success"}));

    let seen = bob
        .ok("POST", "/keys/query", json!({"device_keys": {&alice.id: []}}))
        .await;
    for of in ["device_keys", "master_keys", "self_signing_keys"] {
        assert!(
            seen[of][&alice.id].as_object().is_none_or(serde_json::Map::is_empty),
            "{seen}"
        );
    }
    let read = app.store.read();
    let user = lamchat_accounts::user::num(&read, <&ruma::UserId>::try_from(alice.id.as_str()).unwrap())
        .unwrap()
        .unwrap();
    assert!(lamchat_keys::backup::newest(&read, user).unwrap().is_none());
    for table in lamchat_keys::TABLES {
        let mut left = 0;
        read.scan(
            *table,
            &KeyRange::prefix(&user.to_key()),
            lamchat_store::Order::Ascending,
            &mut |_, value| {
                // A deleted backup version stays as a mark, so that its number is not given again.
                left += usize::from(!value.windows(14).any(|bytes| bytes == b"\"deleted\":true"));
                std::ops::ControlFlow::Continue(())
            },
        )
        .unwrap();
        // Some tables are keyed by device numbers or positions: what may lie under the same number is that, not keys.
        let is_by_user = ["keys.device", "keys.cross_signing", "keys.user_signature"].contains(&table.name)
            || table.name.starts_with("keys.backup");
        assert!(!is_by_user || left == 0, "{}: {left}", table.name);
    }
}
