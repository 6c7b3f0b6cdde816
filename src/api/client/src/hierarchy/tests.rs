//! Spaces and summaries, over the whole way from a request to its answer.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::App;
use crate::testing::{app, call, register};
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

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = (method != "GET").then_some(body);
        let uri = format!("/_matrix/client/{path}");
        let (status, answer) = call(&self.app, method, &uri, Some(&self.token), body).await;
        (status.as_u16(), answer)
    }

    async fn room(&self, name: &str, preset: &str, kind: Option<&str>) -> String {
        let mut body = json!({"name": name, "preset": preset});
        if let Some(kind) = kind {
            body.as_object_mut()
                .unwrap()
                .insert("creation_content".to_owned(), json!({ "type": kind }));
        }
        let (status, made) = self.ask("POST", "v3/createRoom", body).await;
        assert_eq!(status, 200, "{made}");
        made.get("room_id").and_then(Value::as_str).unwrap().to_owned()
    }

    async fn state(&self, room: &str, event_type: &str, state_key: &str, content: Value) {
        let path = format!("v3/rooms/{room}/state/{event_type}/{state_key}");
        let (status, answer) = self.ask("PUT", &path, content).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn child(&self, space: &str, child: &str, more: Value) {
        let mut content = json!({"via": ["example.org"]});
        let members = more.as_object().unwrap().clone();
        content.as_object_mut().unwrap().extend(members);
        self.state(space, "m.space.child", child, content).await;
    }

    /// The names of a page, and the token of the next one.
    async fn names(&self, space: &str, query: &str) -> (Vec<String>, Option<String>) {
        let (status, answer) = self
            .ask("GET", &format!("v1/rooms/{space}/hierarchy{query}"), Value::Null)
            .await;
        assert_eq!(status, 200, "{answer}");
        let rooms = answer.get("rooms").and_then(Value::as_array).unwrap();
        let names = rooms
            .iter()
            .map(|room| room.get("name").and_then(Value::as_str).unwrap().to_owned());
        let next = answer.get("next_batch").and_then(Value::as_str).map(str::to_owned);
        (names.collect(), next)
    }
}

const SPACE: Option<&str> = Some("m.space");

#[tokio::test]
async fn a_space_is_walked_depth_first_as_far_as_one_may_see() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let root = alice.room("root", "public_chat", SPACE).await;
    let inner = alice.room("inner", "public_chat", SPACE).await;
    let first = alice.room("first", "public_chat", None).await;
    let last = alice.room("last", "public_chat", None).await;
    let secret = alice.room("secret", "private_chat", None).await;
    let members = alice.room("members", "private_chat", None).await;
    let rule = json!({"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": root}]});
    alice.state(&members, "m.room.join_rules", "", rule).await;
    alice.child(&root, &last, json!({})).await;
    alice
        .child(&root, &inner, json!({"order": "b", "suggested": true}))
        .await;
    alice.child(&root, &first, json!({"order": "a"})).await;
    alice.child(&root, "!unknown:example.org", json!({"order": "0"})).await;
    for (order, child) in ["1", "2", "3", "4"].into_iter().zip([&secret, &members, &root, &first]) {
        alice.child(&inner, child, json!({ "order": order })).await;
    }
    // Taken out again: no `via`.
    let gone = alice.room("gone", "public_chat", None).await;
    alice.state(&root, "m.space.child", &gone, json!({})).await;

    let all = ["root", "first", "inner", "secret", "members", "last"].map(str::to_owned);
    assert_eq!(alice.names(&root, "").await, (all.to_vec(), None));
    // Who is not in the root sees neither private rooms nor those of the root's members.
    let seen = ["root", "first", "inner", "last"].map(str::to_owned);
    assert_eq!(bob.names(&root, "").await, (seen.to_vec(), None));
    bob.ask("POST", &format!("v3/join/{root}"), json!({})).await;
    let joined = ["root", "first", "inner", "members", "last"].map(str::to_owned);
    assert_eq!(bob.names(&root, "").await, (joined.to_vec(), None));

    assert_eq!(alice.names(&root, "?max_depth=0").await.0, ["root"]);
    assert_eq!(
        alice.names(&root, "?max_depth=1").await.0,
        ["root", "first", "inner", "last"]
    );
    assert_eq!(alice.names(&root, "?suggested_only=true").await.0, ["root", "inner"]);

    // Pages fit together.
    let (mut names, mut query, mut pages) = (Vec::new(), "?limit=2".to_owned(), 0);
    loop {
        let (page, next) = alice.names(&root, &query).await;
        names.extend(page);
        pages += 1;
        match next {
            Some(next) => query = format!("?limit=2&from={next}"),
            None => break,
        }
    }
    assert_eq!((names.as_slice(), pages), (all.as_slice(), 3));

    let (_, answer) = alice
        .ask("GET", &format!("v1/rooms/{root}/hierarchy?max_depth=0"), Value::Null)
        .await;
    let child = answer.pointer("/rooms/0/children_state/1").unwrap();
    assert_eq!(child.get("state_key"), Some(&json!(first)));
    assert_eq!(child.get("sender"), Some(&json!("@alice:example.org")));
    assert!(child.get("origin_server_ts").is_some_and(Value::is_u64), "{child}");
    assert_eq!(answer.pointer("/rooms/0/room_type"), Some(&json!("m.space")));
}

