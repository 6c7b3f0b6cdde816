//! What stands where in an answer.

use super::*;
use lamchat_accounts::account_data::{self, Scope};
use lamchat_rooms::receipt::{self, Kind};
use ruma::RoomVersionId;
use serde_json::json;

#[tokio::test]
async fn an_idle_sync_tells_nothing_but_the_key_counts() {
    let world = World::new();
    let alice = world.user("alice").await;
    let room = world.room(&alice, Preset::PrivateChat).await;
    let first = world.sync(&alice, None, json!({})).await;
    assert!(joined(&first, &room)["timeline"]["events"].as_array().unwrap().len() > 3);
    assert_eq!(joined(&first, &room)["summary"]["m.joined_member_count"], 1);
    assert_eq!(first["account_data"]["events"][0]["type"], "m.push_rules");
    let second = world.sync(&alice, Some(token(&first)), json!({})).await;
    let mut keys: Vec<_> = second.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "device_one_time_keys_count",
            "device_unused_fallback_key_types",
            "next_batch"
        ]
    );
    assert_eq!(second["device_one_time_keys_count"]["signed_curve25519"], 0);
    assert_eq!(token(&first), token(&second));
}

#[tokio::test]
async fn a_message_arrives_once_with_its_transaction_id_for_its_device_only() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.room(&alice, Preset::PublicChat).await;
    world.rooms.join(&caller(&bob), &room, None).await.unwrap();
    let (at_alice, at_bob) = (
        world.sync(&alice, None, json!({})).await,
        world.sync(&bob, None, json!({})).await,
    );
    let id = world.say(&alice, &room, "hello").await;
    let mine = world.sync(&alice, Some(token(&at_alice)), json!({})).await;
    let theirs = world.sync(&bob, Some(token(&at_bob)), json!({})).await;
    for answer in [&mine, &theirs] {
        assert_eq!(
            ids(&joined(answer, &room)["timeline"]["events"]),
            std::slice::from_ref(&id)
        );
        assert_eq!(joined(answer, &room)["timeline"]["limited"], false);
        assert!(joined(answer, &room).get("state").is_none());
    }
    let unsigned = |answer: &Value| joined(answer, &room)["timeline"]["events"][0]["unsigned"].clone();
    assert_eq!(unsigned(&mine)["transaction_id"], "0");
    assert!(unsigned(&theirs).get("transaction_id").is_none());
    assert_eq!(unsigned(&theirs)["membership"], "join");
    assert_eq!(joined(&theirs, &room)["unread_notifications"]["notification_count"], 1);
    let again = world.sync(&bob, Some(token(&theirs)), json!({})).await;
    assert!(again.get("rooms").is_none());
}

#[tokio::test]
async fn a_long_poll_ends_with_a_message_and_with_typing() {
    let world = World::new();
    let alice = world.user("alice").await;
    let room = world.room(&alice, Preset::PrivateChat).await;
    let first = world.sync(&alice, None, json!({})).await;
    let poll = |since: String| {
        let (world, alice) = (Arc::clone(&world), alice.clone());
        tokio::spawn(async move {
            let request = Request {
                since: Some(Token::parse(&since).unwrap()),
                filter: Arc::default(),
                full_state: false,
                state_after: StateAfter::No,
                timeout: Duration::from_secs(30),
            };
            serde_json::from_slice::<Value>(&world.syncer.sync(alice, request).await.unwrap()).unwrap()
        })
    };
    let waiting = poll(token(&first).to_owned());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    let id = world.say(&alice, &room, "hello").await;
    let second = waiting.await.unwrap();
    assert_eq!(ids(&joined(&second, &room)["timeline"]["events"]), [id]);
    let waiting = poll(token(&second).to_owned());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let num = room::num(&world.store.read(), &room).unwrap().unwrap();
    world
        .typing
        .start(&world.store, num, alice.user, alice.user_id.clone(), START_MS + 1000);
    let third = waiting.await.unwrap();
    assert_eq!(
        joined(&third, &room)["ephemeral"]["events"],
        json!([{"type": "m.typing", "content": {"user_ids": ["@alice:x.org"]}}])
    );
    world.typing.expire(&world.store, START_MS + 2000);
    let fourth = world.sync(&alice, Some(token(&third)), json!({})).await;
    assert_eq!(
        joined(&fourth, &room)["ephemeral"]["events"],
        json!([{"type": "m.typing", "content": {"user_ids": []}}])
    );
}

