//! Tests of what logs in without a password; those of passwords are with the sessions.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::testing::{self, PASSWORD, call};
use serde_json::{Value, json};

const LOGIN: &str = "/_matrix/client/v3/login";
const GET_TOKEN: &str = "/_matrix/client/v1/login/get_token";

#[tokio::test]
async fn a_login_token_lets_one_more_client_in() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let get_token = async |auth: Option<Value>| {
        let body = auth.map_or_else(|| json!({}), |auth| json!({ "auth": auth }));
        let (status, answer) = call(&app, "POST", GET_TOKEN, Some(&alice), Some(body)).await;
        (status.as_u16(), answer)
    };
    let (status, asked) = get_token(None).await;
    assert_eq!(
        (status, &asked["flows"][0]["stages"][0]),
        (401, &json!("m.login.password"))
    );
    let auth = json!({"type": "m.login.password", "session": asked["session"], "password": PASSWORD,
        "identifier": {"type": "m.id.user", "user": "alice"}});
    let (status, answer) = get_token(Some(auth.clone())).await;
    assert_eq!((status, &answer["expires_in_ms"]), (200, &json!(120_000)), "{answer}");
    // The same authentication gives no second one.
    assert_eq!(get_token(Some(auth)).await.0, 401);

    let log_in =
        json!({"type": "m.login.token", "token": answer["login_token"], "device_id": "TABLET", "refresh_token": true});
    let (status, session) = call(&app, "POST", LOGIN, None, Some(log_in.clone())).await;
    assert_eq!(status, 200, "{session}");
    assert_eq!(
        (&session["user_id"], &session["device_id"]),
        (&json!("@alice:example.org"), &json!("TABLET"))
    );
    assert!(session["refresh_token"].is_string());
    let (status, error) = call(&app, "POST", LOGIN, None, Some(log_in)).await;
    assert_eq!((status.as_u16(), &error["errcode"]), (403, &json!("M_FORBIDDEN")));
}

#[tokio::test]
async fn who_comes_for_single_sign_on_hears_that_there_is_none() {
    let app = testing::app();
    for path in ["sso/redirect?redirectUrl=x", "sso/redirect/idp?redirectUrl=x"] {
        let (status, error) = call(&app, "GET", &format!("{LOGIN}/{path}"), None, None).await;
        assert_eq!((status.as_u16(), &error["errcode"]), (404, &json!("M_NOT_FOUND")));
        assert!(error["error"].as_str().unwrap().contains("password"));
    }
}
