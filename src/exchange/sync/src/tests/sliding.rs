//! Simplified sliding sync.

use super::*;
use crate::sliding::SlidingError;
use lamchat_accounts::account_data::{self, Scope};
use serde_json::json;

impl World {
    async fn slide(&self, who: &Who, pos: Option<&str>, body: &Value) -> Result<Value, SlidingError> {
        let body = serde_json::from_value(body.clone()).unwrap();
        let answer = self.syncer.slide(who.clone(), body, pos, Duration::ZERO).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }
}

fn pos(answer: &Value) -> Option<&str> {
    answer["pos"].as_str()
}

#[tokio::test]
async fn windows_are_sorted_by_activity_and_tell_only_what_is_new() {
    let world = World::new();
    let alice = world.user("alice").await;
    let mut rooms = Vec::new();
    for n in 0..5 {
        let room = world.room(&alice, Preset::PrivateChat).await;
        world.say(&alice, &room, &n.to_string()).await;
        rooms.push(room);
    }
    let body = json!({"conn_id": "c", "lists": {"all": {"ranges": [[0, 1]], "timeline_limit": 1,
        "required_state": [["m.room.create", ""], ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]]}},
        "extensions": {"to_device": {"enabled": true}, "e2ee": {"enabled": true}, "account_data": {"enabled": true},
        "receipts": {"enabled": true}, "typing": {"enabled": true}}});
    let first = world.slide(&alice, None, &body).await.unwrap();
    assert_eq!(first["lists"]["all"]["count"], 5);
    let told = first["rooms"].as_object().unwrap();
    assert_eq!(told.len(), 2);
    let block = &first["rooms"][rooms[4].as_str()];
    assert_eq!(block["initial"], true);
    assert_eq!(block["timeline"][0]["content"]["body"], "4");
    assert_eq!(block["limited"], true);
    assert_eq!(block["required_state"].as_array().unwrap().len(), 2);
    assert_eq!(block["joined_count"], 1);
    assert_eq!(first["extensions"]["account_data"]["global"][0]["type"], "m.push_rules");
    assert_eq!(
        first["extensions"]["e2ee"]["device_one_time_keys_count"]["signed_curve25519"],
        0
    );
    let quiet = world.slide(&alice, pos(&first), &body).await.unwrap();
    assert_eq!(quiet["rooms"], json!({}));
    // An old room moves to the top: it is new to the client. One in the window tells its new event only.
    world.say(&alice, &rooms[0], "up").await;
    let second = world.slide(&alice, pos(&quiet), &body).await.unwrap();
    assert_eq!(second["rooms"].as_object().unwrap().len(), 1);
    assert_eq!(second["rooms"][rooms[0].as_str()]["initial"], true);
    world.say(&alice, &rooms[0], "again").await;
    let third = world.slide(&alice, pos(&second), &body).await.unwrap();
    let block = &third["rooms"][rooms[0].as_str()];
    assert!(block.get("initial").is_none());
    assert_eq!(block["timeline"][0]["content"]["body"], "again");
    assert_eq!((&block["num_live"], &block["limited"]), (&json!(1), &json!(false)));
    // The answer got lost: the same again. What is older than that is forgotten.
    let again = world.slide(&alice, pos(&second), &body).await.unwrap();
    assert_eq!(again["rooms"], third["rooms"]);
    assert!(matches!(
        world.slide(&alice, pos(&first), &body).await,
        Err(SlidingError::UnknownPos)
    ));
    assert!(matches!(
        world.slide(&alice, Some("1_7"), &json!({"conn_id": "other"})).await,
        Err(SlidingError::UnknownPos)
    ));
}

#[tokio::test]
async fn a_longer_timeline_and_more_state_are_told_when_asked_for() {
    let world = World::new();
    let alice = world.user("alice").await;
    let room = world.room(&alice, Preset::PrivateChat).await;
    for n in 0..6 {
        world.say(&alice, &room, &n.to_string()).await;
    }
    let ask = |limit: usize, state: Value| json!({"room_subscriptions": {room.as_str(): {"timeline_limit": limit, "required_state": state}}});
    let first = world.slide(&alice, None, &ask(1, json!([]))).await.unwrap();
    let block = &first["rooms"][room.as_str()];
    assert_eq!(ids(&block["timeline"]).len(), 1);
    let more = world
        .slide(&alice, pos(&first), &ask(4, json!([["m.room.create", ""]])))
        .await
        .unwrap();
    let block = &more["rooms"][room.as_str()];
    assert_eq!(ids(&block["timeline"]).len(), 4);
    assert_eq!(block["unstable_expanded_timeline"], true);
    assert_eq!(ids(&block["required_state"]).len(), 1);
    let (page, _) = world.messages(&alice, &room, block["prev_batch"].as_str().unwrap(), None, 1);
    assert_eq!(page[0]["content"]["body"], "1");
}

