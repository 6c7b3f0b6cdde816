//! Tests.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::testing::{self, PASSWORD, call};
use crate::{App, RegistrationMode, Settings};
use http::StatusCode;
use lamchat_accounts::account;
use lamchat_identity::registration_token::{self, NewRegistrationToken};
use serde_json::{Value, json};
use std::sync::Arc;

const REGISTER: &str = "/_matrix/client/v3/register";

async fn post(app: &Arc<App>, body: Value) -> (StatusCode, Value) {
    call(app, "POST", REGISTER, None, Some(body)).await
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{name} in {body}"))
}

fn with_mode(mode: RegistrationMode) -> Arc<App> {
    let app = testing::app();
    let settings = Settings {
        registration_mode: mode,
        ..(**app.settings.load()).clone()
    };
    app.settings.store(Arc::new(settings));
    app
}

fn account_body(name: &str, auth: Value) -> Value {
    json!({"username": name, "password": PASSWORD, "auth": auth})
}

#[tokio::test]
async fn the_first_answer_tells_what_is_needed() {
    let app = with_mode(RegistrationMode::Open);
    let (status, body) = post(&app, json!({})).await;
    assert_eq!(status, 401);
    assert_eq!(body.get("flows"), Some(&json!([{"stages": ["m.login.dummy"]}])));
    assert_eq!(body.get("params"), Some(&json!({})));
    assert!(body.get("errcode").is_none());
    let session = text(&body, "session");
    let auth = json!({"type": "m.login.dummy", "session": session});
    let (status, made) = post(&app, account_body("alice", auth.clone())).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(text(&made, "user_id"), "@alice:example.org");
    assert!(text(&made, "access_token").starts_with("lct_"));
    assert_eq!(text(&made, "device_id").len(), 10);
    // The session is over: it makes no second account.
    let (status, again) = post(&app, account_body("bob", auth)).await;
    assert_eq!(status, 401);
    assert_ne!(text(&again, "session"), session);
}

#[tokio::test]
async fn clients_choose_what_they_get() {
    let app = with_mode(RegistrationMode::Open);
    let (_, made) = post(
        &app,
        json!({
            "username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}, "inhibit_login": true,
        }),
    )
    .await;
    assert_eq!(text(&made, "user_id"), "@alice:example.org");
    assert!(made.get("access_token").is_none());
    let (_, made) = post(
        &app,
        json!({
            "username": "Bob", "password": PASSWORD, "auth": {"type": "m.login.dummy"}, "refresh_token": true,
            "device_id": "TABLET", "initial_device_display_name": "Bob's tablet",
        }),
    )
    .await;
    assert_eq!(
        (text(&made, "user_id"), text(&made, "device_id")),
        ("@bob:example.org", "TABLET")
    );
    assert!(text(&made, "refresh_token").starts_with("lcr_"));
    assert!(made.get("expires_in_ms").is_some());
    let token = text(&made, "access_token");
    let (_, devices) = call(&app, "GET", "/_matrix/client/v3/devices/TABLET", Some(token), None).await;
    assert_eq!(text(&devices, "display_name"), "Bob's tablet");
    // Without a name there is one all the same.
    let (status, made) = post(&app, json!({"password": PASSWORD, "auth": {"type": "m.login.dummy"}})).await;
    assert_eq!(status, 200, "{made}");
}

