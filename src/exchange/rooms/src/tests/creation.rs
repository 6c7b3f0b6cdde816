//! Creating and upgrading rooms.

use super::*;
use crate::create::{CreateError, InitialState};
use crate::{AppendError, Membership, alias, directory, membership};
use lamchat_store::{KeyRange, Order, ReadExt};
use serde_json::json;

#[tokio::test]
async fn every_version_begins_as_the_specification_says() {
    for version in VERSIONS {
        let x = exchange();
        let (alice, bob) = (x.user("alice").await, x.user("bob").await);
        let mut new = new_room(version, Preset::PrivateChat);
        new.name = Some("Name".to_owned());
        new.topic = Some("Topic".to_owned());
        new.alias_localpart = Some("first".to_owned());
        new.invite = vec![bob.user_id.clone(), bob.user_id.clone(), alice.user_id.clone()];
        new.is_direct = true;
        new.is_published = true;
        let room = x.rooms.create(&alice, new).await.unwrap();
        assert_eq!(
            x.timeline(&room),
            [
                "m.room.create",
                "m.room.member",
                "m.room.power_levels",
                "m.room.canonical_alias",
                "m.room.join_rules",
                "m.room.history_visibility",
                "m.room.guest_access",
                "m.room.name",
                "m.room.topic",
                "m.room.member",
            ]
        );
        let create = x.state(&room, "m.room.create", "").unwrap();
        assert_eq!(create.get("room_version"), Some(&json!(version)));
        assert_eq!(create.get("creator").is_some(), matches!(version, "6" | "8" | "10"));
        let levels = x.state(&room, "m.room.power_levels", "").unwrap();
        let users = if version == "12" {
            json!({})
        } else {
            json!({"@alice:example.org": 100})
        };
        assert_eq!(levels.get("users"), Some(&users));
        assert_eq!(room.server_name().is_none(), version == "12");
        let invite = x.state(&room, "m.room.member", "@bob:example.org").unwrap();
        assert_eq!(invite, json!({"membership": "invite", "is_direct": true}));
        let read = x.store.read();
        let stored = x.rooms.room(&read, &room).unwrap().unwrap();
        assert_eq!(stored.version.id(), version);
        let head = crate::head::Head::of(&read, stored.num).unwrap().unwrap();
        assert_eq!((head.joined, head.invited), (1, 1));
        assert_eq!(alias::of_room(&read, stored.num).unwrap().len(), 1);
        assert_eq!(
            directory::page(&read, &directory::Filter::default(), 0, 10)
                .unwrap()
                .total,
            1
        );
        drop(read);
        x.rooms.join(&bob, &room, None).await.unwrap();
        x.say(&bob, &room, "hello").await.unwrap();
        x.say(&alice, &room, "hello").await.unwrap();
    }
}

#[tokio::test]
async fn two_rooms_of_the_same_millisecond_are_two() {
    let x = exchange();
    let alice = x.user("alice").await;
    let first = x.room(&alice, "12", Preset::PublicChat).await;
    assert_ne!(x.room(&alice, "12", Preset::PublicChat).await, first);
    // The clock may have been set back since the last start.
    let restarted = Exchange {
        rooms: rooms_on(&x.store),
        store: x.store.clone(),
    };
    let again = restarted.room(&alice, "12", Preset::PublicChat).await;
    assert_ne!(again, first);
    assert_eq!(x.timeline(&first).len(), x.timeline(&again).len());
}