#[tokio::test]
async fn filters_and_invites() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let plain = world.room(&alice, Preset::PrivateChat).await;
    let secret = world.room(&alice, Preset::PrivateChat).await;
    world
        .set(
            &alice,
            &secret,
            "m.room.encryption",
            "",
            json!({"algorithm": "m.megolm.v1.aes-sha2"}),
        )
        .await;
    world
        .rooms
        .invite(&caller(&alice), &plain, &bob.user_id, None)
        .await
        .unwrap();
    let body = json!({"lists": {
        "encrypted": {"ranges": [[0, 9]], "filters": {"is_encrypted": true}},
        "invites": {"ranges": [[0, 9]], "filters": {"is_invite": true}}}});
    let at_alice = world.slide(&alice, None, &body).await.unwrap();
    assert_eq!(
        at_alice["rooms"].as_object().unwrap().keys().collect::<Vec<_>>(),
        [secret.as_str()]
    );
    let at_bob = world.slide(&bob, None, &body).await.unwrap();
    assert_eq!(at_bob["lists"]["invites"]["count"], 1);
    let block = &at_bob["rooms"][plain.as_str()];
    assert!(
        block["invite_state"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["type"] == "m.room.create")
    );
    assert!(block.get("timeline").is_none());
    world.rooms.join(&caller(&bob), &plain, None).await.unwrap();
    let all = json!({"lists": {"all": {"ranges": [[0, 9]], "timeline_limit": 3}}});
    let came = world.slide(&bob, pos(&at_bob), &all).await.unwrap();
    assert_eq!(came["rooms"][plain.as_str()]["initial"], true);
    world
        .rooms
        .kick(&caller(&alice), &plain, &bob.user_id, None)
        .await
        .unwrap();
    let gone = world.slide(&bob, pos(&came), &all).await.unwrap();
    assert_eq!(gone["rooms"][plain.as_str()]["membership"], "leave");
    let after = world.slide(&bob, pos(&gone), &all).await.unwrap();
    assert_eq!(after["lists"]["all"]["count"], 0);
}

#[tokio::test]
async fn what_changes_outside_of_a_window_is_told_when_the_room_comes_back() {
    let world = World::new();
    let alice = world.user("alice").await;
    let (one, two) = (
        world.room(&alice, Preset::PrivateChat).await,
        world.room(&alice, Preset::PrivateChat).await,
    );
    let ask = |room: &OwnedRoomId| {
        json!({"txn_id": "t", "room_subscriptions": {room.as_str(): {"timeline_limit": 1}},
        "extensions": {"account_data": {"enabled": true}, "receipts": {"enabled": true}}})
    };
    let first = world.slide(&alice, None, &ask(&one)).await.unwrap();
    assert_eq!(first["txn_id"], "t");
    let second = world.slide(&alice, pos(&first), &ask(&two)).await.unwrap();
    let (user, num) = (alice.user, room::num(&world.store.read(), &one).unwrap().unwrap());
    world
        .store
        .write(move |txn| {
            lamchat_accounts::account_data::put(
                txn,
                user,
                lamchat_accounts::account_data::Scope::Room(num),
                "m.marked_unread",
                b"{}",
            )
        })
        .await
        .unwrap();
    let third = world.slide(&alice, pos(&second), &ask(&two)).await.unwrap();
    assert_eq!(third["extensions"]["account_data"]["rooms"], json!({}));
    let fourth = world.slide(&alice, pos(&third), &ask(&one)).await.unwrap();
    assert_eq!(
        fourth["extensions"]["account_data"]["rooms"][one.as_str()][0]["type"],
        "m.marked_unread"
    );
    let fifth = world.slide(&alice, pos(&fourth), &ask(&one)).await.unwrap();
    assert_eq!(fifth["extensions"]["account_data"]["rooms"], json!({}));
}

