//! Tests.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::may;
use crate::testing::{self, PASSWORD, call};
use crate::{App, Settings};
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;

#[test]
fn only_what_is_listed_is_allowed() {
    for (method, path, expected) in [
        (Method::GET, "/_matrix/client/v3/sync", true),
        (Method::HEAD, "/_matrix/client/v3/sync", true),
        (Method::GET, "/_matrix/client/r0/sync", true),
        (Method::POST, "/_matrix/client/v3/sync", false),
        (Method::GET, "/_matrix/client/v3/rooms/!r/state/m.room.name/", true),
        (Method::PUT, "/_matrix/client/v3/rooms/!r/state/m.room.name", true),
        (Method::PUT, "/_matrix/client/v3/profile/@g:x/displayname", true),
        (Method::PUT, "/_matrix/client/v3/profile/@g:x/avatar_url", false),
        (Method::POST, "/_matrix/client/v3/createRoom", false),
        (Method::GET, "/_matrix/client/v3/devices/A/B", false),
        (Method::POST, "/_matrix/media/v3/upload", false),
        (Method::GET, "/_matrix/client/v1/media/download/x/y", true),
    ] {
        assert_eq!(may(&method, path), expected, "{method} {path}");
    }
}

fn app_with_guests(guests: bool) -> Arc<App> {
    let app = testing::app();
    let settings = Settings {
        guests,
        ..(**app.settings.load()).clone()
    };
    app.settings.store(Arc::new(settings));
    app
}

async fn ask(app: &Arc<App>, method: &str, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
    let path = format!("/_matrix/client/v3{path}");
    let (status, answer) = call(app, method, &path, Some(token), body).await;
    (status.as_u16(), answer)
}

const REGISTER: &str = "/_matrix/client/v3/register";

#[tokio::test]
async fn guests_come_in_where_they_may_and_go_when_they_may_not() {
    let app = app_with_guests(true);
    let alice = testing::register(&app, "alice").await;
    let body = json!({"initial_device_display_name": "Phone", "username": "ignored", "device_id": "IGNORED"});
    let kind = format!("{REGISTER}?kind=guest");
    let (status, made) = call(&app, "POST", &kind, None, Some(body)).await;
    assert_eq!(status, 200, "{made}");
    let (guest, id) = (
        made["access_token"].as_str().unwrap(),
        made["user_id"].as_str().unwrap(),
    );
    assert_ne!((id, &made["device_id"]), ("@ignored:example.org", &json!("IGNORED")));
    let (_, me) = ask(&app, "GET", "/account/whoami", guest, None).await;
    assert_eq!((&me["is_guest"], &me["user_id"]), (&json!(true), &json!(id)));
    let (status, error) = ask(&app, "POST", "/createRoom", guest, Some(json!({}))).await;
    assert_eq!((status, &error["errcode"]), (403, &json!("M_GUEST_ACCESS_FORBIDDEN")));

    let room = async |access: &str| {
        let guests = json!([{"type": "m.room.guest_access", "content": {"guest_access": access}}]);
        let body = json!({"preset": "public_chat", "initial_state": guests});
        let (_, room) = ask(&app, "POST", "/createRoom", &alice, Some(body)).await;
        room["room_id"].as_str().unwrap().to_owned()
    };
    let (open, closed) = (room("can_join").await, room("forbidden").await);
    let join = async |room: &str| ask(&app, "POST", &format!("/rooms/{room}/join"), guest, Some(json!({}))).await;
    let (status, error) = join(&closed).await;
    assert_eq!((status, &error["errcode"]), (403, &json!("M_GUEST_ACCESS_FORBIDDEN")));
    assert_eq!(join(&open).await.0, 200);
    let name = format!("/profile/{id}/displayname");
    let (status, _) = ask(&app, "PUT", &name, guest, Some(json!({"displayname": "Guest"}))).await;
    assert_eq!(status, 200);
    let say = format!("/rooms/{open}/send/m.room.message/1");
    let text = json!({"msgtype": "m.text", "body": "hello"});
    assert_eq!(ask(&app, "PUT", &say, guest, Some(text)).await.0, 200);
    let access = format!("/rooms/{open}/state/m.room.guest_access");
    let forbidden = json!({"guest_access": "forbidden"});
    assert_eq!(ask(&app, "PUT", &access, &alice, Some(forbidden)).await.0, 200);
    let member = format!("/rooms/{open}/state/m.room.member/{id}");
    let (_, content) = ask(&app, "GET", &member, &alice, None).await;
    assert_eq!(content["membership"], "leave");
    assert_eq!(join(&open).await.0, 403);
}

