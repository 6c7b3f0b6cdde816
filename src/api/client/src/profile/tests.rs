//! Tests.

use crate::testing::{self, call, call_bytes};
use serde_json::{Value, json};
use std::future::Future;

const ALICE: &str = "/_matrix/client/v3/profile/@alice:example.org";

fn errcode(body: &Value) -> &str {
    body.get("errcode").and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test]
async fn profiles_are_shown_and_changed() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    assert_eq!(
        call(&app, "GET", ALICE, None, None).await,
        (http::StatusCode::OK, json!({}))
    );
    for (field, value) in [
        ("displayname", json!("Alice")),
        ("avatar_url", json!("mxc://example.org/face")),
        ("m.tz", json!("Europe/Vienna")),
        ("org.example.deep", json!({"a": [1, null]})),
    ] {
        let path = format!("{ALICE}/{field}");
        let body = json!({ field: value });
        assert_eq!(call(&app, "GET", &path, None, None).await.0, 404);
        let (status, answer) = call(&app, "PUT", &path, Some(&alice), Some(body.clone())).await;
        assert_eq!((status.as_u16(), answer), (200, json!({})), "{field}");
        assert_eq!(call(&app, "GET", &path, None, None).await, (status, body));
    }
    let (_, all) = call(&app, "GET", &ALICE.replace("v3", "r0"), Some(&alice), None).await;
    assert_eq!(
        all,
        json!({
            "displayname": "Alice", "avatar_url": "mxc://example.org/face", "m.tz": "Europe/Vienna",
            "org.example.deep": {"a": [1, null]},
        })
    );
    let path = format!("{ALICE}/m.tz");
    assert_eq!(call(&app, "DELETE", &path, Some(&alice), None).await.0, 200);
    assert_eq!(call(&app, "DELETE", &path, Some(&alice), None).await.0, 200);
    assert_eq!(call(&app, "GET", &path, None, None).await.0, 404);
    let path = format!("{ALICE}/displayname");
    assert_eq!(
        call(&app, "PUT", &path, Some(&alice), Some(json!({"displayname": null})))
            .await
            .0,
        200
    );
    assert_eq!(call(&app, "GET", &path, None, None).await.0, 404);
}

#[tokio::test]
async fn refusals_have_their_codes() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let bob = testing::register(&app, "bob").await;
    for (field, body, status, code) in [
        ("displayname", json!({"name": "x"}), 400, "M_MISSING_PARAM"),
        ("displayname", json!({"displayname": 7}), 400, "M_INVALID_PARAM"),
        ("displayname", json!([]), 400, "M_BAD_JSON"),
        (
            "avatar_url",
            json!({"avatar_url": "https://example.org/"}),
            400,
            "M_INVALID_PARAM",
        ),
        ("UPPER", json!({"UPPER": 1}), 400, "M_INVALID_PARAM"),
        (
            "displayname",
            json!({"displayname": "x".repeat(5000)}),
            400,
            "M_PROFILE_TOO_LARGE",
        ),
        (
            "org.example.x",
            json!({"org.example.x": "x".repeat(70_000)}),
            400,
            "M_PROFILE_TOO_LARGE",
        ),
    ] {
        let (got, error) = call(&app, "PUT", &format!("{ALICE}/{field}"), Some(&alice), Some(body)).await;
        assert_eq!((got.as_u16(), errcode(&error)), (status, code), "{field}");
    }
    let long = "x".repeat(256);
    let (status, error) = call(
        &app,
        "PUT",
        &format!("{ALICE}/{long}"),
        Some(&alice),
        Some(json!({ long.as_str(): 1 })),
    )
    .await;
    assert_eq!((status.as_u16(), errcode(&error)), (400, "M_KEY_TOO_LARGE"));
    let name = json!({"displayname": "Mallory"});
    let (status, error) = call(
        &app,
        "PUT",
        &format!("{ALICE}/displayname"),
        Some(&bob),
        Some(name.clone()),
    )
    .await;
    assert_eq!((status.as_u16(), errcode(&error)), (403, "M_FORBIDDEN"));
    assert_eq!(
        call(&app, "DELETE", &format!("{ALICE}/displayname"), Some(&bob), None)
            .await
            .0,
        403
    );
    assert_eq!(
        call(&app, "PUT", &format!("{ALICE}/displayname"), None, Some(name))
            .await
            .0,
        401
    );
    for user in ["@nobody:example.org", "@alice:elsewhere.org"] {
        let (status, error) = call(&app, "GET", &format!("/_matrix/client/v3/profile/{user}"), None, None).await;
        assert_eq!((status.as_u16(), errcode(&error)), (404, "M_NOT_FOUND"));
    }
    let (status, error) = call(&app, "GET", "/_matrix/client/v3/profile/alice", None, None).await;
    assert_eq!((status.as_u16(), errcode(&error)), (400, "M_INVALID_PARAM"));
    let (status, _) = call_bytes(
        &app,
        "PUT",
        &format!("{ALICE}/displayname"),
        Some(&alice),
        b"{\"displayname\"".to_vec(),
    )
    .await;
    assert_eq!(status, 400);
}

/// A request whose client hangs up as soon as it is sent.
async fn hung_up(app: &std::sync::Arc<crate::App>, method: &'static str, uri: String, token: String, body: Value) {
    let mut request = Box::pin(call(app, method, &uri, Some(&token), Some(body)));
    let answered = std::future::poll_fn(|context| std::task::Poll::Ready(request.as_mut().poll(context).is_ready()));
    assert!(!answered.await, "{uri} was answered before the client could hang up");
}

#[tokio::test]
async fn what_was_begun_is_carried_out_when_the_client_hangs_up() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let mut rooms = Vec::new();
    for _ in 0..10 {
        let (status, room) = call(
            &app,
            "POST",
            "/_matrix/client/v3/createRoom",
            Some(&alice),
            Some(json!({"preset": "public_chat"})),
        )
        .await;
        assert_eq!(status, 200, "{room}");
        rooms.extend(room.get("room_id").and_then(Value::as_str).map(str::to_owned));
    }
    let bob = testing::register(&app, "bob").await;
    for room in &rooms {
        let path = format!("/_matrix/client/v3/rooms/{room}/join");
        assert_eq!(call(&app, "POST", &path, Some(&bob), Some(json!({}))).await.0, 200);
    }
    let shows = async |what: &str, expected: Value| {
        for room in &rooms {
            let path = format!("/_matrix/client/v3/rooms/{room}/state/m.room.member/@alice:example.org");
            let is_shown = async || {
                let (_, member) = call(&app, "GET", &path, Some(&bob), None).await;
                member.get(what) == Some(&expected)
            };
            let mut tries = 0;
            while !is_shown().await {
                tries += 1;
                assert!(tries < 1_000, "{room} does not show {what} {expected}");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    };
    let name = json!({"displayname": "Alice"});
    hung_up(&app, "PUT", format!("{ALICE}/displayname"), alice.clone(), name).await;
    shows("displayname", json!("Alice")).await;

    let auth = json!({
        "type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": testing::PASSWORD,
    });
    let close = "/_matrix/client/v3/account/deactivate".to_owned();
    hung_up(&app, "POST", close, alice.clone(), json!({ "auth": auth })).await;
    shows("membership", json!("leave")).await;
    let whoami = "/_matrix/client/v3/account/whoami";
    let mut tries = 0;
    while call(&app, "GET", whoami, Some(&alice), None).await.0 != 401 {
        tries += 1;
        assert!(tries < 1_000, "the account is still open");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
