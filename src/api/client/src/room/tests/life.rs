//! A room's life: people meet, talk and part, and take their settings along into its replacement.

use super::{Client, text};
use crate::testing::app;
use serde_json::json;

#[tokio::test]
async fn two_people_meet_talk_and_part() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let room = alice
        .room(json!({"name": "R", "invite": ["@bob:example.org"], "is_direct": true}))
        .await;
    bob.done("POST", &format!("/join/{room}"), json!({})).await;
    assert_eq!(bob.get("/joined_rooms").await.1, json!({"joined_rooms": [room]}));
    let message = json!({"msgtype": "m.text", "body": "hi"});
    let send = format!("/rooms/{room}/send/m.room.message/t1");
    let first = bob.done("PUT", &send, message.clone()).await;
    assert_eq!(bob.done("PUT", &send, message).await, first);
    let state = alice.get(&format!("/rooms/{room}/state")).await.1;
    assert_eq!(state.as_array().unwrap().len(), 8);
    assert_eq!(
        alice.get(&format!("/rooms/{room}/state/m.room.name/")).await,
        (200, json!({"name": "R"}))
    );
    assert_eq!(
        alice.get(&format!("/rooms/{room}/state/m.room.name")).await,
        (200, json!({"name": "R"}))
    );
    let event = alice
        .get(&format!("/rooms/{room}/state/m.room.name?format=event"))
        .await
        .1;
    assert_eq!(
        (event.get("type"), event.get("room_id")),
        (Some(&json!("m.room.name")), Some(&json!(room)))
    );
    assert_eq!(alice.get(&format!("/rooms/{room}/state/m.room.avatar")).await.0, 404);
    let redact = format!("/rooms/{room}/redact/{}/t2", text(&first, "event_id"));
    bob.done("PUT", &redact, json!({"reason": "typo"})).await;
    bob.done("POST", &format!("/rooms/{room}/leave"), json!({"reason": "bye"}))
        .await;
    alice
        .done("PUT", &format!("/rooms/{room}/state/m.room.name"), json!({"name": "S"}))
        .await;
    // Who left sees the state as it was then.
    assert_eq!(
        bob.get(&format!("/rooms/{room}/state/m.room.name")).await,
        (200, json!({"name": "R"}))
    );
    bob.done("POST", &format!("/rooms/{room}/forget"), json!({})).await;
    assert_eq!(bob.get(&format!("/rooms/{room}/state")).await.0, 403);
}

#[tokio::test]
async fn what_a_user_has_set_for_a_room_goes_on_in_its_replacement() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let old = alice.room(json!({"preset": "public_chat"})).await;
    bob.done("POST", &format!("/rooms/{old}/join"), json!({})).await;
    let of = |name: &str, rest: &str| format!("/user/@{name}:example.org/{rest}");
    let tag = format!("rooms/{old}/tags/m.favourite");
    bob.done("PUT", &of("bob", &tag), json!({"order": 0.5})).await;
    let direct = of("bob", "account_data/m.direct");
    bob.done("PUT", &direct, json!({"@alice:example.org": [old]})).await;
    let condition = json!({"kind": "event_match", "key": "room_id", "pattern": old});
    let mute = json!({"actions": ["dont_notify"], "conditions": [condition]});
    bob.done("PUT", &format!("/pushrules/global/override/{old}"), mute)
        .await;
    bob.done(
        "PUT",
        &format!("/pushrules/global/room/{old}"),
        json!({"actions": ["notify"]}),
    )
    .await;
    alice
        .done("PUT", &of("alice", &tag.replace("favourite", "lowpriority")), json!({}))
        .await;
    let upgraded = alice
        .done("POST", &format!("/rooms/{old}/upgrade"), json!({"new_version": "12"}))
        .await;
    let new = text(&upgraded, "replacement_room");
    let (_, tags) = alice.get(&of("alice", &format!("rooms/{new}/tags"))).await;
    assert_eq!(tags, json!({"tags": {"m.lowpriority": {}}}));

    // Anybody can claim to follow a room; this one says that another follows.
    let claim = json!({"predecessor": {"room_id": old, "event_id": "$x"}});
    let false_one = alice
        .room(json!({"preset": "public_chat", "creation_content": claim}))
        .await;
    for room in [&new, &false_one] {
        bob.done("POST", &format!("/rooms/{room}/join"), json!({})).await;
    }
    let (_, tags) = bob.get(&of("bob", &format!("rooms/{new}/tags"))).await;
    assert_eq!(tags, json!({"tags": {"m.favourite": {"order": 0.5}}}));
    let (_, content) = bob.get(&direct).await;
    assert_eq!(content, json!({"@alice:example.org": [old, new]}));
    let (_, rule) = bob.get(&format!("/pushrules/global/override/{new}")).await;
    assert_eq!(rule.pointer("/conditions/0/pattern"), Some(&json!(new)));
    assert_eq!(bob.get(&format!("/pushrules/global/room/{new}")).await.0, 200);
    let (_, tags) = bob.get(&of("bob", &format!("rooms/{false_one}/tags"))).await;
    assert_eq!(tags, json!({"tags": {}}));
    // Joining once more changes nothing.
    bob.done("POST", &format!("/rooms/{new}/join"), json!({})).await;
    assert_eq!(bob.get(&direct).await.1, content);
}
