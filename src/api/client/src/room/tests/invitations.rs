//! Invitations: to whom they go, who gets none, and what is told of those that were refused.

use super::{Client, text};
use crate::testing::{app, call};
use serde_json::{Value, json};

#[tokio::test]
async fn only_people_who_exist_are_invited() {
    let app = app();
    let alice = Client::new(&app, "alice").await;
    let _bob = Client::new(&app, "bob").await;
    let room = alice.room(json!({})).await;
    let closed = |txn: &mut lamchat_store::WriteTxn<'_>| {
        let bob = lamchat_accounts::user::num(txn, <&ruma::UserId>::try_from("@bob:example.org").unwrap())?.unwrap();
        lamchat_accounts::account::deactivate(txn, bob, false)
    };
    app.store.write(closed).await.unwrap();
    for (who, status, errcode) in [
        ("@nobody:example.org", 404, "M_NOT_FOUND"),
        ("@bob:example.org", 403, "M_FORBIDDEN"),
        ("@carol:elsewhere.org", 403, "M_FORBIDDEN"),
    ] {
        let invite = json!({ "user_id": who });
        alice
            .refused("POST", &format!("/rooms/{room}/invite"), invite, status, errcode)
            .await;
        let member = json!({"membership": "invite"});
        alice
            .refused(
                "PUT",
                &format!("/rooms/{room}/state/m.room.member/{who}"),
                member,
                status,
                errcode,
            )
            .await;
        let (status, errcode) = match status {
            403 if who.ends_with("elsewhere.org") => (400, "M_INVALID_ROOM_STATE"),
            _ => (status, errcode),
        };
        alice
            .refused("POST", "/createRoom", json!({"invite": [who]}), status, errcode)
            .await;
    }
    assert_eq!(
        alice.get("/joined_rooms").await.1,
        json!({ "joined_rooms": [room] }),
        "a refused room was made"
    );
}

#[tokio::test]
async fn who_blocks_invitations_gets_none() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let room = alice.room(json!({"invite": ["@bob:example.org"]})).await;
    let config = "/user/@bob:example.org/account_data/m.invite_permission_config";
    let in_sync = |sync: &Value| sync.pointer(&format!("/rooms/invite/{room}")).is_some();
    assert!(in_sync(&bob.get("/sync").await.1));
    bob.done("PUT", config, json!({"default_action": "block"})).await;
    // What is there already is hidden.
    assert!(!in_sync(&bob.get("/sync").await.1));
    let blocked = (403, "M_INVITE_BLOCKED");
    let other = alice.room(json!({})).await;
    let target = json!({"user_id": "@bob:example.org"});
    let invite = format!("/rooms/{other}/invite");
    alice
        .refused("POST", &invite, target.clone(), blocked.0, blocked.1)
        .await;
    let state = format!("/rooms/{other}/state/m.room.member/@bob:example.org");
    alice
        .refused("PUT", &state, json!({"membership": "invite"}), blocked.0, blocked.1)
        .await;
    let create = json!({"invite": ["@bob:example.org"]});
    alice.refused("POST", "/createRoom", create, blocked.0, blocked.1).await;
    bob.done("PUT", config, json!({})).await;
    let unstable = config.replace("m.invite", "org.matrix.msc4380.invite");
    bob.done("PUT", &unstable, json!({"block_all": true})).await;
    alice
        .refused("POST", &invite, target.clone(), blocked.0, blocked.1)
        .await;
    bob.done("PUT", &unstable, json!({"block_all": false})).await;
    let unban = format!("/rooms/{other}/unban");
    alice.refused("POST", &unban, target.clone(), 403, "M_BAD_STATE").await;
    alice.done("POST", &invite, target).await;
    assert!(in_sync(&bob.get("/sync").await.1));
}

#[tokio::test]
async fn refused_invitations_and_those_of_ignored_users_are_told_rightly() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let room = alice.room(json!({"invite": ["@bob:example.org"]})).await;
    let (_, first) = bob.get("/sync?use_state_after=true").await;
    let next = text(&first, "next_batch");
    bob.done("POST", &format!("/rooms/{room}/leave"), json!({})).await;
    let (_, then) = bob.get(&format!("/sync?use_state_after=true&since={next}")).await;
    // "Required if `use_state_after` was set to `true` in the request, even if it is empty."
    let state = then.pointer(&format!("/rooms/leave/{room}/state_after"));
    assert_eq!(state, Some(&json!({"events": []})), "{then}");

    alice.room(json!({"invite": ["@bob:example.org"]})).await;
    let slide = async || {
        let body = json!({"lists": {"all": {"ranges": [[0, 9]], "timeline_limit": 1}}});
        let path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
        let (status, answer) = call(&app, "POST", path, Some(&bob.token), Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer.pointer("/lists/all/count").cloned()
    };
    assert_eq!(slide().await, Some(json!(1)));
    let ignored = json!({"ignored_users": {"@alice:example.org": {}}});
    let path = "/user/@bob:example.org/account_data/m.ignored_user_list";
    bob.done("PUT", path, ignored).await;
    assert_eq!(slide().await, Some(json!(0)));
}