fn megolm() -> Value {
    json!({"algorithm": "m.megolm.v1.aes-sha2"})
}

#[tokio::test]
async fn device_lists_tell_of_those_who_share_an_encrypted_room() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let lists = |answer: &Value| answer["device_lists"].clone();
    let told = |changed: &[&str], left: &[&str]| json!({"changed": changed, "left": left});
    let (plain, secret) = (
        world.room(&alice, Preset::PublicChat).await,
        world.room(&alice, Preset::PublicChat).await,
    );
    let at_alice = world.sync(&alice, None, json!({})).await;
    let at_bob = world.sync(&bob, None, json!({})).await;
    for room in [&plain, &secret] {
        world.rooms.join(&caller(&bob), room, None).await.unwrap();
    }
    let alice_plain = world.sync(&alice, Some(token(&at_alice)), json!({})).await;
    let bob_plain = world.sync(&bob, Some(token(&at_bob)), json!({})).await;
    assert_eq!((lists(&alice_plain), lists(&bob_plain)), (Value::Null, Value::Null));

    // A room that becomes encrypted is shared from then on; setting it again changes nothing.
    world.set(&alice, &secret, "m.room.encryption", "", megolm()).await;
    let alice_secret = world.sync(&alice, Some(token(&alice_plain)), json!({})).await;
    let bob_secret = world.sync(&bob, Some(token(&bob_plain)), json!({})).await;
    assert_eq!(lists(&alice_secret), told(&["@bob:x.org"], &[]));
    assert_eq!(lists(&bob_secret), told(&["@alice:x.org"], &[]));
    let mut again = megolm();
    again["rotation_period_msgs"] = json!(50);
    world.set(&alice, &secret, "m.room.encryption", "", again).await;
    let alice_again = world.sync(&alice, Some(token(&alice_secret)), json!({})).await;
    assert_eq!(lists(&alice_again), Value::Null);

    // The plain room is still shared, and does not count.
    world.rooms.leave(&caller(&bob), &secret, None).await.unwrap();
    let alice_alone = world.sync(&alice, Some(token(&alice_again)), json!({})).await;
    assert_eq!(lists(&alice_alone), told(&[], &["@bob:x.org"]));
    let bob_alone = world.sync(&bob, Some(token(&bob_secret)), json!({})).await;
    assert_eq!(lists(&bob_alone), told(&[], &["@alice:x.org"]));

    // /keys/changes tells the same.
    let read = world.store.read();
    let changes = |who: &Who, since: &Value| {
        let since = Token::parse(token(since)).unwrap().position;
        let changes = crate::changes::since(&read, who.user, since).unwrap();
        json!({"changed": changes.changed, "left": changes.left})
    };
    assert_eq!(changes(&alice, &alice_again), told(&[], &["@bob:x.org"]));
    assert_eq!(changes(&alice, &alice_alone), told(&[], &[]));
    assert_eq!(changes(&alice, &at_alice), told(&[], &[]));
    world.rooms.join(&caller(&bob), &secret, None).await.unwrap();
    let read = world.store.read();
    let since = Token::parse(token(&alice_alone)).unwrap().position;
    let changes = crate::changes::since(&read, alice.user, since).unwrap();
    assert_eq!(changes.changed, ["@bob:x.org"]);
    let since = Token::parse(token(&alice_plain)).unwrap().position;
    let changes = crate::changes::since(&read, alice.user, since).unwrap();
    assert_eq!(changes.changed, ["@bob:x.org"]);
}

