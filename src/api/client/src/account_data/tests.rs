//! Tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use crate::App;
use crate::testing::{self, call, call_bytes};
use lamchat_rooms::Caller;
use serde_json::{Value, json};
use std::sync::Arc;

const ALICE: &str = "/_matrix/client/v3/user/@alice:example.org";

fn errcode(body: &Value) -> &str {
    body.get("errcode").and_then(Value::as_str).unwrap_or_default()
}

async fn room_of_alice(app: &Arc<App>) -> String {
    let user_id = ruma::user_id!("@alice:example.org");
    let user = lamchat_accounts::user::num(&app.store.read(), user_id)
        .unwrap()
        .unwrap();
    let caller = Caller {
        user,
        user_id: user_id.to_owned(),
        device: None,
    };
    app.rooms
        .create(&caller, testing::private_room())
        .await
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn account_data_is_kept_as_sent() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let bob = testing::register(&app, "bob").await;
    let path = format!("{ALICE}/account_data/org.example.x");
    let sent = br#" { "b" : 1.0, "a" : [ ] } "#.to_vec();
    assert_eq!(call(&app, "GET", &path, Some(&alice), None).await.0, 404);
    assert_eq!(call_bytes(&app, "PUT", &path, Some(&alice), sent.clone()).await.0, 200);
    assert_eq!(call_bytes(&app, "GET", &path, Some(&alice), Vec::new()).await.1, sent);
    assert_eq!(call(&app, "GET", &path, Some(&bob), None).await.0, 403);
    assert_eq!(call(&app, "PUT", &path, Some(&bob), Some(json!({}))).await.0, 403);
    for wrong in ["[]", "7", "null", "\"x\"", "", "{"] {
        let (status, _) = call_bytes(&app, "PUT", &path, Some(&alice), wrong.into()).await;
        assert_eq!(status, 400, "{wrong}");
    }
    let (status, error) = call(
        &app,
        "PUT",
        &format!("{ALICE}/account_data/{}", "x".repeat(256)),
        Some(&alice),
        Some(json!({})),
    )
    .await;
    assert_eq!((status.as_u16(), errcode(&error)), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn reserved_types_are_refused() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    for event_type in ["m.push_rules", "m.fully_read"] {
        let path = format!("{ALICE}/account_data/{event_type}");
        let (status, error) = call(&app, "PUT", &path, Some(&alice), Some(json!({}))).await;
        assert_eq!((status.as_u16(), errcode(&error)), (405, "M_BAD_JSON"));
    }
    let (status, rules) = call(
        &app,
        "GET",
        &format!("{ALICE}/account_data/m.push_rules"),
        Some(&alice),
        None,
    )
    .await;
    assert_eq!(status, 200);
    assert!(rules.pointer("/global/override").is_some());
}

#[tokio::test]
async fn rooms_have_data_and_tags_of_their_own() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let bob = testing::register(&app, "bob").await;
    let room = room_of_alice(&app).await.replace('!', "%21");
    let path = format!("{ALICE}/rooms/{room}/account_data/org.example.x");
    assert_eq!(
        call(&app, "PUT", &path, Some(&alice), Some(json!({"here": true})))
            .await
            .0,
        200
    );
    assert_eq!(
        call(&app, "GET", &path, Some(&alice), None).await.1,
        json!({"here": true})
    );
    assert_eq!(
        call(
            &app,
            "GET",
            &format!("{ALICE}/account_data/org.example.x"),
            Some(&alice),
            None
        )
        .await
        .0,
        404
    );
    // Bob is not in this room, and nobody is in that one.
    let bobs = path.replace("alice", "bob");
    assert_eq!(call(&app, "PUT", &bobs, Some(&bob), Some(json!({}))).await.0, 404);
    let nowhere = format!("{ALICE}/rooms/%21x:example.org/account_data/a");
    assert_eq!(call(&app, "PUT", &nowhere, Some(&alice), Some(json!({}))).await.0, 404);

    let tags = format!("{ALICE}/rooms/{room}/tags");
    assert_eq!(
        call(&app, "GET", &tags, Some(&alice), None).await.1,
        json!({"tags": {}})
    );
    let favourite = format!("{tags}/m.favourite");
    assert_eq!(
        call(&app, "PUT", &favourite, Some(&alice), Some(json!({"order": 0.5})))
            .await
            .0,
        200
    );
    assert_eq!(
        call(
            &app,
            "PUT",
            &format!("{tags}/u.w%C3%B6rk"),
            Some(&alice),
            Some(json!({}))
        )
        .await
        .0,
        200
    );
    let (_, shown) = call(&app, "GET", &tags, Some(&alice), None).await;
    assert_eq!(shown, json!({"tags": {"m.favourite": {"order": 0.5}, "u.wörk": {}}}));
    assert_eq!(call(&app, "DELETE", &favourite, Some(&alice), None).await.0, 200);
    let (_, shown) = call(
        &app,
        "GET",
        &format!("{ALICE}/rooms/{room}/account_data/m.tag"),
        Some(&alice),
        None,
    )
    .await;
    assert_eq!(shown, json!({"tags": {"u.wörk": {}}}));
    let (status, error) = call(&app, "PUT", &favourite, Some(&alice), Some(json!({"order": "first"}))).await;
    assert_eq!((status.as_u16(), errcode(&error)), (400, "M_BAD_JSON"));
    let (status, error) = call(
        &app,
        "PUT",
        &format!("{tags}/{}", "x".repeat(256)),
        Some(&alice),
        Some(json!({})),
    )
    .await;
    assert_eq!((status.as_u16(), errcode(&error)), (400, "M_INVALID_PARAM"));
    assert_eq!(call(&app, "GET", &tags, Some(&bob), None).await.0, 403);
}