#[tokio::test]
async fn a_guest_becomes_a_user_under_the_same_name() {
    let app = app_with_guests(true);
    let (_, made) = call(&app, "POST", &format!("{REGISTER}?kind=guest"), None, Some(json!({}))).await;
    let (guest, id) = (
        made["access_token"].as_str().unwrap(),
        made["user_id"].as_str().unwrap(),
    );
    let name = id.trim_start_matches('@').split(':').next().unwrap();
    let register = async |name: &str, token: &str| {
        let body = json!({"username": name, "password": PASSWORD, "guest_access_token": token,
            "auth": {"type": "m.login.dummy"}});
        let (status, answer) = call(&app, "POST", REGISTER, None, Some(body)).await;
        (status.as_u16(), answer)
    };
    assert_eq!(register("other", guest).await.0, 403);
    assert_eq!(register(name, "wrong").await.0, 401);
    let (status, upgraded) = register(name, guest).await;
    assert_eq!((status, &upgraded["user_id"]), (200, &json!(id)), "{upgraded}");
    for token in [guest, upgraded["access_token"].as_str().unwrap()] {
        let (status, _) = ask(&app, "POST", "/createRoom", token, Some(json!({}))).await;
        assert_eq!(status, 200);
    }
    // Now it is nobody's guest account any more.
    assert_eq!(register(name, guest).await.0, 403);
}

#[tokio::test]
async fn guests_are_refused_when_there_are_to_be_none() {
    let app = app_with_guests(true);
    let (_, made) = call(&app, "POST", &format!("{REGISTER}?kind=guest"), None, Some(json!({}))).await;
    let guest = made["access_token"].as_str().unwrap();
    app.settings.store(Arc::new(Settings::default()));
    let (status, error) = ask(&app, "GET", "/sync", guest, None).await;
    assert_eq!((status, &error["errcode"]), (403, &json!("M_GUEST_ACCESS_FORBIDDEN")));
}

#[tokio::test]
async fn guests_who_do_not_come_back_lose_their_account() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let app = app_with_guests(true);
    let alice = testing::register(&app, "alice").await;
    let open = json!([{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}]);
    let body = json!({"preset": "public_chat", "initial_state": open});
    let (_, made) = ask(&app, "POST", "/createRoom", &alice, Some(body)).await;
    let room = made["room_id"].as_str().unwrap().to_owned();
    let come = async || {
        let (_, made) = call(&app, "POST", &format!("{REGISTER}?kind=guest"), None, Some(json!({}))).await;
        let token = made["access_token"].as_str().unwrap().to_owned();
        let (status, answer) = ask(&app, "POST", &format!("/join/{room}"), &token, Some(json!({}))).await;
        assert_eq!(status, 200, "{answer}");
        (token, made["user_id"].as_str().unwrap().to_owned())
    };
    let (guest, id) = come().await;
    let (upgraded, name) = come().await;
    let body = json!({"username": name.trim_start_matches('@').split(':').next().unwrap(), "password": PASSWORD,
        "guest_access_token": upgraded, "auth": {"type": "m.login.dummy"}});
    assert_eq!(call(&app, "POST", REGISTER, None, Some(body)).await.0, 200);
    let start = app.now_ms();
    let expire = async |now_ms: u64| crate::guest_expiry::expire(&app, now_ms).await.unwrap();
    assert_eq!(expire(start + 30 * DAY_MS).await, 0);
    assert_eq!(ask(&app, "GET", "/account/whoami", &guest, None).await.0, 200);
    let never = Settings {
        guest_days: 0,
        ..(**app.settings.load()).clone()
    };
    let usual = app.settings.swap(Arc::new(never));
    assert_eq!(expire(u64::MAX).await, 0);
    app.settings.store(usual);
    assert_eq!(expire(start + 30 * DAY_MS + 1).await, 1);
    let (status, error) = ask(&app, "GET", "/account/whoami", &guest, None).await;
    assert_eq!((status, &error["errcode"]), (401, &json!("M_UNKNOWN_TOKEN")));
    let member = format!("/rooms/{room}/state/m.room.member/{id}");
    assert_eq!(ask(&app, "GET", &member, &alice, None).await.1["membership"], "leave");
    // Whoever has made an account of it keeps it, and so do those who never were guests.
    assert_eq!(expire(u64::MAX).await, 0);
    for token in [&upgraded, &alice] {
        assert_eq!(ask(&app, "GET", "/account/whoami", token, None).await.0, 200);
    }
}
