//! Events by time, over the whole way from a request to its answer.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::App;
use crate::testing::{app, call, register};
use lamchat_rooms::Caller;
use lamchat_rooms::send::Message;
use serde_json::{Value, json};
use std::sync::Arc;

const START: u64 = 1_800_000_000_000;

/// Asks for the event nearest to a time: status, and event id or errcode.
async fn ask(app: &Arc<App>, token: &str, room: &str, ts: u64, dir: &str) -> (u16, String) {
    let uri = format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts={ts}&dir={dir}");
    let (status, answer) = call(app, "GET", &uri, Some(token), None).await;
    let name = if status == 200 { "event_id" } else { "errcode" };
    let text = answer.get(name).and_then(Value::as_str).unwrap();
    (status.as_u16(), text.to_owned())
}

/// Sends a message that claims to be of `ts`, and answers its id.
async fn say(app: &Arc<App>, user: &str, room: &str, ts: u64) -> String {
    let user_id = ruma::UserId::parse(format!("@{user}:example.org")).unwrap();
    let num = lamchat_accounts::user::num(&app.store.read(), &user_id)
        .unwrap()
        .unwrap();
    let caller = Caller {
        user: num,
        user_id,
        device: None,
    };
    let message = Message {
        room: &ruma::RoomId::parse(room).unwrap(),
        event_type: "m.room.message",
        content: lamchat_rules::canonical::parse_object(br#"{"body":"x","msgtype":"m.text"}"#).unwrap(),
        transaction_id: &format!("t{ts}"),
        origin_server_ts: Some(ts),
    };
    app.rooms.send(&caller, message).await.unwrap()
}

async fn room(app: &Arc<App>, token: &str) -> String {
    let body = json!({"preset": "public_chat", "initial_state": [
        {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    ]});
    let (_, made) = call(app, "POST", "/_matrix/client/v3/createRoom", Some(token), Some(body)).await;
    made.get("room_id").and_then(Value::as_str).unwrap().to_owned()
}

#[tokio::test]
async fn the_nearest_event_on_each_side_is_found() {
    let app = app();
    let alice = register(&app, "alice").await;
    let room = room(&app, &alice).await;
    let mut ids = Vec::new();
    for number in 0..300 {
        ids.push(say(&app, "alice", &room, START + number * 10).await);
    }
    let id = |index: usize| (200, ids.get(index).cloned().unwrap());
    for index in [0, 1, 63, 64, 65, 150, 299] {
        let at = START + index as u64 * 10;
        assert_eq!(ask(&app, &alice, &room, at, "f").await, id(index));
        assert_eq!(ask(&app, &alice, &room, at, "b").await, id(index));
        assert_eq!(ask(&app, &alice, &room, at - 5, "f").await, id(index));
        assert_eq!(ask(&app, &alice, &room, at + 5, "b").await, id(index));
    }
    let none = (404, "M_NOT_FOUND".to_owned());
    assert_eq!(ask(&app, &alice, &room, START + 3_000, "f").await, none);
    assert_eq!(ask(&app, &alice, &room, 1, "b").await, none);
    // One that came late and claims an earlier time is still the nearest.
    let late = say(&app, "alice", &room, START + 2_904).await;
    assert_eq!(ask(&app, &alice, &room, START + 2_903, "f").await, (200, late));
}

#[tokio::test]
async fn nobody_learns_of_events_that_they_may_not_see() {
    let app = app();
    let (alice, bob) = (register(&app, "alice").await, register(&app, "bob").await);
    let room = room(&app, &alice).await;
    let hidden = say(&app, "alice", &room, START).await;
    let forbidden = (403, "M_FORBIDDEN".to_owned());
    assert_eq!(ask(&app, &bob, &room, START, "f").await, forbidden);
    assert_eq!(ask(&app, &bob, "!nowhere:example.org", START, "f").await, forbidden);
    call(
        &app,
        "POST",
        &format!("/_matrix/client/v3/join/{room}"),
        Some(&bob),
        Some(json!({})),
    )
    .await;
    let seen = say(&app, "alice", &room, START + 10).await;
    assert_eq!(ask(&app, &alice, &room, START, "f").await, (200, hidden));
    assert_eq!(ask(&app, &bob, &room, START, "f").await, (200, seen));
}

#[tokio::test]
async fn malformed_questions_are_refused() {
    let app = app();
    let alice = register(&app, "alice").await;
    let room = room(&app, &alice).await;
    for query in ["", "?ts=1", "?dir=f", "?ts=x&dir=f", "?ts=-1&dir=f", "?ts=1&dir=x"] {
        let uri = format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event{query}");
        let (status, answer) = call(&app, "GET", &uri, Some(&alice), None).await;
        assert_eq!(status, 400, "{query}: {answer}");
    }
}