#[tokio::test]
async fn refusals_have_their_codes() {
    let app = with_mode(RegistrationMode::Open);
    testing::register(&app, "alice").await;
    let dummy = json!({"type": "m.login.dummy"});
    for (body, status, errcode) in [
        (account_body("alice", dummy.clone()), 400, "M_USER_IN_USE"),
        (account_body("ALICE", dummy.clone()), 400, "M_USER_IN_USE"),
        (json!({"username": "alice"}), 400, "M_USER_IN_USE"),
        (account_body("a b", dummy.clone()), 400, "M_INVALID_USERNAME"),
        (account_body("", dummy.clone()), 400, "M_INVALID_USERNAME"),
        (account_body("@x:example.org", dummy.clone()), 400, "M_INVALID_USERNAME"),
        (account_body(&"x".repeat(300), dummy.clone()), 400, "M_INVALID_USERNAME"),
        (
            json!({"username": "x", "password": "", "auth": dummy}),
            400,
            "M_WEAK_PASSWORD",
        ),
        (json!({"username": "x", "auth": dummy}), 400, "M_MISSING_PARAM"),
        (json!({"username": 7}), 400, "M_BAD_JSON"),
        (
            json!({"username": "x", "password": PASSWORD, "auth": {"type": "m.login.password"}}),
            400,
            "M_MISSING_PARAM",
        ),
        (
            json!({"username": "x", "password": PASSWORD, "auth": {"type": "org.example"}}),
            401,
            "M_UNRECOGNIZED",
        ),
        (
            json!({"username": "x", "password": PASSWORD, "auth": {"type": "m.login.registration_token", "token": "t"}}),
            401,
            "M_UNRECOGNIZED",
        ),
    ] {
        let (got, error) = post(&app, body.clone()).await;
        assert_eq!(
            (got.as_u16(), text(&error, "errcode")),
            (status, errcode),
            "{body} {error}"
        );
    }
    let (status, error) = call(
        &app,
        "POST",
        "/_matrix/client/v3/register?kind=guest",
        None,
        Some(json!({})),
    )
    .await;
    assert_eq!(
        (status.as_u16(), text(&error, "errcode")),
        (403, "M_GUEST_ACCESS_FORBIDDEN")
    );
    let closed = with_mode(RegistrationMode::Closed);
    let (status, error) = post(&closed, account_body("x", json!({"type": "m.login.dummy"}))).await;
    assert_eq!((status.as_u16(), text(&error, "errcode")), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn a_token_makes_as_many_accounts_as_it_allows() {
    let app = with_mode(RegistrationMode::Token);
    let new = NewRegistrationToken {
        token: "open-sesame".to_owned(),
        uses_allowed: Some(1),
        expires_at_ms: None,
        now_ms: 0,
    };
    app.store
        .write(move |txn| registration_token::create(txn, new))
        .await
        .unwrap();
    let validity = "/_matrix/client/v1/register/m.login.registration_token/validity?token=";
    let is_valid = async |token: &str| call(&app, "GET", &format!("{validity}{token}"), None, None).await.1;
    assert_eq!(is_valid("open-sesame").await, json!({"valid": true}));
    assert_eq!(is_valid("wrong").await, json!({"valid": false}));

    let (status, asked) = post(&app, json!({"username": "alice", "password": PASSWORD})).await;
    assert_eq!(
        (status.as_u16(), asked.get("flows")),
        (401, Some(&json!([{"stages": ["m.login.registration_token"]}])))
    );
    let auth =
        |token: &str| json!({"type": "m.login.registration_token", "token": token, "session": text(&asked, "session")});
    let (status, refused) = post(&app, account_body("alice", auth("wrong"))).await;
    assert_eq!((status.as_u16(), text(&refused, "errcode")), (401, "M_UNAUTHORIZED"));
    assert_eq!(text(&refused, "session"), text(&asked, "session"));
    // A dummy stage is no way around.
    let (status, _) = post(&app, account_body("alice", json!({"type": "m.login.dummy"}))).await;
    assert_eq!(status, 401);
    let (status, made) = post(&app, account_body("alice", auth("open-sesame"))).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(is_valid("open-sesame").await, json!({"valid": false}));
    let again = json!({"type": "m.login.registration_token", "token": "open-sesame"});
    let (status, error) = post(&app, account_body("bob", again)).await;
    assert_eq!((status.as_u16(), text(&error, "errcode")), (401, "M_UNAUTHORIZED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_do_not_share_a_use() {
    let app = with_mode(RegistrationMode::Token);
    let new = NewRegistrationToken {
        token: "t".to_owned(),
        uses_allowed: Some(3),
        expires_at_ms: None,
        now_ms: 0,
    };
    app.store
        .write(move |txn| registration_token::create(txn, new))
        .await
        .unwrap();
    let tasks: Vec<_> = (0..12)
        .map(|number| {
            let app = Arc::clone(&app);
            let body = account_body(
                &format!("user{number}"),
                json!({"type": "m.login.registration_token", "token": "t"}),
            );
            tokio::spawn(async move { post(&app, body).await.0 })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        let status = task.await.unwrap();
        assert!(matches!(status.as_u16(), 200 | 401 | 403), "{status}");
        made += usize::from(status == 200);
    }
    assert_eq!(made, 3);
    assert_eq!(
        account::list(&app.store.read(), lamchat_base::UserNum(0), 100)
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn the_first_token_makes_an_administrator() {
    let app = with_mode(RegistrationMode::Token);
    app.store
        .write(|txn| registration_token::for_first_admin(txn, "first", 0))
        .await
        .unwrap();
    let auth = json!({"type": "m.login.registration_token", "token": "first"});
    let (status, _) = post(&app, account_body("alice", auth)).await;
    assert_eq!(status, 200);
    let account = account::by_id(&app.store.read(), ruma::user_id!("@alice:example.org"))
        .unwrap()
        .unwrap();
    assert!(account.standing.is_admin());
}

#[tokio::test]
async fn names_are_free_or_taken() {
    let app = with_mode(RegistrationMode::Open);
    testing::register(&app, "alice").await;
    let path = "/_matrix/client/v3/register/available?username=";
    let ask = async |name: &str| call(&app, "GET", &format!("{path}{name}"), None, None).await;
    assert_eq!(ask("bob").await, (StatusCode::OK, json!({"available": true})));
    for (name, errcode) in [
        ("alice", "M_USER_IN_USE"),
        ("a%20b", "M_INVALID_USERNAME"),
        ("", "M_INVALID_USERNAME"),
    ] {
        let (status, error) = ask(name).await;
        assert_eq!((status.as_u16(), text(&error, "errcode")), (400, errcode));
    }
}
