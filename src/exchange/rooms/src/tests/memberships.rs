//! Joining, inviting, leaving, kicking, banning, knocking, forgetting.

use super::*;
use crate::forget::ForgetError;
use crate::leave::RemoveError;
use crate::{AppendError, Membership, membership};
use serde_json::json;

fn of(x: &Exchange, user: &Caller, room: &RoomId) -> Option<Membership> {
    let read = x.store.read();
    let num = crate::room::num(&read, room).unwrap().unwrap();
    let indexed = membership::of(&read, user.user, num)
        .unwrap()
        .map(|member| member.membership);
    let stated = x.state(room, "m.room.member", user.user_id.as_str());
    assert_eq!(
        indexed.map(Membership::as_str),
        stated.as_ref().and_then(|content| content.get("membership")?.as_str())
    );
    indexed
}

#[tokio::test]
async fn the_rules_of_membership_hold_in_every_version() {
    for version in VERSIONS {
        let x = exchange();
        let (alice, bob, eve) = (x.user("alice").await, x.user("bob").await, x.user("eve").await);
        let room = x.room(&alice, version, Preset::PrivateChat).await;
        // Nobody comes in without an invitation, and who is outside invites nobody.
        assert!(
            matches!(x.rooms.join(&bob, &room, None).await, Err(AppendError::Refused(_))),
            "{version}"
        );
        assert!(x.rooms.invite(&bob, &room, &eve.user_id, None).await.is_err());
        assert!(x.say(&bob, &room, "1").await.is_err());
        x.rooms.invite(&alice, &room, &bob.user_id, Some("come")).await.unwrap();
        assert_eq!(of(&x, &bob, &room), Some(Membership::Invite));
        assert!(x.say(&bob, &room, "1").await.is_err());
        x.rooms.join(&bob, &room, None).await.unwrap();
        let length = x.timeline(&room).len();
        x.rooms.join(&bob, &room, None).await.unwrap();
        assert_eq!(x.timeline(&room).len(), length, "joining again makes no event");
        // Without power: no kick, no ban, no state.
        assert!(x.rooms.kick(&bob, &room, &alice.user_id, None).await.is_err());
        assert!(x.rooms.ban(&bob, &room, &alice.user_id, None).await.is_err());
        assert!(x.rooms.ban(&bob, &room, &eve.user_id, None).await.is_err());
        assert!(matches!(
            x.rooms.kick(&eve, &room, &bob.user_id, None).await,
            Err(RemoveError::Append(AppendError::NoSuchRoom))
        ));
        assert!(matches!(
            x.rooms.kick(&alice, &room, &eve.user_id, None).await,
            Err(RemoveError::NotThere)
        ));
        assert!(matches!(
            x.rooms.unban(&alice, &room, &bob.user_id, None).await,
            Err(RemoveError::NotBanned)
        ));
        x.rooms.kick(&alice, &room, &bob.user_id, None).await.unwrap();
        assert_eq!(of(&x, &bob, &room), Some(Membership::Leave));
        assert!(x.rooms.join(&bob, &room, None).await.is_err());
        x.rooms.ban(&alice, &room, &bob.user_id, Some("spam")).await.unwrap();
        assert_eq!(of(&x, &bob, &room), Some(Membership::Ban));
        assert!(x.rooms.invite(&alice, &room, &bob.user_id, None).await.is_err());
        assert!(matches!(
            x.rooms.kick(&alice, &room, &bob.user_id, None).await,
            Err(RemoveError::Banned)
        ));
        assert!(x.rooms.leave(&bob, &room, None).await.is_err());
        x.rooms.unban(&alice, &room, &bob.user_id, None).await.unwrap();
        x.rooms.invite(&alice, &room, &bob.user_id, None).await.unwrap();
        x.rooms.leave(&bob, &room, None).await.unwrap();
        x.rooms.leave(&bob, &room, None).await.unwrap();
        assert!(matches!(
            x.rooms.leave(&eve, &room, None).await,
            Err(RemoveError::NotThere)
        ));
        let read = x.store.read();
        let num = crate::room::num(&read, &room).unwrap().unwrap();
        let head = crate::head::Head::of(&read, num).unwrap().unwrap();
        assert_eq!((head.joined, head.invited), (1, 0));
        assert_eq!(
            membership::members(&read, num, Membership::Leave, 9).unwrap(),
            [bob.user]
        );
    }
}