#[tokio::test]
async fn pages_and_depth_have_a_default_and_a_maximum() {
    let app = app();
    let alice = Client::new(&app, "alice").await;
    let wide = alice.room("wide", "public_chat", SPACE).await;
    let mut expected = vec!["wide".to_owned()];
    for number in 0..60 {
        let name = format!("c{number:02}");
        let child = alice.room(&name, "public_chat", None).await;
        alice.child(&wide, &child, json!({ "order": name })).await;
        expected.push(name);
    }
    for (query, count) in [
        ("", 20),
        ("?limit=1", 1),
        ("?limit=50", 50),
        ("?limit=9007199254740991", 50),
    ] {
        let (names, next) = alice.names(&wide, query).await;
        assert_eq!(Some(names.as_slice()), expected.get(..count), "{query}");
        assert!(next.is_some(), "{query}");
    }
    let (_, next) = alice.names(&wide, "?limit=50").await;
    let next = next.unwrap();
    let rest = alice.names(&wide, &format!("?limit=50&from={next}")).await;
    assert_eq!((Some(rest.0.as_slice()), &rest.1), (expected.get(50..), &None));
    // A token stays good, and a room that went shifts what comes.
    let (status, answer) = alice
        .ask("GET", &format!("v1/rooms/{wide}/hierarchy?limit=50"), Value::Null)
        .await;
    assert_eq!(status, 200);
    let first = answer.pointer("/rooms/1/room_id").and_then(Value::as_str).unwrap();
    alice.state(&wide, "m.space.child", first, json!({})).await;
    let rest = alice.names(&wide, &format!("?limit=50&from={next}")).await;
    assert_eq!((Some(rest.0.as_slice()), rest.1), (expected.get(51..), None));
    // One that says more than there is ends the list.
    let mut beyond = super::Token::parse(&next).unwrap();
    beyond.skip = usize::MAX;
    assert_eq!(
        alice.names(&wide, &format!("?from={}", beyond.text())).await,
        (Vec::new(), None)
    );

    let mut parent = alice.room("d00", "public_chat", SPACE).await;
    let deep = parent.clone();
    for number in 1..25 {
        let child = alice.room(&format!("d{number:02}"), "public_chat", SPACE).await;
        alice.child(&parent, &child, json!({})).await;
        parent = child;
    }
    for (query, levels) in [("", 20), ("&max_depth=3", 3), ("&max_depth=9007199254740991", 20)] {
        let (names, next) = alice.names(&deep, &format!("?limit=50{query}")).await;
        assert_eq!((names.len(), next), (levels + 1, None), "{query}");
    }
}

#[tokio::test]
async fn what_may_not_be_walked_is_refused() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let space = alice.room("space", "private_chat", SPACE).await;
    let other = alice.room("other", "public_chat", SPACE).await;
    for room in [space.as_str(), "!nowhere:example.org"] {
        let (status, answer) = bob.ask("GET", &format!("v1/rooms/{room}/hierarchy"), Value::Null).await;
        assert_eq!((status, answer.get("errcode")), (403, Some(&json!("M_FORBIDDEN"))));
    }
    alice.child(&space, &other, json!({})).await;
    let token = alice.names(&space, "?limit=1&max_depth=3").await.1.unwrap();
    for (room, query) in [
        (&space, "limit=0".to_owned()),
        (&space, "limit=-1".to_owned()),
        (&space, "from=h1".to_owned()),
        (&space, "from=x".to_owned()),
        (&space, format!("from={token}&max_depth=2")),
        (&space, format!("from={token}&suggested_only=true")),
        (&other, format!("from={token}")),
    ] {
        let (status, answer) = alice
            .ask("GET", &format!("v1/rooms/{room}/hierarchy?{query}"), Value::Null)
            .await;
        assert_eq!(
            (status, answer.get("errcode")),
            (400, Some(&json!("M_INVALID_PARAM"))),
            "{query}"
        );
    }
    assert_eq!(alice.names(&space, &format!("?from={token}")).await.0, ["other"]);
}

#[tokio::test]
async fn a_summary_is_shown_to_who_could_join() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let open = alice.room("open", "public_chat", SPACE).await;
    let closed = alice.room("closed", "private_chat", None).await;
    let names = |room: &str| {
        [
            format!("v1/room_summary/{room}"),
            format!("unstable/im.nheko.summary/summary/{room}"),
            format!("unstable/im.nheko.summary/rooms/{room}/summary"),
        ]
    };
    for path in names(&open) {
        let (status, answer) = bob.ask("GET", &path, Value::Null).await;
        // Without a `join_rule` a room is public: ruma leaves the default out.
        let expected = json!({
            "room_id": open, "name": "open", "num_joined_members": 1, "world_readable": false,
            "guest_can_join": false, "room_type": "m.space", "room_version": "12", "membership": "leave",
        });
        assert_eq!((status, answer), (200, expected), "{path}");
    }
    for room in [closed.as_str(), "!nowhere:example.org", "%23none:example.org"] {
        for path in names(room) {
            let (status, answer) = bob.ask("GET", &path, Value::Null).await;
            assert_eq!((status, answer.get("errcode")), (404, Some(&json!("M_NOT_FOUND"))));
        }
    }
    alice
        .ask(
            "POST",
            &format!("v3/rooms/{closed}/invite"),
            json!({"user_id": "@bob:example.org"}),
        )
        .await;
    let (status, answer) = bob.ask("GET", &format!("v1/room_summary/{closed}"), Value::Null).await;
    assert_eq!((status, answer.get("membership")), (200, Some(&json!("invite"))));
    assert_eq!(answer.get("join_rule"), Some(&json!("invite")));
    // Who is banned sees nothing of a room that everybody else could join.
    let ban = json!({"user_id": "@bob:example.org"});
    alice.ask("POST", &format!("v3/rooms/{open}/ban"), ban).await;
    assert_eq!(
        bob.ask("GET", &format!("v1/room_summary/{open}"), Value::Null).await.0,
        404
    );
}
