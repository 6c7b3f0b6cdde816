//! Rooms over the whole way from a request to its answer.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::App;
use crate::testing::{app, call, call_bytes, register};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

struct Client {
    app: Arc<App>,
    token: String,
}

impl Client {
    async fn new(app: &Arc<App>, name: &str) -> Self {
        Self {
            app: Arc::clone(app),
            token: register(app, name).await,
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, answer) = call(
            &self.app,
            method,
            &format!("/_matrix/client/v3{path}"),
            Some(&self.token),
            body,
        )
        .await;
        (status.as_u16(), answer)
    }

    /// A request that must succeed.
    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, path, Some(body)).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, None).await
    }

    /// A request that must fail, with this status and errcode.
    async fn refused(&self, method: &str, path: &str, body: Value, status: u16, errcode: &str) {
        let (found, answer) = self.ask(method, path, Some(body)).await;
        assert_eq!(
            (found, answer.get("errcode")),
            (status, Some(&json!(errcode))),
            "{method} {path}: {answer}"
        );
    }

    async fn room(&self, body: Value) -> String {
        text(&self.done("POST", "/createRoom", body).await, "room_id")
    }
}

fn text(answer: &Value, name: &str) -> String {
    answer.get(name).and_then(Value::as_str).unwrap().to_owned()
}

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
async fn refusals_have_the_errcodes_of_the_specification() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let room = alice.room(json!({"preset": "private_chat"})).await;
    let nowhere = "!nowhere:example.org";
    bob.refused("POST", &format!("/join/{room}"), json!({}), 403, "M_FORBIDDEN")
        .await;
    bob.refused("POST", &format!("/join/{nowhere}"), json!({}), 404, "M_NOT_FOUND")
        .await;
    bob.refused("POST", "/join/%23x:example.org", json!({}), 404, "M_NOT_FOUND")
        .await;
    bob.refused("POST", &format!("/knock/{room}"), json!({}), 403, "M_FORBIDDEN")
        .await;
    for room in [room.as_str(), nowhere] {
        bob.refused(
            "PUT",
            &format!("/rooms/{room}/send/m.x/1"),
            json!({}),
            403,
            "M_FORBIDDEN",
        )
        .await;
        bob.refused(
            "PUT",
            &format!("/rooms/{room}/state/m.x"),
            json!({}),
            403,
            "M_FORBIDDEN",
        )
        .await;
        bob.refused(
            "POST",
            &format!("/rooms/{room}/invite"),
            json!({"user_id": "@eve:example.org"}),
            403,
            "M_FORBIDDEN",
        )
        .await;
        for verb in ["kick", "ban", "unban"] {
            let body = json!({"user_id": "@alice:example.org"});
            bob.refused("POST", &format!("/rooms/{room}/{verb}"), body, 403, "M_FORBIDDEN")
                .await;
        }
        bob.refused("POST", &format!("/rooms/{room}/leave"), json!({}), 403, "M_FORBIDDEN")
            .await;
        bob.refused("POST", &format!("/rooms/{room}/forget"), json!({}), 403, "M_FORBIDDEN")
            .await;
        bob.refused(
            "POST",
            &format!("/rooms/{room}/upgrade"),
            json!({"new_version": "11"}),
            403,
            "M_FORBIDDEN",
        )
        .await;
        assert_eq!(bob.get(&format!("/rooms/{room}/state")).await.0, 403);
        assert_eq!(bob.get(&format!("/rooms/{room}/aliases")).await.0, 403);
    }
    alice
        .refused("POST", &format!("/rooms/{room}/forget"), json!({}), 400, "M_UNKNOWN")
        .await;
    alice
        .refused(
            "POST",
            &format!("/rooms/{room}/upgrade"),
            json!({"new_version": "1"}),
            400,
            "M_UNSUPPORTED_ROOM_VERSION",
        )
        .await;
    alice
        .refused(
            "POST",
            "/createRoom",
            json!({"room_version": "nope"}),
            400,
            "M_UNSUPPORTED_ROOM_VERSION",
        )
        .await;
    alice
        .refused(
            "POST",
            "/createRoom",
            json!({"room_alias_name": "a:b"}),
            400,
            "M_INVALID_PARAM",
        )
        .await;
    let weak = json!({"room_version": "11", "power_level_content_override": {"users": {"@alice:example.org": 1}}});
    alice
        .refused("POST", "/createRoom", weak, 400, "M_INVALID_ROOM_STATE")
        .await;
    alice
        .refused(
            "POST",
            "/createRoom",
            json!({"initial_state": [{"type": "m.x"}]}),
            400,
            "M_BAD_JSON",
        )
        .await;
    alice.room(json!({"room_alias_name": "taken"})).await;
    alice
        .refused(
            "POST",
            "/createRoom",
            json!({"room_alias_name": "taken"}),
            400,
            "M_ROOM_IN_USE",
        )
        .await;
    let by_mail = json!({"id_server": "x", "id_access_token": "x", "medium": "email", "address": "a@b"});
    alice
        .refused(
            "POST",
            "/createRoom",
            json!({"invite_3pid": [by_mail]}),
            403,
            "M_THREEPID_DENIED",
        )
        .await;
    let send = format!("/rooms/{room}/send/m.x/1");
    alice.refused("PUT", &send, json!({"a": 1.5}), 400, "M_BAD_JSON").await;
    alice.refused("PUT", &send, json!([]), 400, "M_BAD_JSON").await;
    alice
        .refused("PUT", &send, json!({"a": "x".repeat(65_536)}), 413, "M_TOO_LARGE")
        .await;
    alice
        .refused(
            "PUT",
            &format!("/rooms/{room}/send/m.x/{}", "t".repeat(256)),
            json!({}),
            400,
            "M_INVALID_PARAM",
        )
        .await;
    alice
        .refused("PUT", "/rooms/nonsense/send/m.x/1", json!({}), 400, "M_INVALID_PARAM")
        .await;
    let (status, _) = call_bytes(
        &app,
        "PUT",
        &format!("/_matrix/client/v3{send}"),
        Some(&alice.token),
        b"{".to_vec(),
    )
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let nothing = format!("/rooms/{room}/redact/$x/1");
    alice.refused("PUT", &nothing, json!({}), 404, "M_NOT_FOUND").await;
    let canonical = format!("/rooms/{room}/state/m.room.canonical_alias");
    alice
        .refused(
            "PUT",
            &canonical,
            json!({"alias": "#none:example.org"}),
            400,
            "M_BAD_ALIAS",
        )
        .await;
    alice
        .refused("PUT", &canonical, json!({"alias": "none"}), 400, "M_INVALID_PARAM")
        .await;
    alice
        .refused(
            "PUT",
            &format!("/rooms/{room}/state/m.room.create"),
            json!({}),
            403,
            "M_FORBIDDEN",
        )
        .await;
}