#[tokio::test]
async fn invites_knocks_joins_and_leaves_stand_in_their_sections() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.room(&alice, Preset::PrivateChat).await;
    world.set(&alice, &room, "m.room.encryption", "", megolm()).await;
    let before = world.say(&alice, &room, "before").await;
    let start = world.sync(&bob, None, json!({})).await;
    world
        .rooms
        .invite(&caller(&alice), &room, &bob.user_id, None)
        .await
        .unwrap();
    let invited = world.sync(&bob, Some(token(&start)), json!({})).await;
    let stripped = invited["rooms"]["invite"][room.as_str()]["invite_state"]["events"]
        .as_array()
        .unwrap();
    assert!(stripped.iter().any(|event| event["type"] == "m.room.create"));
    assert!(
        stripped
            .iter()
            .any(|event| event["type"] == "m.room.member" && event["state_key"] == "@bob:x.org")
    );
    world.rooms.join(&caller(&bob), &room, None).await.unwrap();
    let came = world
        .sync(&bob, Some(token(&invited)), json!({"room": {"timeline": {"limit": 2}}}))
        .await;
    let block = joined(&came, &room);
    assert_eq!(block["timeline"]["limited"], true);
    assert!(
        block["state"]["events"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["type"] == "m.room.create")
    );
    assert_eq!(came["device_lists"]["changed"], json!(["@alice:x.org"]));
    let (page, _) = world.messages(&bob, &room, block["timeline"]["prev_batch"].as_str().unwrap(), None, 50);
    assert!(
        page.iter().any(|event| event["event_id"] == before),
        "shared history from before the join"
    );
    let alice_at = world.sync(&alice, None, json!({})).await;
    world.rooms.leave(&caller(&bob), &room, None).await.unwrap();
    let after = world.say(&alice, &room, "after").await;
    let left = world.sync(&bob, Some(token(&came)), json!({})).await;
    let events = ids(&left["rooms"]["leave"][room.as_str()]["timeline"]["events"]);
    assert_eq!(events.len(), 1);
    assert!(!events.contains(&after));
    assert_eq!(left["device_lists"]["left"], json!(["@alice:x.org"]));
    let at_alice = world.sync(&alice, Some(token(&alice_at)), json!({})).await;
    assert_eq!(at_alice["device_lists"]["left"], json!(["@bob:x.org"]));
    assert_eq!(joined(&at_alice, &room)["summary"]["m.joined_member_count"], 1);
    // And back again: all that happened in between is told, as for a new room.
    world
        .rooms
        .invite(&caller(&alice), &room, &bob.user_id, None)
        .await
        .unwrap();
    world.rooms.join(&caller(&bob), &room, None).await.unwrap();
    let back = world.sync(&bob, Some(token(&left)), json!({})).await;
    assert!(ids(&joined(&back, &room)["timeline"]["events"]).contains(&after));
    assert!(back["rooms"].get("leave").is_none());
    let quiet = world.sync(&bob, Some(token(&back)), json!({})).await;
    assert!(quiet.get("rooms").is_none());
}

