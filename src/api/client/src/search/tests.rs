//! Tests.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::App;
use crate::testing::{self, call};
use serde_json::{Value, json};
use std::sync::Arc;

async fn room(app: &Arc<App>, token: &str, body: Value) -> String {
    let (_, room) = call(app, "POST", "/_matrix/client/v3/createRoom", Some(token), Some(body)).await;
    room["room_id"].as_str().unwrap().to_owned()
}

async fn say(app: &Arc<App>, token: &str, room: &str, body: &str) -> String {
    let content = json!({"msgtype": "m.text", "body": body});
    let txn = body.replace(' ', "-");
    let target = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{txn}");
    let (status, sent) = call(app, "PUT", &target, Some(token), Some(content)).await;
    assert_eq!(status, 200, "{sent}");
    sent["event_id"].as_str().unwrap().to_owned()
}

async fn post(app: &Arc<App>, token: &str, room: &str, what: &str) {
    let target = format!("/_matrix/client/v3/rooms/{room}/{what}");
    assert_eq!(call(app, "POST", &target, Some(token), Some(json!({}))).await.0, 200);
}

async fn search(app: &Arc<App>, token: &str, criteria: Value, from: Option<&str>) -> Value {
    let from = from.map(|from| format!("?next_batch={from}")).unwrap_or_default();
    let target = format!("/_matrix/client/v3/search{from}");
    let body = json!({"search_categories": {"room_events": criteria}});
    let (status, answer) = call(app, "POST", &target, Some(token), Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer["search_categories"]["room_events"].clone()
}

fn bodies(found: &Value) -> Vec<&str> {
    let results = found["results"].as_array().unwrap();
    results
        .iter()
        .map(|found| found["result"]["content"]["body"].as_str().unwrap_or("?"))
        .collect()
}

#[tokio::test]
async fn only_what_the_searcher_may_see_is_found() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let bob = testing::register(&app, "bob").await;
    let open = room(
        &app,
        &alice,
        json!({"preset": "public_chat", "name": "Needles", "topic": "a needle"}),
    )
    .await;
    let private = room(&app, &alice, json!({})).await;
    let secret = json!([{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]);
    let secret = room(&app, &alice, json!({"initial_state": secret})).await;
    say(&app, &alice, &open, "needle one").await;
    say(&app, &alice, &private, "needle two").await;
    say(&app, &alice, &secret, "needle three").await;
    let gone = say(&app, &alice, &open, "needle four").await;
    let redact = format!("/_matrix/client/v3/rooms/{open}/redact/{gone}/1");
    assert_eq!(call(&app, "PUT", &redact, Some(&alice), Some(json!({}))).await.0, 200);
    let criteria = json!({"search_term": "NEEDLE", "keys": ["content.body"], "order_by": "recent"});
    assert_eq!(
        bodies(&search(&app, &alice, criteria.clone(), None).await),
        ["needle two", "needle one"]
    );
    assert!(bodies(&search(&app, &bob, criteria.clone(), None).await).is_empty());
    post(&app, &bob, &open, "join").await;
    assert_eq!(
        bodies(&search(&app, &bob, criteria.clone(), None).await),
        ["needle one"]
    );
    post(&app, &bob, &open, "leave").await;
    say(&app, &alice, &open, "needle five").await;
    let found = search(&app, &bob, criteria.clone(), None).await;
    assert_eq!((bodies(&found), &found["count"]), (vec!["needle one"], &json!(1)));
    assert_eq!(found["highlights"], json!(["needle"]));
    assert_eq!(found["results"][0]["result"]["room_id"], json!(open));
    assert_eq!(
        (&found["next_batch"], &found["groups"], &found["state"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    post(&app, &bob, &open, "forget").await;
    assert!(bodies(&search(&app, &bob, criteria.clone(), None).await).is_empty());
    // Names and topics are searched as well.
    for (key, kind) in [("content.name", "m.room.name"), ("content.topic", "m.room.topic")] {
        let found = search(&app, &alice, json!({"search_term": "needle", "keys": [key]}), None).await;
        assert_eq!(found["results"].as_array().unwrap().len(), 1, "{found}");
        assert_eq!(found["results"][0]["result"]["type"], kind);
    }
    assert_eq!(
        search(&app, &alice, json!({"search_term": "needle"}), None).await["count"],
        5
    );
    assert_eq!(
        search(&app, &alice, json!({"search_term": "  "}), None).await["count"],
        0
    );
    let filter = json!({"rooms": [private], "senders": ["@alice:example.org"]});
    let found = search(&app, &alice, json!({"search_term": "needle", "filter": filter}), None).await;
    assert_eq!(bodies(&found), ["needle two"]);
}

#[tokio::test]
async fn pages_follow_each_other_in_both_orders_and_in_groups() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let bob = testing::register(&app, "bob").await;
    let rooms = [
        room(&app, &alice, json!({"preset": "public_chat"})).await,
        room(&app, &alice, json!({"preset": "public_chat"})).await,
    ];
    post(&app, &bob, &rooms[0], "join").await;
    for number in 0..7 {
        let token = if number == 3 { &bob } else { &alice };
        // The more words, the worse it fits.
        say(
            &app,
            token,
            &rooms[number % 2 * usize::from(number != 3)],
            &format!("hay {}", "x ".repeat(number)),
        )
        .await;
    }
    for order_by in ["recent", "rank"] {
        let criteria = json!({"search_term": "hay", "order_by": order_by, "filter": {"limit": 3},
            "groupings": {"group_by": [{"key": "room_id"}, {"key": "sender"}]}});
        let (mut all, mut from, mut pages) = (Vec::new(), None, 0);
        loop {
            let found = search(&app, &alice, criteria.clone(), from.as_deref()).await;
            all.extend(bodies(&found).iter().map(|body| body.matches('x').count()));
            pages += 1;
            let shown: usize = ["room_id", "sender"]
                .iter()
                .flat_map(|by| found["groups"][by].as_object().unwrap().values())
                .map(|group| group["results"].as_array().unwrap().len())
                .sum();
            assert_eq!(shown, 2 * bodies(&found).len());
            match found["next_batch"].as_str() {
                Some(next) => from = Some(next.to_owned()),
                None => break,
            }
        }
        let mut expected: Vec<usize> = (0..7).collect();
        if order_by == "recent" {
            expected.reverse();
        }
        assert_eq!((all, pages), (expected, 3), "{order_by}");

        // The rest of one group.
        let found = search(&app, &alice, criteria.clone(), None).await;
        for (by, name, of_it) in [
            ("room_id", rooms[1].as_str(), vec![1, 5]),
            ("sender", "@alice:example.org", vec![0, 1, 2, 4, 5, 6]),
        ] {
            let group = &found["groups"][by][name];
            let mut seen: Vec<usize> = Vec::new();
            for id in group["results"].as_array().unwrap() {
                let results = found["results"].as_array().unwrap();
                let hit = results.iter().find(|hit| hit["result"]["event_id"] == *id).unwrap();
                seen.push(hit["result"]["content"]["body"].as_str().unwrap().matches('x').count());
            }
            let mut next = group["next_batch"].as_str().map(str::to_owned);
            while let Some(from) = next {
                let found = search(&app, &alice, criteria.clone(), Some(&from)).await;
                seen.extend(bodies(&found).iter().map(|body| body.matches('x').count()));
                next = found["next_batch"].as_str().map(str::to_owned);
            }
            seen.sort_unstable();
            assert_eq!(seen, of_it, "{order_by} {by}");
        }
    }
}

#[tokio::test]
async fn context_profiles_and_state_come_along() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let name = "/_matrix/client/v3/profile/@alice:example.org/displayname";
    call(&app, "PUT", name, Some(&alice), Some(json!({"displayname": "Alice"}))).await;
    let room = room(&app, &alice, json!({"name": "Barn"})).await;
    for body in ["one", "two", "needle", "four", "five"] {
        say(&app, &alice, &room, body).await;
    }
    let criteria = json!({"search_term": "needle", "include_state": true,
        "event_context": {"before_limit": 1, "after_limit": 2, "include_profile": true}});
    let found = search(&app, &alice, criteria, None).await;
    let context = &found["results"][0]["context"];
    let bodies = |name: &str| -> Vec<Value> {
        let events = context[name].as_array().unwrap();
        events.iter().map(|event| event["content"]["body"].clone()).collect()
    };
    assert_eq!(
        (bodies("events_before"), bodies("events_after")),
        (vec![json!("two")], vec![json!("four"), json!("five")])
    );
    assert_eq!(
        context["profile_info"],
        json!({"@alice:example.org": {"displayname": "Alice"}})
    );
    let state = found["state"][&room].as_array().unwrap();
    assert!(
        state
            .iter()
            .any(|event| event["type"] == "m.room.name" && event["content"]["name"] == "Barn")
    );
    // The tokens go on where the context ends.
    let target = format!(
        "/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=1&from={}",
        context["start"].as_str().unwrap()
    );
    let (_, page) = call(&app, "GET", &target, Some(&alice), None).await;
    assert_eq!(page["chunk"][0]["content"]["body"], "one");
}

#[tokio::test]
async fn wishes_that_make_no_sense_are_refused() {
    let app = testing::app();
    let alice = testing::register(&app, "alice").await;
    let target = "/_matrix/client/v3/search";
    for (target, criteria) in [
        (target, json!({"search_term": "x".repeat(513)})),
        (target, json!({"search_term": "x", "keys": ["content.secret"]})),
        (target, json!({"search_term": "x", "order_by": "luck"})),
        (
            target,
            json!({"search_term": "x", "groupings": {"group_by": [{"key": "age"}]}}),
        ),
        (target, json!({"search_term": "x", "filter": {"limit": -1}})),
        (target, json!({"search_term": 7})),
        (target, json!({})),
        ("/_matrix/client/v3/search?next_batch=x", json!({"search_term": "x"})),
        (
            "/_matrix/client/v3/search?next_batch=f9_1_1",
            json!({"search_term": "x"}),
        ),
    ] {
        let body = json!({"search_categories": {"room_events": criteria}});
        let (status, error) = call(&app, "POST", target, Some(&alice), Some(body)).await;
        assert_eq!(status, 400, "{error}");
        assert!(error["errcode"].is_string());
    }
    let (status, answer) = call(
        &app,
        "POST",
        target,
        Some(&alice),
        Some(json!({"search_categories": {}})),
    )
    .await;
    assert_eq!((status.as_u16(), answer), (200, json!({"search_categories": {}})));
}