#[tokio::test]
async fn restricted_rooms_open_to_members_of_others() {
    for version in ["8", "9", "10", "11", "12"] {
        let x = exchange();
        let (alice, bob, eve) = (x.user("alice").await, x.user("bob").await, x.user("eve").await);
        let space = x.room(&alice, version, Preset::PublicChat).await;
        let room = x.room(&alice, version, Preset::PrivateChat).await;
        let rule = if version == "12" {
            "knock_restricted"
        } else {
            "restricted"
        };
        let rules =
            json!({"join_rule": rule, "allow": [{"type": "m.room_membership", "room_id": space}, {"type": "x"}]});
        x.rooms
            .put_state(&alice, &room, "m.room.join_rules", "", object(rules))
            .await
            .unwrap();
        x.rooms.join(&bob, &space, None).await.unwrap();
        x.rooms.join(&bob, &room, None).await.unwrap();
        let member = x.state(&room, "m.room.member", "@bob:example.org").unwrap();
        assert_eq!(
            member.get("join_authorised_via_users_server"),
            Some(&json!("@alice:example.org"))
        );
        assert!(x.rooms.join(&eve, &room, None).await.is_err());
        // A client cannot name a voucher itself.
        let forged = json!({"membership": "join", "join_authorised_via_users_server": "@alice:example.org"});
        let joined = x
            .rooms
            .put_state(&eve, &room, "m.room.member", "@eve:example.org", object(forged))
            .await;
        assert!(joined.is_err(), "{version}");
        if version == "12" {
            x.rooms.knock(&eve, &room, Some("please")).await.unwrap();
            assert_eq!(of(&x, &eve, &room), Some(Membership::Knock));
        }
        // Changing one's name in the room stays possible.
        let name = object(json!({"membership": "join", "displayname": "B"}));
        x.rooms
            .put_state(&bob, &room, "m.room.member", "@bob:example.org", name)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn knocking_needs_the_rule_and_the_version() {
    for (version, works) in [("6", false), ("7", true), ("12", true)] {
        let x = exchange();
        let (alice, bob) = (x.user("alice").await, x.user("bob").await);
        let room = x.room(&alice, version, Preset::PrivateChat).await;
        assert!(x.rooms.knock(&bob, &room, None).await.is_err());
        x.rooms
            .put_state(
                &alice,
                &room,
                "m.room.join_rules",
                "",
                object(json!({"join_rule": "knock"})),
            )
            .await
            .unwrap();
        assert_eq!(x.rooms.knock(&bob, &room, None).await.is_ok(), works, "{version}");
        if works {
            x.rooms.knock(&bob, &room, None).await.unwrap();
            x.rooms.leave(&bob, &room, None).await.unwrap();
            x.rooms.knock(&bob, &room, None).await.unwrap();
            x.rooms.invite(&alice, &room, &bob.user_id, None).await.unwrap();
            x.rooms.join(&bob, &room, None).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_left_room_is_forgotten_until_one_comes_back() {
    let x = exchange();
    let (alice, bob, eve) = (x.user("alice").await, x.user("bob").await, x.user("eve").await);
    let room = x.room(&alice, "12", Preset::PublicChat).await;
    x.rooms.join(&bob, &room, None).await.unwrap();
    assert!(matches!(
        x.rooms.forget(&bob, &room).await,
        Err(ForgetError::StillThere)
    ));
    assert!(matches!(
        x.rooms.forget(&eve, &room).await,
        Err(ForgetError::NeverThere)
    ));
    x.rooms.leave(&bob, &room, None).await.unwrap();
    x.rooms.forget(&bob, &room).await.unwrap();
    x.rooms.forget(&bob, &room).await.unwrap();
    let is_forgotten = |x: &Exchange| {
        let read = x.store.read();
        let num = crate::room::num(&read, &room).unwrap().unwrap();
        membership::of(&read, bob.user, num).unwrap().unwrap().forgotten
    };
    assert!(is_forgotten(&x));
    x.rooms.join(&bob, &room, None).await.unwrap();
    assert!(!is_forgotten(&x));
    let read = x.store.read();
    assert!(membership::share_room(&read, alice.user, bob.user).unwrap());
    assert!(!membership::share_room(&read, alice.user, eve.user).unwrap());
    assert_eq!(membership::users_sharing_room(&read, bob.user).unwrap().len(), 2);
}

#[tokio::test]
async fn a_new_name_reaches_every_joined_room() {
    let x = exchange();
    let (alice, bob) = (x.user("alice").await, x.user("bob").await);
    let (first, second) = (
        x.room(&alice, "12", Preset::PublicChat).await,
        x.room(&alice, "6", Preset::PublicChat).await,
    );
    let left = x.room(&alice, "11", Preset::PublicChat).await;
    for room in [&first, &second, &left] {
        x.rooms.join(&bob, room, None).await.unwrap();
    }
    x.rooms.leave(&bob, &left, None).await.unwrap();
    let user = bob.user;
    let name = json!("Bob");
    x.store
        .write(move |txn| lamchat_accounts::profile::set(txn, user, "displayname", &name))
        .await
        .unwrap();
    x.rooms.profile_changed(&bob).await.unwrap();
    let length = x.timeline(&first).len();
    x.rooms.profile_changed(&bob).await.unwrap();
    assert_eq!(x.timeline(&first).len(), length, "what is shown already is left alone");
    for room in [&first, &second] {
        let member = x.state(room, "m.room.member", "@bob:example.org").unwrap();
        assert_eq!(member, json!({"membership": "join", "displayname": "Bob"}));
    }
    assert_eq!(
        x.state(&left, "m.room.member", "@bob:example.org").unwrap(),
        json!({"membership": "leave"})
    );
}
