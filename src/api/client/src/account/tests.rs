//! Tests.
#![expect(clippy::panic, reason = "tests")]

use crate::testing::{self, PASSWORD, call};
use serde_json::{Value, json};

const ACCOUNT: &str = "/_matrix/client/v3/account";

fn auth(password: &str) -> Value {
    json!({"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": password})
}

fn login(password: &str, device: &str) -> Value {
    json!({
        "type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": password,
        "device_id": device,
    })
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{name} in {body}"))
}

#[tokio::test]
async fn somebody_is_told_who_they_are() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let (status, body) = call(&app, "GET", &format!("{ACCOUNT}/whoami"), Some(&alice), None).await;
    assert_eq!(
        (status.as_u16(), body),
        (200, json!({"user_id": "@alice:example.org", "device_id": "ALICEPHONE"}))
    );
    let (status, error) = call(&app, "GET", &format!("{ACCOUNT}/whoami"), None, None).await;
    assert_eq!((status.as_u16(), text(&error, "errcode")), (401, "M_MISSING_TOKEN"));
    let (_, body) = call(&app, "GET", &format!("{ACCOUNT}/3pid"), Some(&alice), None).await;
    assert_eq!(body, json!({"threepids": []}));
}

#[tokio::test]
async fn addresses_and_numbers_are_not_known() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    for (path, token, status, errcode) in [
        ("account/3pid/add", Some(&alice), 403, "M_THREEPID_DENIED"),
        ("account/3pid/add", None, 401, "M_MISSING_TOKEN"),
        (
            "account/3pid/email/requestToken",
            None,
            400,
            "M_THREEPID_MEDIUM_NOT_SUPPORTED",
        ),
        (
            "register/msisdn/requestToken",
            None,
            400,
            "M_THREEPID_MEDIUM_NOT_SUPPORTED",
        ),
    ] {
        let path = format!("/_matrix/client/v3/{path}");
        let (got, error) = call(&app, "POST", &path, token.map(String::as_str), Some(json!({}))).await;
        assert_eq!((got.as_u16(), text(&error, "errcode")), (status, errcode), "{path}");
    }
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_if_asked() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let log_in = async |password: &str, device: &str| {
        call(
            &app,
            "POST",
            "/_matrix/client/v3/login",
            None,
            Some(login(password, device)),
        )
        .await
    };
    let tablet = text(&log_in(PASSWORD, "TABLET").await.1, "access_token").to_owned();
    let path = format!("{ACCOUNT}/password");
    let whoami = format!("{ACCOUNT}/whoami");
    let (status, _) = call(
        &app,
        "POST",
        &path,
        Some(&alice),
        Some(json!({"new_password": "second one"})),
    )
    .await;
    assert_eq!(status, 401);
    let body = json!({"new_password": "", "auth": auth(PASSWORD)});
    let (status, error) = call(&app, "POST", &path, Some(&alice), Some(body)).await;
    assert_eq!((status.as_u16(), text(&error, "errcode")), (400, "M_WEAK_PASSWORD"));

    let body = json!({"new_password": "second one", "logout_devices": false, "auth": auth(PASSWORD)});
    assert_eq!(call(&app, "POST", &path, Some(&alice), Some(body)).await.0, 200);
    assert_eq!(log_in(PASSWORD, "X").await.0, 403);
    assert_eq!(call(&app, "GET", &whoami, Some(&tablet), None).await.0, 200);

    let body = json!({"new_password": "third one", "auth": auth("second one")});
    assert_eq!(call(&app, "POST", &path, Some(&alice), Some(body)).await.0, 200);
    assert_eq!(call(&app, "GET", &whoami, Some(&tablet), None).await.0, 401);
    assert_eq!(call(&app, "GET", &whoami, Some(&alice), None).await.0, 200);
    assert_eq!(log_in("third one", "X").await.0, 200);
}

#[tokio::test]
async fn a_closed_account_stays_closed() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let name = "/_matrix/client/v3/profile/@alice:example.org/displayname";
    assert_eq!(
        call(&app, "PUT", name, Some(&alice), Some(json!({"displayname": "Alice"})))
            .await
            .0,
        200
    );
    let path = format!("{ACCOUNT}/deactivate");
    assert_eq!(
        call(&app, "POST", &path, Some(&alice), Some(json!({"auth": auth("wrong")})))
            .await
            .0,
        401
    );
    let body = json!({"erase": true, "auth": auth(PASSWORD)});
    let (status, body) = call(&app, "POST", &path, Some(&alice), Some(body)).await;
    assert_eq!(
        (status.as_u16(), body),
        (200, json!({"id_server_unbind_result": "success"}))
    );
    assert_eq!(
        call(&app, "GET", &format!("{ACCOUNT}/whoami"), Some(&alice), None)
            .await
            .0,
        401
    );
    assert_eq!(call(&app, "GET", name, None, None).await.0, 404);
    let (status, error) = call(
        &app,
        "POST",
        "/_matrix/client/v3/login",
        None,
        Some(login(PASSWORD, "X")),
    )
    .await;
    assert_eq!((status.as_u16(), text(&error, "errcode")), (403, "M_USER_DEACTIVATED"));
    let again = json!({"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}});
    let (_, error) = call(&app, "POST", "/_matrix/client/v3/register", None, Some(again)).await;
    assert_eq!(text(&error, "errcode"), "M_USER_IN_USE");
}
