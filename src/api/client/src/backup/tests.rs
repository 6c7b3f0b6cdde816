#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::testing::{app, call};
use http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn a_backup_from_its_making_to_its_end() {
    let app = app();
    let registered =
        json!({"username": "alice", "password": "correct horse battery", "auth": {"type": "m.login.dummy"}});
    let (_, account) = call(&app, "POST", "/_matrix/client/v3/register", None, Some(registered)).await;
    let token = account["access_token"].as_str().unwrap();
    let ask = async |method: &str, path: &str, body: Value| {
        let body = (!body.is_null()).then_some(body);
        call(
            &app,
            method,
            &format!("/_matrix/client/v3/room_keys/{path}"),
            Some(token),
            body,
        )
        .await
    };
    let is = |answer: &(StatusCode, Value), status: u16, errcode: &str| {
        assert_eq!(
            (answer.0.as_u16(), answer.1["errcode"].as_str()),
            (status, Some(errcode)),
            "{}",
            answer.1
        );
    };
    let made = json!({"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "x"}});
    is(&ask("GET", "version", Value::Null).await, 404, "M_NOT_FOUND");
    let version = ask("POST", "version", made.clone()).await.1["version"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = ask("GET", "version", Value::Null).await.1;
    assert_eq!(shown, ask("GET", &format!("version/{version}"), Value::Null).await.1);
    assert_eq!((&shown["auth_data"], &shown["count"]), (&made["auth_data"], &json!(0)));

    let key = json!({"first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": {"ciphertext": "c"}});
    let room = "!r%2F1:example.org";
    let (status, put) = ask("PUT", &format!("keys/{room}/s%2F%2B?version={version}"), key.clone()).await;
    assert_eq!((status, &put["count"]), (StatusCode::OK, &json!(1)));
    let all = json!({"rooms": {"!r/1:example.org": {"sessions": {"s/+": key, "two": key}}}});
    assert_eq!(
        ask("PUT", &format!("keys?version={version}"), all.clone()).await.1["count"],
        2
    );
    assert_eq!(ask("GET", &format!("keys?version={version}"), Value::Null).await.1, all);
    let of_room = all["rooms"]["!r/1:example.org"].clone();
    assert_eq!(
        ask("GET", &format!("keys/{room}?version={version}"), Value::Null)
            .await
            .1,
        of_room
    );
    assert_eq!(
        ask("PUT", &format!("keys/{room}?version={version}"), of_room).await.1["count"],
        2
    );
    assert_eq!(
        ask("GET", &format!("keys/{room}/two?version={version}"), Value::Null)
            .await
            .1,
        key
    );
    is(
        &ask("GET", &format!("keys/{room}/three?version={version}"), Value::Null).await,
        404,
        "M_NOT_FOUND",
    );
    is(&ask("GET", "keys", Value::Null).await, 400, "M_MISSING_PARAM");
    is(
        &ask("PUT", &format!("keys/{room}/x?version={version}"), json!({})).await,
        400,
        "M_BAD_JSON",
    );

    let newer = ask("POST", "version", made.clone()).await.1["version"]
        .as_str()
        .unwrap()
        .to_owned();
    let refused = ask("PUT", &format!("keys/{room}/two?version={version}"), key).await;
    is(&refused, 403, "M_WRONG_ROOM_KEYS_VERSION");
    assert_eq!(refused.1["current_version"], json!(newer));
    let mut other = made.clone();
    other["algorithm"] = json!("other");
    is(
        &ask("PUT", &format!("version/{version}"), other).await,
        400,
        "M_INVALID_PARAM",
    );
    is(&ask("PUT", "version/77", made.clone()).await, 404, "M_NOT_FOUND");
    assert_eq!(
        ask("PUT", &format!("version/{version}"), made).await,
        (StatusCode::OK, json!({}))
    );

    assert_eq!(
        ask("DELETE", &format!("keys/{room}/two?version={version}"), Value::Null)
            .await
            .1["count"],
        1
    );
    for _ in 0..2 {
        assert_eq!(
            ask("DELETE", &format!("version/{version}"), Value::Null).await,
            (StatusCode::OK, json!({}))
        );
    }
    is(
        &ask("GET", &format!("keys?version={version}"), Value::Null).await,
        404,
        "M_NOT_FOUND",
    );
    is(&ask("DELETE", "version/99", Value::Null).await, 404, "M_NOT_FOUND");
}
