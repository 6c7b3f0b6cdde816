//! Tests.
#![expect(clippy::panic, reason = "tests")]

use crate::App;
use crate::testing::{self, PASSWORD, call};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

const DEVICES: &str = "/_matrix/client/v3/devices";

async fn log_in(app: &Arc<App>, name: &str, device: &str) -> String {
    let body = json!({
        "type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": PASSWORD,
        "device_id": device, "initial_device_display_name": device.to_lowercase(),
    });
    let (_, opened) = call(app, "POST", "/_matrix/client/v3/login", None, Some(body)).await;
    opened
        .get("access_token")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn password(user: &str, password: &str, session: Option<&str>) -> Value {
    let mut auth = json!({
        "type": "m.login.password", "identifier": {"type": "m.id.user", "user": user}, "password": password,
    });
    if let (Some(session), Some(auth)) = (session, auth.as_object_mut()) {
        auth.insert("session".to_owned(), session.into());
    }
    json!({ "auth": auth })
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{name} in {body}"))
}

async fn ids(app: &Arc<App>, token: &str) -> Vec<String> {
    let (_, body) = call(app, "GET", DEVICES, Some(token), None).await;
    let devices = body
        .get("devices")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    devices
        .iter()
        .map(|device| text(device, "device_id").to_owned())
        .collect()
}

#[tokio::test]
async fn devices_are_listed_without_addresses_and_renamed() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    log_in(&app, "alice", "TABLET").await;
    testing::register(&app, "bob").await;
    assert_eq!(ids(&app, &alice).await, ["ALICEPHONE", "TABLET"]);
    let path = format!("{DEVICES}/TABLET");
    let (_, device) = call(&app, "GET", &path, Some(&alice), None).await;
    assert_eq!(text(&device, "display_name"), "tablet");
    assert_eq!(device.get("last_seen_ts"), Some(&json!(1_767_225_600_000u64)));
    assert!(device.get("last_seen_ip").is_none_or(Value::is_null));
    let (status, _) = call(&app, "PUT", &path, Some(&alice), Some(json!({"display_name": "new"}))).await;
    assert_eq!(status, 200);
    let (status, _) = call(&app, "PUT", &path, Some(&alice), Some(json!({}))).await;
    assert_eq!(status, 200);
    let (_, device) = call(&app, "GET", &path, Some(&alice), None).await;
    assert_eq!(text(&device, "display_name"), "new");
    let (status, error) = call(
        &app,
        "PUT",
        &path,
        Some(&alice),
        Some(json!({"display_name": "x".repeat(1000)})),
    )
    .await;
    assert_eq!((status.as_u16(), text(&error, "errcode")), (400, "M_TOO_LARGE"));
    for (method, body) in [
        ("GET", None),
        ("PUT", Some(json!({"display_name": "x"}))),
        ("PUT", Some(json!({}))),
    ] {
        let (status, error) = call(&app, method, &format!("{DEVICES}/BOBPHONE"), Some(&alice), body).await;
        assert_eq!((status.as_u16(), text(&error, "errcode")), (404, "M_NOT_FOUND"));
    }
}

#[tokio::test]
async fn removing_a_device_needs_its_owners_password() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    testing::register(&app, "bob").await;
    let tablet = log_in(&app, "alice", "TABLET").await;
    let path = format!("{DEVICES}/TABLET");
    let (status, asked) = call(&app, "DELETE", &path, Some(&alice), None).await;
    assert_eq!(
        (status.as_u16(), asked.get("flows")),
        (401, Some(&json!([{"stages": ["m.login.password"]}])))
    );
    let session = text(&asked, "session").to_owned();
    for (user, word) in [
        ("alice", "wrong"),
        ("bob", PASSWORD),
        ("@alice:elsewhere.org", PASSWORD),
        ("", ""),
    ] {
        let (status, again) = call(
            &app,
            "DELETE",
            &path,
            Some(&alice),
            Some(password(user, word, Some(&session))),
        )
        .await;
        assert_eq!(
            (status.as_u16(), text(&again, "errcode")),
            (401, "M_FORBIDDEN"),
            "{user}"
        );
        assert_eq!(text(&again, "session"), session);
    }
    // The session is for this device and this caller only.
    let right = password("alice", PASSWORD, Some(&session));
    let other = format!("{DEVICES}/ALICEPHONE");
    let (status, again) = call(&app, "DELETE", &other, Some(&alice), Some(right.clone())).await;
    assert_eq!(status, 401);
    assert_ne!(text(&again, "session"), session);
    assert_eq!(
        call(&app, "DELETE", &path, Some(&tablet), Some(right.clone())).await.0,
        401
    );

    let (status, body) = call(&app, "DELETE", &path, Some(&alice), Some(right.clone())).await;
    assert_eq!((status, body), (StatusCode::OK, json!({})));
    assert_eq!(ids(&app, &alice).await, ["ALICEPHONE"]);
    assert_eq!(call(&app, "GET", DEVICES, Some(&tablet), None).await.0, 401);
    // Used up.
    assert_eq!(call(&app, "DELETE", &path, Some(&alice), Some(right)).await.0, 401);
}

#[tokio::test]
async fn many_devices_are_removed_at_once() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    for device in ["A", "B", "C"] {
        log_in(&app, "alice", device).await;
    }
    let path = "/_matrix/client/v3/delete_devices";
    let mut body = password("@alice:example.org", PASSWORD, None);
    if let Some(body) = body.as_object_mut() {
        body.insert("devices".to_owned(), json!(["A", "C", "A", "UNKNOWN"]));
    }
    // Who knows the flow may send all at once.
    assert_eq!(call(&app, "POST", path, Some(&alice), Some(body)).await.0, 200);
    assert_eq!(ids(&app, &alice).await, ["ALICEPHONE", "B"]);
    let (status, error) = call(&app, "POST", path, Some(&alice), Some(json!({}))).await;
    assert_eq!((status.as_u16(), text(&error, "errcode")), (400, "M_MISSING_PARAM"));
    let many: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
    assert_eq!(
        call(&app, "POST", path, Some(&alice), Some(json!({ "devices": many })))
            .await
            .0,
        413
    );
}