#[tokio::test]
async fn heroes_names_and_leaving_are_told_as_clients_read_them() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.room(&alice, Preset::PublicChat).await;
    world.rooms.join(&caller(&bob), &room, None).await.unwrap();
    let named = json!({"membership": "join", "displayname": "Bob", "avatar_url": "mxc://x/y"});
    world
        .set(&bob, &room, "m.room.member", bob.user_id.as_str(), named)
        .await;
    world
        .set(&alice, &room, "m.room.avatar", "", json!({"url": "mxc://x/room"}))
        .await;
    let body = json!({"room_subscriptions": {room.as_str(): {"timeline_limit": 2,
        "required_state": [["m.room.member", "$LAZY"]]}}});
    let first = world.slide(&alice, None, &body).await.unwrap();
    let block = &first["rooms"][room.as_str()];
    let hero = json!({"user_id": bob.user_id, "displayname": "Bob", "avatar_url": "mxc://x/y"});
    assert_eq!(block["heroes"], json!([hero]));
    assert_eq!(block["avatar"], "mxc://x/room");
    let at_bob = world.slide(&bob, None, &body).await.unwrap();
    // A new name of their own is no coming in.
    let renamed = json!({"membership": "join", "displayname": "Robert"});
    world
        .set(&bob, &room, "m.room.member", bob.user_id.as_str(), renamed)
        .await;
    world.set(&alice, &room, "m.room.avatar", "", json!({})).await;
    let at_bob = world.slide(&bob, pos(&at_bob), &body).await.unwrap();
    let block = &at_bob["rooms"][room.as_str()];
    assert_eq!((block.get("initial"), &block["avatar"]), (None, &Value::Null));
    assert!(block.as_object().unwrap().contains_key("avatar"));
    assert_eq!(ids(&block["timeline"]).len(), 2);
    // In a gap, who left is told of though they sent nothing in the timeline.
    world.rooms.leave(&caller(&bob), &room, None).await.unwrap();
    for n in 0..3 {
        world.say(&alice, &room, &n.to_string()).await;
    }
    let second = world.slide(&alice, pos(&first), &body).await.unwrap();
    let block = &second["rooms"][room.as_str()];
    assert_eq!(block["limited"], true);
    let state = block["required_state"].as_array().unwrap();
    assert!(
        state
            .iter()
            .any(|event| event["state_key"] == bob.user_id.as_str() && event["content"]["membership"] == "leave")
    );
    let gone = world.slide(&bob, pos(&at_bob), &body).await.unwrap();
    let block = &gone["rooms"][room.as_str()];
    assert_eq!((block.get("initial"), &block["membership"]), (None, &json!("leave")));
    assert_eq!(ids(&block["timeline"]).len(), 1);
}

#[tokio::test]
async fn extensions_tell_of_the_rooms_of_the_lists_and_subscriptions_that_they_name() {
    let world = World::new();
    let alice = world.user("alice").await;
    let plain = world.room(&alice, Preset::PrivateChat).await;
    let secret = world.room(&alice, Preset::PrivateChat).await;
    let content = json!({"algorithm": "m.megolm.v1.aes-sha2"});
    world.set(&alice, &secret, "m.room.encryption", "", content).await;
    let other = world.room(&alice, Preset::PrivateChat).await;
    for id in [&plain, &secret, &other] {
        let num = room::num(&world.store.read(), id).unwrap().unwrap();
        let user = alice.user;
        let put = move |txn: &mut lamchat_store::WriteTxn<'_>| {
            account_data::put(txn, user, Scope::Room(num), "m.tag", br#"{"tags":{}}"#)
        };
        world.store.write(put).await.unwrap();
    }
    let told = async |asked: Value| {
        let body = json!({
            "lists": {
                "encrypted": {"ranges": [[0, 9]], "filters": {"is_encrypted": true}},
                "plain": {"ranges": [[0, 9]], "filters": {"is_encrypted": false}},
            },
            "room_subscriptions": {other.as_str(): {"timeline_limit": 1}},
            "extensions": {"account_data": asked},
        });
        let answer = world.slide(&alice, None, &body).await.unwrap();
        let rooms = answer["extensions"]["account_data"]["rooms"].as_object().unwrap();
        [&plain, &secret, &other].map(|room| rooms.contains_key(room.as_str()))
    };
    let all = [true, true, true];
    assert_eq!(told(json!({"enabled": true})).await, all);
    assert_eq!(told(json!({"enabled": true, "lists": ["*"], "rooms": []})).await, all);
    let asked = json!({"enabled": true, "lists": ["encrypted", "unknown"], "rooms": []});
    assert_eq!(told(asked).await, [false, true, false]);
    let asked = json!({"enabled": true, "lists": [], "rooms": [other.as_str(), plain.as_str()]});
    // A room that is not subscribed to is not told because it is named.
    assert_eq!(told(asked).await, [false, false, true]);
    assert_eq!(
        told(json!({"enabled": true, "lists": [], "rooms": ["*"]})).await,
        [false, false, true]
    );
    assert_eq!(
        told(json!({"enabled": true, "lists": [], "rooms": []})).await,
        [false; 3]
    );
    let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    let body = json!({"extensions": {"typing": {"enabled": true, "lists": many}}});
    assert!(matches!(
        world.slide(&alice, None, &body).await,
        Err(SlidingError::Invalid(_))
    ));
}
