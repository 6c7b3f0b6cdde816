//! Tests.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::App;
use crate::testing::{self, call};
use lamchat_rooms::Caller;
use serde_json::{Value, json};
use std::sync::Arc;

fn caller(app: &App, name: &str) -> Caller {
    let user_id: ruma::OwnedUserId = format!("@{name}:example.org").as_str().try_into().unwrap();
    let user = lamchat_accounts::user::num(&app.store.read(), &user_id)
        .unwrap()
        .unwrap();
    Caller {
        user,
        user_id,
        device: None,
    }
}

async fn search(app: &Arc<App>, token: &str, term: &str, limit: u64) -> (Vec<String>, bool) {
    let body = json!({"search_term": term, "limit": limit});
    let (status, body) = call(
        app,
        "POST",
        "/_matrix/client/v3/user_directory/search",
        Some(token),
        Some(body),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let users = body.get("results").and_then(Value::as_array).unwrap();
    let ids = users
        .iter()
        .map(|user| user.get("user_id").and_then(Value::as_str).unwrap().to_owned())
        .collect();
    (ids, body.get("limited").and_then(Value::as_bool).unwrap())
}

#[tokio::test]
async fn only_people_one_has_to_do_with_are_found() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let bob = testing::register(&app, "bob").await;
    testing::register(&app, "carol").await;
    let name = "/_matrix/client/v3/profile/@alice:example.org/displayname";
    call(
        &app,
        "PUT",
        name,
        Some(&alice),
        Some(json!({"displayname": "Die Königin"})),
    )
    .await;
    assert_eq!(search(&app, &bob, "alice", 10).await, (vec![], false));

    let private = testing::private_room();
    let room = app.rooms.create(&caller(&app, "alice"), private).await.unwrap();
    assert_eq!(search(&app, &bob, "alice", 10).await, (vec![], false));
    app.rooms
        .invite(&caller(&app, "alice"), &room, ruma::user_id!("@bob:example.org"), None)
        .await
        .unwrap();
    app.rooms.join(&caller(&app, "bob"), &room, None).await.unwrap();
    for term in ["alice", "ALI", "königIN", "@alice:example.org", "example.org"] {
        assert_eq!(
            search(&app, &bob, term, 10).await,
            (vec!["@alice:example.org".to_owned()], false),
            "{term}"
        );
    }
    for term in ["", " ", "carol", "bob"] {
        assert_eq!(search(&app, &bob, term, 10).await, (vec![], false), "{term}");
    }
    app.rooms.leave(&caller(&app, "bob"), &room, None).await.unwrap();
    assert_eq!(search(&app, &bob, "alice", 10).await, (vec![], false));
    assert_eq!(search(&app, &bob, "alice", 0).await, (vec![], false));
}

#[tokio::test]
async fn who_fits_best_comes_first_and_world_readable_rooms_are_public() {
    let app = testing::app();
    let searcher = testing::register(&app, "searcher").await;
    let host = testing::register(&app, "host").await;
    let body = json!({"initial_state": [
        {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}},
        {"type": "m.room.join_rules", "content": {"join_rule": "public"}},
    ]});
    let (_, room) = call(&app, "POST", "/_matrix/client/v3/createRoom", Some(&host), Some(body)).await;
    let room = room.get("room_id").and_then(Value::as_str).unwrap();
    for (name, displayname) in [
        ("xbob", ""),
        ("bobby", ""),
        ("bobo", "Bobo"),
        ("bob", ""),
        ("robert", "Uncle Bob"),
    ] {
        let token = testing::register(&app, name).await;
        let join = format!("/_matrix/client/v3/rooms/{room}/join");
        assert_eq!(call(&app, "POST", &join, Some(&token), Some(json!({}))).await.0, 200);
        let path = format!("/_matrix/client/v3/profile/@{name}:example.org/displayname");
        call(
            &app,
            "PUT",
            &path,
            Some(&token),
            Some(json!({"displayname": displayname})),
        )
        .await;
    }
    let closed = format!("/_matrix/client/v3/rooms/{room}/state/m.room.join_rules");
    let invite = json!({"join_rule": "invite"});
    assert_eq!(call(&app, "PUT", &closed, Some(&host), Some(invite)).await.0, 200);
    let ids = |names: &[&str]| {
        names
            .iter()
            .map(|name| format!("@{name}:example.org"))
            .collect::<Vec<_>>()
    };
    let all = ids(&["bob", "bobo", "robert", "bobby", "xbob"]);
    assert_eq!(search(&app, &searcher, "BOB", 10).await, (all.clone(), false));
    assert_eq!(search(&app, &searcher, "bob", 2).await, (all[..2].to_vec(), true));
}
