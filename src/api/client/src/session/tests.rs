//! Tests.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::limit::RateSettings;
use crate::testing::{self, PASSWORD, call, call_bytes};
use crate::{App, Settings};
use http::StatusCode;
use lamchat_accounts::{account, user};
use lamchat_http::Rate;
use serde_json::{Value, json};
use std::sync::Arc;

const LOGIN: &str = "/_matrix/client/v3/login";

fn login(user: &str, password: &str) -> Value {
    json!({"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user}, "password": password})
}

async fn post(app: &Arc<App>, path: &str, token: Option<&str>, body: Value) -> (StatusCode, Value) {
    call(app, "POST", path, token, Some(body)).await
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{name} in {body}"))
}

#[tokio::test]
async fn login_offers_passwords() {
    let app = testing::app();
    for path in [LOGIN, "/_matrix/client/r0/login"] {
        let (status, body) = call(&app, "GET", path, None, None).await;
        assert_eq!(
            (status.as_u16(), body),
            (
                200,
                json!({"flows": [{"type": "m.login.password"}, {"type": "m.login.token", "get_login_token": true}]})
            )
        );
    }
}

#[tokio::test]
async fn a_user_logs_in_under_all_their_names() {
    let app = testing::app();
    testing::register(&app, "alice").await;
    for name in ["alice", "@alice:example.org", "Alice"] {
        let (status, body) = post(&app, LOGIN, None, login(name, PASSWORD)).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(text(&body, "user_id"), "@alice:example.org");
        assert_eq!(text(&body, "home_server"), "example.org");
        assert!(text(&body, "access_token").starts_with("lct_"));
        assert!(body.get("refresh_token").is_none() && body.get("expires_in_ms").is_none());
    }
    let old = json!({"type": "m.login.password", "user": "alice", "password": PASSWORD, "device_id": "D"});
    let (status, body) = post(&app, LOGIN, None, old).await;
    assert_eq!((status.as_u16(), text(&body, "device_id")), (200, "D"));
}

#[tokio::test]
async fn wrong_logins_have_their_codes() {
    let app = testing::app();
    testing::register(&app, "alice").await;
    for (body, status, errcode) in [
        (login("alice", "wrong"), 403, "M_FORBIDDEN"),
        (login("alice", ""), 403, "M_FORBIDDEN"),
        (login("nobody", PASSWORD), 403, "M_FORBIDDEN"),
        (login("@alice:elsewhere.org", PASSWORD), 403, "M_FORBIDDEN"),
        (login("", PASSWORD), 403, "M_FORBIDDEN"),
        (login("al\0ice", PASSWORD), 403, "M_FORBIDDEN"),
        (
            json!({"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}),
            400,
            "M_MISSING_PARAM",
        ),
        (
            json!({"type": "m.login.password", "password": "x"}),
            400,
            "M_MISSING_PARAM",
        ),
        (
            json!({"type": "m.login.password", "password": "x", "identifier": {}}),
            400,
            "M_MISSING_PARAM",
        ),
        (
            json!({"type": "m.login.password", "password": "x", "identifier": {"type": "m.id.secret"}}),
            400,
            "M_UNKNOWN",
        ),
        (
            json!({"type": "m.login.password", "password": "x",
                "identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "a@b"}}),
            403,
            "M_FORBIDDEN",
        ),
        (
            json!({"type": "m.login.password", "password": "x", "medium": "email", "address": "a@b"}),
            403,
            "M_FORBIDDEN",
        ),
        (json!({"type": "m.login.token", "token": "x"}), 403, "M_FORBIDDEN"),
        (json!({"type": "m.login.token"}), 400, "M_MISSING_PARAM"),
        (json!({"type": "org.example"}), 400, "M_UNKNOWN"),
        (json!({"type": 7}), 400, "M_BAD_JSON"),
        (json!({}), 400, "M_MISSING_PARAM"),
        (json!([]), 400, "M_BAD_JSON"),
        (json!({"type": "m.login.password", "password": 7}), 400, "M_BAD_JSON"),
    ] {
        let (got, error) = post(&app, LOGIN, None, body.clone()).await;
        assert_eq!(got.as_u16(), status, "{body} {error}");
        // An array in place of the object can be told in two ways.
        if body.is_object() {
            assert_eq!(text(&error, "errcode"), errcode, "{body} {error}");
        }
    }
    let (status, _) = call_bytes(&app, "POST", LOGIN, None, b"{".to_vec()).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn failing_logins_are_throttled_and_right_ones_are_not() {
    let app = testing::app();
    testing::register(&app, "alice").await;
    let slow = Rate {
        per_second: 0.001,
        burst: 3,
    };
    let rates = RateSettings {
        enabled: true,
        login_by_account: slow,
        ..RateSettings::default()
    };
    app.settings.store(Arc::new(Settings {
        rates,
        ..Settings::default()
    }));
    for _ in 0..6 {
        assert_eq!(post(&app, LOGIN, None, login("alice", PASSWORD)).await.0, 200);
    }
    for name in ["alice", "nobody"] {
        for _ in 0..3 {
            assert_eq!(post(&app, LOGIN, None, login(name, "wrong")).await.0, 403);
        }
        let (status, error) = post(&app, LOGIN, None, login(name, PASSWORD)).await;
        assert_eq!((status.as_u16(), text(&error, "errcode")), (429, "M_LIMIT_EXCEEDED"));
        assert!(error.get("retry_after_ms").is_some());
    }
}

#[tokio::test]
async fn deactivated_accounts_say_so() {
    let app = testing::app();
    testing::register(&app, "alice").await;
    let id = ruma::user_id!("@alice:example.org");
    let user = user::num(&app.store.read(), id).unwrap().unwrap();
    app.store
        .write(move |txn| account::deactivate(txn, user, false))
        .await
        .unwrap();
    let (status, error) = post(&app, LOGIN, None, login("alice", PASSWORD)).await;
    assert_eq!((status.as_u16(), text(&error, "errcode")), (403, "M_USER_DEACTIVATED"));
}

#[tokio::test]
async fn tokens_are_refreshed() {
    let app = testing::app();
    testing::register(&app, "alice").await;
    let mut body = login("alice", PASSWORD);
    body.as_object_mut()
        .unwrap()
        .insert("refresh_token".to_owned(), json!(true));
    let (_, opened) = post(&app, LOGIN, None, body).await;
    assert_eq!(opened.get("expires_in_ms"), Some(&json!(3_600_000)));
    let refresh = |token: &str| json!({"refresh_token": token});
    let path = "/_matrix/client/v3/refresh";
    let (status, first) = post(&app, path, None, refresh(text(&opened, "refresh_token"))).await;
    assert_eq!(status, 200);
    assert_eq!(first.get("expires_in_ms"), Some(&json!(3_600_000)));
    // The answer was lost; the client asks again, gets another pair and uses it.
    let (_, second) = post(&app, path, None, refresh(text(&opened, "refresh_token"))).await;
    let who = "/_matrix/client/v3/account/whoami";
    assert_eq!(
        call(&app, "GET", who, Some(text(&first, "access_token")), None).await.0,
        401
    );
    assert_eq!(
        call(&app, "GET", who, Some(text(&second, "access_token")), None)
            .await
            .0,
        200
    );
    for over in [
        text(&opened, "refresh_token"),
        text(&first, "refresh_token"),
        "",
        "lcr_x",
    ] {
        let (status, error) = post(&app, path, None, refresh(over)).await;
        assert_eq!((status.as_u16(), text(&error, "errcode")), (401, "M_UNKNOWN_TOKEN"));
    }
    assert_eq!(
        call(&app, "GET", who, Some(text(&opened, "access_token")), None)
            .await
            .0,
        401
    );
    let (status, error) = post(&app, path, None, json!({})).await;
    assert_eq!((status.as_u16(), text(&error, "errcode")), (400, "M_MISSING_PARAM"));
}

#[tokio::test]
async fn logging_out_ends_this_session_or_all() {
    let app = testing::app();
    let phone = testing::register(&app, "alice").await;
    let other = |body: Value| text(&body, "access_token").to_owned();
    let tablet = other(post(&app, LOGIN, None, login("alice", PASSWORD)).await.1);
    let laptop = other(post(&app, LOGIN, None, login("alice", PASSWORD)).await.1);
    let who = "/_matrix/client/v3/account/whoami";
    assert_eq!(
        post(&app, "/_matrix/client/v3/logout", Some(&phone), json!({})).await,
        (StatusCode::OK, json!({}))
    );
    let (status, error) = call(&app, "GET", who, Some(&phone), None).await;
    assert_eq!((status.as_u16(), text(&error, "errcode")), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(error.get("soft_logout"), Some(&json!(false)));
    assert_eq!(call(&app, "GET", who, Some(&tablet), None).await.0, 200);
    assert_eq!(
        post(&app, "/_matrix/client/v3/logout/all", Some(&tablet), json!({}))
            .await
            .0,
        200
    );
    for token in [&tablet, &laptop] {
        assert_eq!(call(&app, "GET", who, Some(token), None).await.0, 401);
    }
}