#[tokio::test]
async fn presets_and_initial_state_are_followed() {
    let x = exchange();
    let (alice, bob) = (x.user("alice").await, x.user("bob").await);
    for version in VERSIONS {
        let mut new = new_room(version, Preset::TrustedPrivateChat);
        new.invite = vec![bob.user_id.clone()];
        new.initial_state = vec![
            InitialState {
                event_type: "m.room.history_visibility".to_owned(),
                state_key: String::new(),
                content: object(json!({"history_visibility": "joined"})),
            },
            InitialState {
                event_type: "m.room.encryption".to_owned(),
                state_key: String::new(),
                content: object(json!({"algorithm": "m.megolm.v1.aes-sha2"})),
            },
        ];
        new.creation_content = object(json!({"type": "m.space", "creator": "@eve:x", "room_version": "1"}));
        new.power_levels = object(json!({"ban": 77}));
        let room = x.rooms.create(&alice, new).await.unwrap();
        assert_eq!(
            x.state(&room, "m.room.history_visibility", "").unwrap(),
            json!({"history_visibility": "joined"})
        );
        assert_eq!(
            x.timeline(&room)
                .iter()
                .filter(|t| *t == "m.room.history_visibility")
                .count(),
            1
        );
        let create = x.state(&room, "m.room.create", "").unwrap();
        assert_eq!(
            (create.get("type"), create.get("room_version")),
            (Some(&json!("m.space")), Some(&json!(version)))
        );
        let levels = x.state(&room, "m.room.power_levels", "").unwrap();
        assert_eq!(levels.get("ban"), Some(&json!(77)));
        if version == "12" {
            assert_eq!(create.get("additional_creators"), Some(&json!(["@bob:example.org"])));
        } else {
            assert_eq!(
                levels.get("users"),
                Some(&json!({"@alice:example.org": 100, "@bob:example.org": 100}))
            );
        }
        x.rooms.join(&bob, &room, None).await.unwrap();
        let all = object(json!({"history_visibility": "shared"}));
        x.rooms
            .put_state(&bob, &room, "m.room.history_visibility", "", all)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_room_is_created_whole_or_not_at_all() {
    let x = exchange();
    let alice = x.user("alice").await;
    let mut first = new_room("12", Preset::PublicChat);
    first.alias_localpart = Some("taken".to_owned());
    x.rooms.create(&alice, first.clone()).await.unwrap();
    let rows = |x: &Exchange| {
        let count = |table| {
            x.store
                .read()
                .rows(table, &KeyRange::all(), Order::Ascending, usize::MAX)
                .unwrap()
                .len()
        };
        crate::TABLES.iter().map(|table| count(*table)).collect::<Vec<_>>()
    };
    let before = rows(&x);
    assert!(matches!(
        x.rooms.create(&alice, first).await,
        Err(CreateError::AliasInUse(_))
    ));
    let mut bad = new_room("12", Preset::PublicChat);
    bad.power_levels = object(json!({"users": {"@alice:example.org": 100}}));
    assert!(matches!(
        x.rooms.create(&alice, bad).await,
        Err(CreateError::InvalidState(_))
    ));
    let mut weak = new_room("11", Preset::PublicChat);
    weak.power_levels = object(json!({"users": {"@alice:example.org": 0}}));
    weak.name = Some("x".to_owned());
    assert!(matches!(
        x.rooms.create(&alice, weak).await,
        Err(CreateError::InvalidState(_))
    ));
    let mut remote = new_room("11", Preset::PublicChat);
    remote.invite = vec!["@bob:elsewhere.org".try_into().unwrap()];
    assert!(x.rooms.create(&alice, remote).await.is_err());
    for version in ["5", "13", "x"] {
        let created = x.rooms.create(&alice, new_room(version, Preset::PublicChat)).await;
        assert!(matches!(created, Err(CreateError::UnsupportedVersion(_))));
    }
    for alias in ["", "a:b", "a b"] {
        let mut new = new_room("12", Preset::PublicChat);
        new.alias_localpart = Some(alias.to_owned());
        assert!(matches!(
            x.rooms.create(&alice, new).await,
            Err(CreateError::InvalidAlias(_))
        ));
    }
    assert_eq!(rows(&x), before);
}

#[tokio::test]
async fn upgrades_between_all_versions_carry_the_room_over() {
    for (from, to) in [
        ("6", "12"),
        ("9", "10"),
        ("10", "11"),
        ("11", "12"),
        ("12", "12"),
        ("12", "10"),
        ("12", "6"),
    ] {
        let x = exchange();
        let (alice, bob, eve) = (x.user("alice").await, x.user("bob").await, x.user("eve").await);
        let mut new = new_room(from, Preset::PublicChat);
        new.name = Some("Name".to_owned());
        new.alias_localpart = Some("here".to_owned());
        new.is_published = true;
        let old = x.rooms.create(&alice, new).await.unwrap();
        x.rooms.join(&bob, &old, None).await.unwrap();
        x.rooms.ban(&alice, &old, &eve.user_id, None).await.unwrap();
        let refused = x.rooms.upgrade(&bob, &old, to, &[]).await;
        assert!(
            matches!(refused, Err(CreateError::Append(AppendError::Refused(_)))),
            "{from} {to}"
        );
        let fresh = x.rooms.upgrade(&alice, &old, to, &[]).await.unwrap();
        let tombstone = x.state(&old, "m.room.tombstone", "").unwrap();
        assert_eq!(tombstone.get("replacement_room"), Some(&json!(fresh)));
        let create = x.state(&fresh, "m.room.create", "").unwrap();
        assert_eq!(create.pointer("/predecessor/room_id"), Some(&json!(old)));
        assert_eq!(create.pointer("/predecessor/event_id").is_some(), to != "12");
        assert_eq!(x.state(&fresh, "m.room.name", "").unwrap(), json!({"name": "Name"}));
        let read = x.store.read();
        let num = crate::room::num(&read, &fresh).unwrap().unwrap();
        let old_num = crate::room::num(&read, &old).unwrap().unwrap();
        assert_eq!(alias::of_room(&read, num).unwrap().len(), 1);
        assert!(alias::of_room(&read, old_num).unwrap().is_empty());
        assert!(directory::is_published(&read, num).unwrap() && !directory::is_published(&read, old_num).unwrap());
        assert_eq!(
            membership::of(&read, eve.user, num).unwrap().unwrap().membership,
            Membership::Ban
        );
        drop(read);
        x.timeline(&old);
        x.timeline(&fresh);
        // The old room is closed to those without power, the new one works.
        assert!(x.say(&bob, &old, "1").await.is_err());
        assert!(x.rooms.join(&eve, &fresh, None).await.is_err());
        x.rooms.join(&bob, &fresh, None).await.unwrap();
        x.say(&bob, &fresh, "1").await.unwrap();
        x.rooms
            .put_state(&alice, &fresh, "m.room.name", "", object(json!({"name": "New"})))
            .await
            .unwrap();
        assert!(
            x.rooms
                .put_state(&bob, &fresh, "m.room.name", "", Object::new())
                .await
                .is_err()
        );
    }
}