#[tokio::test]
async fn aliases_and_the_directory_are_found_by_everybody() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let room = alice
        .room(json!({"visibility": "public", "name": "Pub", "room_alias_name": "pub"}))
        .await;
    let found = call(
        &app,
        "GET",
        "/_matrix/client/v3/directory/room/%23pub:example.org",
        None,
        None,
    )
    .await
    .1;
    assert_eq!(found, json!({"room_id": room, "servers": ["example.org"]}));
    bob.done("POST", "/join/%23pub:example.org", json!({})).await;
    bob.refused(
        "PUT",
        "/directory/room/%23pub:example.org",
        json!({"room_id": room}),
        409,
        "M_UNKNOWN",
    )
    .await;
    bob.done("PUT", "/directory/room/%23bar:example.org", json!({"room_id": room}))
        .await;
    let aliases = bob.get(&format!("/rooms/{room}/aliases")).await.1;
    assert_eq!(aliases, json!({"aliases": ["#bar:example.org", "#pub:example.org"]}));
    bob.refused(
        "DELETE",
        "/directory/room/%23pub:example.org",
        json!({}),
        403,
        "M_FORBIDDEN",
    )
    .await;
    bob.done("DELETE", "/directory/room/%23bar:example.org", json!({}))
        .await;
    let unknown = call(&app, "GET", "/_matrix/client/v3/publicRooms", None, None).await;
    assert_eq!(unknown.0, StatusCode::UNAUTHORIZED);
    let list = bob.get("/publicRooms?limit=5").await.1;
    assert_eq!(list.pointer("/chunk/0/room_id"), Some(&json!(room)));
    assert_eq!(list.pointer("/chunk/0/num_joined_members"), Some(&json!(2)));
    let search = bob
        .done(
            "POST",
            "/publicRooms",
            json!({"filter": {"generic_search_term": "nothing"}}),
        )
        .await;
    assert_eq!(search.get("total_room_count_estimate"), Some(&json!(0)));
    let visibility = format!("/directory/list/room/{room}");
    bob.refused("PUT", &visibility, json!({"visibility": "private"}), 403, "M_FORBIDDEN")
        .await;
    alice.done("PUT", &visibility, json!({"visibility": "private"})).await;
    let seen = call(&app, "GET", &format!("/_matrix/client/v3{visibility}"), None, None)
        .await
        .1;
    assert_eq!(seen, json!({"visibility": "private"}));
}

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
async fn a_room_is_published_unless_the_client_says_otherwise() {
    let app = app();
    let alice = Client::new(&app, "alice").await;
    let room = alice.room(json!({})).await;
    let path = format!("/directory/list/room/{room}");
    for (body, expected) in [
        (json!({}), "public"),
        (json!({"visibility": "private"}), "private"),
        (json!({"visibility": "public"}), "public"),
    ] {
        alice.done("PUT", &path, body).await;
        let (_, shown) = alice.get(&path).await;
        assert_eq!(shown.get("visibility"), Some(&json!(expected)));
    }
    alice
        .refused("PUT", &path, json!({"visibility": "x"}), 400, "M_INVALID_PARAM")
        .await;
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
