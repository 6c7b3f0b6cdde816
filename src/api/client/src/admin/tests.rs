//! Tests.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::App;
use crate::testing::{self, PASSWORD, call};
use lamchat_accounts::account;
use serde_json::{Value, json};
use std::sync::Arc;

const V1: &str = "/_matrix/client/v1/admin";

/// An administrator and a user.
async fn two(app: &Arc<App>) -> (String, String) {
    let admin = testing::register(app, "admin").await;
    let alice = testing::register(app, "alice").await;
    set_admin(app, "@admin:example.org").await;
    (admin, alice)
}

async fn set_admin(app: &Arc<App>, user_id: &str) {
    let user_id: ruma::OwnedUserId = user_id.try_into().unwrap();
    let user = account::by_id(&app.store.read(), &user_id).unwrap().unwrap().user;
    app.store
        .write(move |txn| account::set_admin(txn, user, true))
        .await
        .unwrap();
}

async fn code(app: &Arc<App>, method: &str, target: &str, token: &str, body: Value) -> (u16, String) {
    let (status, answer) = call(app, method, target, Some(token), Some(body)).await;
    (
        status.as_u16(),
        answer["errcode"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn only_administrators_suspend_and_lock_and_never_each_other() {
    let app = testing::app();
    let (admin, alice) = two(&app).await;
    testing::register(&app, "boss").await;
    set_admin(&app, "@boss:example.org").await;
    for (what, name) in [("suspend", "suspended"), ("lock", "locked")] {
        let at = |user: &str| format!("{V1}/{what}/{user}");
        let on = json!({name: true});
        for (target, token, expected) in [
            ("@alice:example.org", &alice, (403, "M_FORBIDDEN")),
            // Who is no administrator learns nothing about who exists.
            ("@nobody:example.org", &alice, (403, "M_FORBIDDEN")),
            ("@alice:elsewhere.org", &alice, (403, "M_FORBIDDEN")),
            ("@alice:elsewhere.org", &admin, (400, "M_INVALID_PARAM")),
            ("@nobody:example.org", &admin, (404, "M_NOT_FOUND")),
            ("@boss:example.org", &admin, (403, "M_FORBIDDEN")),
            ("@admin:example.org", &admin, (403, "M_FORBIDDEN")),
        ] {
            for method in ["GET", "PUT"] {
                let (status, errcode) = code(&app, method, &at(target), token, on.clone()).await;
                assert_eq!((status, errcode.as_str()), expected, "{method} {what} {target}");
            }
        }
        assert_eq!(
            code(&app, "PUT", &at("@alice:example.org"), &admin, json!({})).await.0,
            400
        );
        for state in [true, false] {
            let body = json!({name: state});
            let (status, answer) = call(&app, "PUT", &at("@alice:example.org"), Some(&admin), Some(body.clone())).await;
            assert_eq!((status.as_u16(), &answer), (200, &body));
            let (_, answer) = call(&app, "GET", &at("@alice:example.org"), Some(&admin), None).await;
            assert_eq!(answer, body);
        }
    }
    let entries = lamchat_audit::log::entries(&app.store.read(), 0, 100).unwrap();
    let acts: Vec<&str> = entries.iter().map(|(_, entry)| entry.act.as_str()).collect();
    assert_eq!(acts, ["user.suspend", "user.suspend", "user.lock", "user.lock"]);
    assert_eq!(entries[0].1.subject, "@alice:example.org");
    let (_, able) = call(&app, "GET", "/_matrix/client/v3/capabilities", Some(&admin), None).await;
    assert_eq!(
        able["capabilities"]["m.account_moderation"],
        json!({"suspend": true, "lock": true})
    );
    let (_, able) = call(&app, "GET", "/_matrix/client/v3/capabilities", Some(&alice), None).await;
    assert_eq!(able["capabilities"]["m.account_moderation"], Value::Null);
}

#[tokio::test]
async fn a_locked_account_can_only_log_out() {
    let app = testing::app();
    let (admin, alice) = two(&app).await;
    let at = format!("{V1}/lock/@alice:example.org");
    let set = async |on: bool| code(&app, "PUT", &at, &admin, json!({"locked": on})).await;
    assert_eq!(set(true).await.0, 200);
    for target in ["/_matrix/client/v3/account/whoami", "/_matrix/client/v3/sync"] {
        let (status, error) = call(&app, "GET", target, Some(&alice), None).await;
        assert_eq!(
            (status.as_u16(), &error["errcode"], &error["soft_logout"]),
            (401, &json!("M_USER_LOCKED"), &json!(true))
        );
    }
    let login = json!({"type": "m.login.password", "user": "alice", "password": PASSWORD});
    let (status, error) = call(&app, "POST", "/_matrix/client/v3/login", None, Some(login)).await;
    assert_eq!(
        (status.as_u16(), &error["errcode"], &error["soft_logout"]),
        (401, &json!("M_USER_LOCKED"), &json!(true))
    );
    // The session is still there afterwards.
    assert_eq!(set(false).await.0, 200);
    let whoami = "/_matrix/client/v3/account/whoami";
    assert_eq!(code(&app, "GET", whoami, &alice, json!({})).await.0, 200);
    assert_eq!(set(true).await.0, 200);
    assert_eq!(
        code(&app, "POST", "/_matrix/client/v3/logout", &alice, json!({}))
            .await
            .0,
        200
    );
    assert_eq!(set(false).await.0, 200);
    assert_eq!(
        code(&app, "GET", whoami, &alice, json!({})).await,
        (401, "M_UNKNOWN_TOKEN".to_owned())
    );
}

#[tokio::test]
async fn a_suspended_account_reads_redacts_its_own_and_leaves() {
    let app = testing::app();
    let (admin, alice) = two(&app).await;
    let (_, room) = call(
        &app,
        "POST",
        "/_matrix/client/v3/createRoom",
        Some(&alice),
        Some(json!({"preset": "public_chat"})),
    )
    .await;
    let room = room["room_id"].as_str().unwrap().to_owned();
    let in_room = |path: &str| format!("/_matrix/client/v3/rooms/{room}/{path}");
    let join = async |token: &str| code(&app, "POST", &in_room("join"), token, json!({})).await;
    assert_eq!(join(&admin).await.0, 200);
    let text = json!({"msgtype": "m.text", "body": "hello"});
    let send = async |token: &str, id: &str| {
        let target = in_room(&format!("send/m.room.message/{id}"));
        call(&app, "PUT", &target, Some(token), Some(text.clone())).await
    };
    let own = send(&alice, "1").await.1["event_id"].as_str().unwrap().to_owned();
    let others = send(&admin, "1").await.1["event_id"].as_str().unwrap().to_owned();
    let at = format!("{V1}/suspend/@alice:example.org");
    assert_eq!(code(&app, "PUT", &at, &admin, json!({"suspended": true})).await.0, 200);

    let suspended = (403, "M_USER_SUSPENDED".to_owned());
    let (status, error) = send(&alice, "2").await;
    assert_eq!((status.as_u16(), &error["errcode"]), (403, &json!("M_USER_SUSPENDED")));
    for (method, target, body) in [
        ("PUT", in_room("state/m.room.topic/"), json!({"topic": "x"})),
        ("PUT", in_room(&format!("redact/{others}/1")), json!({})),
        ("POST", in_room("invite"), json!({"user_id": "@admin:example.org"})),
        ("POST", in_room("kick"), json!({"user_id": "@admin:example.org"})),
        ("POST", in_room("ban"), json!({"user_id": "@admin:example.org"})),
        ("POST", in_room("unban"), json!({"user_id": "@admin:example.org"})),
        ("POST", in_room("upgrade"), json!({"new_version": "11"})),
        ("POST", "/_matrix/client/v3/createRoom".to_owned(), json!({})),
        ("POST", format!("/_matrix/client/v3/join/{room}"), json!({})),
        ("POST", format!("/_matrix/client/v3/knock/{room}"), json!({})),
        (
            "PUT",
            "/_matrix/client/v3/profile/@alice:example.org/displayname".to_owned(),
            json!({"displayname": "x"}),
        ),
        (
            "PUT",
            "/_matrix/client/v3/directory/room/%23a:example.org".to_owned(),
            json!({"room_id": room}),
        ),
        (
            "PUT",
            format!("/_matrix/client/v3/directory/list/room/{room}"),
            json!({"visibility": "public"}),
        ),
        ("POST", "/_matrix/media/v3/upload".to_owned(), json!({})),
        ("POST", "/_matrix/media/v1/create".to_owned(), json!({})),
    ] {
        assert_eq!(
            code(&app, method, &target, &alice, body).await,
            suspended,
            "{method} {target}"
        );
    }
    for (method, target, body) in [
        ("GET", "/_matrix/client/v3/sync".to_owned(), json!({})),
        ("GET", in_room("messages?dir=b"), json!({})),
        ("PUT", in_room(&format!("redact/{own}/1")), json!({})),
        ("POST", "/_matrix/client/v3/keys/upload".to_owned(), json!({})),
        ("POST", in_room("leave"), json!({})),
        ("POST", in_room("forget"), json!({})),
    ] {
        assert_eq!(
            code(&app, method, &target, &alice, body).await.0,
            200,
            "{method} {target}"
        );
    }
    // They may log in again, to be suspended there as well.
    let login = json!({"type": "m.login.password", "user": "alice", "password": PASSWORD});
    let (status, session) = call(&app, "POST", "/_matrix/client/v3/login", None, Some(login)).await;
    assert_eq!(status, 200);
    let again = session["access_token"].as_str().unwrap();
    assert_eq!(join(again).await, suspended);
    assert_eq!(code(&app, "PUT", &at, &admin, json!({"suspended": false})).await.0, 200);
    assert_eq!(join(&alice).await.0, 200);
}

#[tokio::test]
async fn devices_are_told_to_their_owner_and_administrators_without_addresses() {
    let app = testing::app();
    let (admin, alice) = two(&app).await;
    let at = "/_matrix/client/v3/admin/whois/@alice:example.org";
    for token in [&admin, &alice] {
        let (status, answer) = call(&app, "GET", at, Some(token), None).await;
        assert_eq!(status, 200);
        assert_eq!(
            answer,
            json!({"user_id": "@alice:example.org", "devices": {"ALICEPHONE": {"sessions":
                [{"connections": [{"last_seen": 1_767_225_600_000_u64}]}]}}})
        );
    }
    let of = |name: &str| format!("/_matrix/client/v3/admin/whois/@{name}:example.org");
    assert_eq!(
        code(&app, "GET", &of("admin"), &alice, json!({})).await,
        (403, "M_FORBIDDEN".to_owned())
    );
    assert_eq!(
        code(&app, "GET", &of("nobody"), &admin, json!({})).await,
        (404, "M_NOT_FOUND".to_owned())
    );
}