#[tokio::test]
async fn lazy_loading_gives_the_senders_once() {
    let world = World::new();
    let alice = world.user("alice").await;
    let room = world.room(&alice, Preset::PublicChat).await;
    let mut others = Vec::new();
    for name in ["bob", "carol", "dave"] {
        let other = world.user(name).await;
        world.rooms.join(&caller(&other), &room, None).await.unwrap();
        others.push(other);
    }
    for n in 0..5 {
        world.say(&alice, &room, &n.to_string()).await;
    }
    let filter = json!({"room": {"timeline": {"limit": 3}, "state": {"lazy_load_members": true}}});
    let members = |answer: &Value| {
        let state = joined(answer, &room)["state"]["events"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let members = state.into_iter().filter(|event| event["type"] == "m.room.member");
        members
            .map(|event| event["state_key"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let bob = &others[0];
    let first = world.sync(bob, None, filter.clone()).await;
    // The room has no name: its heroes come along.
    assert_eq!(
        joined(&first, &room)["summary"]["m.heroes"],
        json!(["@alice:x.org", "@carol:x.org", "@dave:x.org"])
    );
    let mut given = members(&first);
    given.sort();
    assert_eq!(given, ["@alice:x.org", "@bob:x.org", "@carol:x.org", "@dave:x.org"]);
    world.set(&alice, &room, "m.room.name", "", json!({"name": "N"})).await;
    let second = world.sync(bob, Some(token(&first)), filter.clone()).await;
    world.say(&others[1], &room, "hi").await;
    let third = world.sync(bob, Some(token(&second)), filter.clone()).await;
    assert_eq!(members(&third), Vec::<String>::new(), "given as a hero already");
    let eve = world.user("eve").await;
    let fresh = world.sync(&others[2], None, filter.clone()).await;
    let mut given = members(&fresh);
    given.sort();
    assert_eq!(given, ["@alice:x.org", "@carol:x.org", "@dave:x.org"]);
    world.rooms.join(&caller(&eve), &room, None).await.unwrap();
    let mut last = world.sync(&others[2], Some(token(&fresh)), filter.clone()).await;
    for n in 0..2 {
        world.say(&eve, &room, &n.to_string()).await;
        let next = world.sync(&others[2], Some(token(&last)), filter.clone()).await;
        let redundant = json!({"room": {"state": {"lazy_load_members": true, "include_redundant_members": true}}});
        assert_eq!(
            members(&world.sync(&others[2], Some(token(&last)), redundant).await),
            ["@eve:x.org"]
        );
        last = next;
    }
}

#[tokio::test]
async fn private_receipts_stay_private() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.room(&alice, Preset::PublicChat).await;
    world.rooms.join(&caller(&bob), &room, None).await.unwrap();
    let first = world.say(&alice, &room, "one").await;
    let second = world.say(&alice, &room, "two").await;
    let (at_alice, at_bob) = (
        world.sync(&alice, None, json!({})).await,
        world.sync(&bob, None, json!({})).await,
    );
    assert_eq!(joined(&at_bob, &room)["unread_notifications"]["notification_count"], 2);
    let num = room::num(&world.store.read(), &room).unwrap().unwrap();
    let set = |kind, id: String| {
        let user = bob.user;
        world
            .store
            .write(move |txn| receipt::set(txn, num, user, kind, None, &id, START_MS))
    };
    set(Kind::ReadPrivate, second.clone()).await.unwrap();
    set(Kind::Read, first.clone()).await.unwrap();
    let mine = world.sync(&bob, Some(token(&at_bob)), json!({})).await;
    let theirs = world.sync(&alice, Some(token(&at_alice)), json!({})).await;
    let content = |answer: &Value| joined(answer, &room)["ephemeral"]["events"][0]["content"].clone();
    assert_eq!(
        content(&theirs),
        json!({first.as_str(): {"m.read": {"@bob:x.org": {"ts": START_MS}}}})
    );
    assert_eq!(
        content(&mine)[second.as_str()],
        json!({"m.read.private": {"@bob:x.org": {"ts": START_MS}}})
    );
    assert_eq!(joined(&mine, &room)["unread_notifications"]["notification_count"], 0);
    // Backwards: nothing changes.
    assert!(!set(Kind::ReadPrivate, first).await.unwrap().1);
}

#[tokio::test]
async fn account_data_comes_by_room_and_for_all() {
    let world = World::new();
    let alice = world.user("alice").await;
    let room = world.room(&alice, Preset::PrivateChat).await;
    let first = world.sync(&alice, None, json!({})).await;
    let num = room::num(&world.store.read(), &room).unwrap().unwrap();
    let user = alice.user;
    let put = |scope, name: &'static str| {
        world
            .store
            .write(move |txn| account_data::put(txn, user, scope, name, br#"{"a":1}"#))
    };
    put(Scope::Global, "x.all").await.unwrap();
    put(Scope::Room(num), "x.room").await.unwrap();
    let second = world.sync(&alice, Some(token(&first)), json!({})).await;
    assert_eq!(
        second["account_data"]["events"],
        json!([{"type": "x.all", "content": {"a": 1}}])
    );
    assert_eq!(
        joined(&second, &room)["account_data"]["events"],
        json!([{"type": "x.room", "content": {"a": 1}}])
    );
    let filter = json!({"account_data": {"not_types": ["x.*"]}, "room": {"account_data": {"types": []}}});
    let filtered = world.sync(&alice, Some(token(&first)), filter).await;
    assert!(filtered.get("account_data").is_none());
    assert!(joined(&filtered, &room).get("account_data").is_none());
}

#[tokio::test]
async fn a_token_of_another_epoch_means_a_full_sync() {
    let world = World::new();
    let alice = world.user("alice").await;
    let room = world.room(&alice, Preset::PrivateChat).await;
    let first = world.sync(&alice, None, json!({})).await;
    let other = Token {
        epoch: lamchat_store::Epoch(77),
        ..Token::parse(token(&first)).unwrap()
    };
    let again = world.sync(&alice, Some(&other.to_string()), json!({})).await;
    assert_eq!(
        ids(&joined(&again, &room)["timeline"]["events"]),
        ids(&joined(&first, &room)["timeline"]["events"])
    );
}

#[tokio::test]
async fn filters_choose_rooms_types_and_fields() {
    let world = World::new();
    let alice = world.user("alice").await;
    let (one, other) = (
        world.room(&alice, Preset::PrivateChat).await,
        world.room(&alice, Preset::PrivateChat).await,
    );
    world.say(&alice, &one, "x").await;
    let filter = json!({"event_fields": ["type", "content.body"], "room": {"rooms": [one], "timeline": {"types": ["m.room.mess*"]},
        "state": {"types": ["m.room.create"]}}});
    let answer = world.sync(&alice, None, filter).await;
    assert!(joined(&answer, &other).is_null());
    assert_eq!(
        joined(&answer, &one)["timeline"]["events"],
        json!([{"type": "m.room.message", "content": {"body": "x"}}])
    );
    let state = joined(&answer, &one)["state"]["events"].as_array().unwrap();
    assert!(state.iter().all(|event| event["type"] == "m.room.create") && state.len() == 1);
}

#[tokio::test]
async fn threads_edits_and_references_are_bundled() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.room(&alice, Preset::PublicChat).await;
    world.rooms.join(&caller(&bob), &room, None).await.unwrap();
    let root = world.say(&alice, &room, "root").await;
    let relate = |kind: &str| json!({"rel_type": kind, "event_id": root});
    world
        .send(&bob, &room, json!({"body": "a", "m.relates_to": relate("m.thread")}))
        .await;
    let newest = world
        .send(&alice, &room, json!({"body": "b", "m.relates_to": relate("m.thread")}))
        .await;
    world
        .send(
            &bob,
            &room,
            json!({"body": "* no", "m.new_content": {"body": "no"}, "m.relates_to": relate("m.replace")}),
        )
        .await;
    let edit = world
        .send(
            &alice,
            &room,
            json!({"body": "* e", "m.new_content": {"body": "e"}, "m.relates_to": relate("m.replace")}),
        )
        .await;
    let reference = world
        .send(&bob, &room, json!({"body": "r", "m.relates_to": relate("m.reference")}))
        .await;
    let answer = world.sync(&bob, None, json!({})).await;
    let events = joined(&answer, &room)["timeline"]["events"].as_array().unwrap();
    let event = events.iter().find(|event| event["event_id"] == root.as_str()).unwrap();
    let relations = &event["unsigned"]["m.relations"];
    assert_eq!(relations["m.thread"]["count"], 2);
    assert_eq!(relations["m.thread"]["latest_event"]["event_id"], newest.as_str());
    assert_eq!(relations["m.thread"]["current_user_participated"], true);
    assert_eq!(relations["m.replace"]["event_id"], edit.as_str());
    assert_eq!(relations["m.reference"], json!({"chunk": [{"event_id": reference}]}));
    assert_eq!(event["content"]["body"], "root");
}

#[tokio::test]
async fn history_is_hidden_as_the_room_says() {
    let world = World::new();
    let alice = world.user("alice").await;
    for (visibility, at_invite, before) in [
        ("joined", false, false),
        ("invited", true, false),
        ("shared", true, true),
    ] {
        let room = world.room(&alice, Preset::PrivateChat).await;
        let bob = world.user(visibility).await;
        world
            .set(
                &alice,
                &room,
                "m.room.history_visibility",
                "",
                json!({"history_visibility": visibility}),
            )
            .await;
        let early = world.say(&alice, &room, "early").await;
        world
            .rooms
            .invite(&caller(&alice), &room, &bob.user_id, None)
            .await
            .unwrap();
        let invited = world.say(&alice, &room, "invited").await;
        world.rooms.join(&caller(&bob), &room, None).await.unwrap();
        let late = world.say(&alice, &room, "late").await;
        let answer = world
            .sync(&bob, None, json!({"room": {"timeline": {"limit": 50}}}))
            .await;
        let seen = ids(&joined(&answer, &room)["timeline"]["events"]);
        assert_eq!(seen.contains(&early), before, "{visibility}");
        assert_eq!(seen.contains(&invited), at_invite, "{visibility}");
        assert!(seen.contains(&late));
        let (page, _) = world.messages(&bob, &room, token(&answer), None, 50);
        let mut paged: Vec<String> = page
            .iter()
            .map(|event| event["event_id"].as_str().unwrap().to_owned())
            .collect();
        paged.reverse();
        assert_eq!(paged, seen, "{visibility}");
    }
}

#[tokio::test]
async fn events_come_as_other_servers_get_them_where_the_filter_says_so() {
    use ruma::signatures::reference_hash;
    let world = World::new();
    let alice = world.user("alice").await;
    let old = world.room(&alice, Preset::PrivateChat).await;
    let new = NewRoom {
        version: "12".to_owned(),
        preset: Preset::PrivateChat,
        is_published: false,
        alias_localpart: None,
        name: Some("n".to_owned()),
        topic: None,
        invite: Vec::new(),
        is_direct: false,
        initial_state: Vec::new(),
        creation_content: Object::new(),
        power_levels: Object::new(),
    };
    let new = world.rooms.create(&caller(&alice), new).await.unwrap();
    for (room, version) in [(old, RoomVersionId::V11), (new, RoomVersionId::V12)] {
        let gone = world.say(&alice, &room, "gone").await;
        world
            .rooms
            .redact(&caller(&alice), &room, &gone, None, "r")
            .await
            .unwrap();
        let filter = json!({"event_format": "federation", "room": {"timeline": {"limit": 4}}});
        let answer = world.sync(&alice, None, filter).await;
        let room = joined(&answer, &room);
        let events = |part: &str| room[part]["events"].as_array().unwrap().clone();
        let all = [events("state"), events("timeline")].concat();
        assert!(all.len() > 5 && all[0]["type"] == "m.room.create");
        for event in all {
            let id = event["event_id"].as_str().unwrap().to_owned();
            assert!(event["unsigned"]["age"].is_u64(), "{event}");
            let mut pdu = object(&event);
            // Both are ours, and the rest is what was hashed and signed.
            assert!(pdu.remove("event_id").is_some() && pdu.remove("unsigned").is_some());
            assert!(pdu["signatures"].as_object().is_some_and(|by| by.contains_key("x.org")));
            let hash = reference_hash(&pdu, &version.rules().unwrap()).unwrap();
            assert_eq!(format!("${hash}"), id, "{event}");
        }
    }
}
