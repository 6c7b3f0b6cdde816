//! Tests.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{DONE, POLICY};
use crate::testing::{self, PASSWORD, call, call_bytes};
use crate::{App, RegistrationMode, Settings};
use lamchat_identity::registration_token::{self, NewRegistrationToken};
use lamchat_rules::sign::sha256;
use ruma::serde::Base64;
use ruma::serde::base64::Standard;
use serde_json::{Value, json};
use std::sync::Arc;

const REGISTER: &str = "/_matrix/client/v3/register";

async fn post(app: &Arc<App>, stage: &str, session: &str, form: &str) -> (u16, String) {
    let uri = format!("/_matrix/client/v3/auth/{stage}/fallback/web?session={session}");
    let (status, body) = call_bytes(app, "POST", &uri, None, form.into()).await;
    (status.as_u16(), String::from_utf8(body).unwrap())
}

#[test]
fn the_policy_allows_the_script_and_no_other() {
    // Without the padding.
    let digest = Base64::<Standard, _>::new(sha256(DONE.as_bytes())).encode();
    assert!(POLICY.contains(&format!("'sha256-{digest}='")), "{digest}");
}

#[tokio::test]
async fn a_client_that_knows_no_tokens_registers_with_one() {
    let app = testing::app();
    let settings = Settings {
        registration_mode: RegistrationMode::Token,
        ..(**app.settings.load()).clone()
    };
    app.settings.store(Arc::new(settings));
    let new = NewRegistrationToken {
        token: "sesame".to_owned(),
        uses_allowed: Some(1),
        expires_at_ms: None,
        now_ms: 0,
    };
    app.store
        .write(move |txn| registration_token::create(txn, new))
        .await
        .unwrap();
    let body = json!({"username": "alice", "password": PASSWORD});
    let (_, asked) = call(&app, "POST", REGISTER, None, Some(body.clone())).await;
    let session = asked["session"].as_str().unwrap().to_owned();
    let stage = "m.login.registration_token";
    let uri = format!("/_matrix/client/v3/auth/{stage}/fallback/web?session={session}");
    let (status, form) = call_bytes(&app, "GET", &uri, None, Vec::new()).await;
    assert_eq!(status, 200);
    assert!(String::from_utf8(form).unwrap().contains("Registration token"));
    let with_session = |body: &Value| {
        let mut body = body.clone();
        body["auth"] = json!({"session": session});
        body
    };
    // Not before it is done.
    let (status, _) = call(&app, "POST", REGISTER, None, Some(with_session(&body))).await;
    assert_eq!(status, 401);
    let (status, page) = post(&app, stage, &session, "answer=wrong").await;
    assert_eq!((status, page.contains("onAuthDone")), (401, false));
    let (status, page) = post(&app, stage, &session, "answer=sesame").await;
    assert_eq!((status, page.contains("onAuthDone")), (200, true), "{page}");
    let (status, made) = call(&app, "POST", REGISTER, None, Some(with_session(&body))).await;
    assert_eq!(
        (status.as_u16(), &made["user_id"]),
        (200, &json!("@alice:example.org")),
        "{made}"
    );
    // The session is used up, and so is the token.
    let other = json!({"username": "bob", "password": PASSWORD});
    let (status, _) = call(&app, "POST", REGISTER, None, Some(with_session(&other))).await;
    assert_eq!(status, 401);
    assert_eq!(post(&app, stage, &session, "answer=sesame").await.0, 404);
}

#[tokio::test]
async fn a_password_can_be_typed_there_too() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let path = "/_matrix/client/v3/delete_devices";
    let body = json!({"devices": ["OLD"]});
    let (_, asked) = call(&app, "POST", path, Some(&alice), Some(body.clone())).await;
    let session = asked["session"].as_str().unwrap();
    assert_eq!(post(&app, "m.login.password", session, "answer=wrong").await.0, 401);
    let form = format!("answer={}", PASSWORD.replace(' ', "+"));
    assert_eq!(post(&app, "m.login.password", session, &form).await.0, 200);
    let done = json!({"devices": ["OLD"], "auth": {"session": session}});
    assert_eq!(call(&app, "POST", path, Some(&alice), Some(done)).await.0, 200);
    for (stage, session) in [
        ("m.login.recaptcha", session),
        ("m.login.password", "x"),
        ("m.login.dummy", session),
    ] {
        assert_eq!(post(&app, stage, session, "").await.0, 404);
    }
}
