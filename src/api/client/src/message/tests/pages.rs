//! A room's events in pages, one of them with its context, and the members then and now.

use super::{CLIENT, Stage, bodies};
use crate::testing::register;
use serde_json::{Value, json};

#[tokio::test]
async fn messages_go_both_ways_and_end() {
    let stage = Stage::set().await;
    stage.texts(5).await;
    let first = stage.get(&stage.bob, "messages?dir=b&limit=2").await;
    assert_eq!(bodies(&first["chunk"]), ["4", "3"]);
    let end = first["end"].as_str().unwrap();
    let second = stage
        .get(&stage.bob, &format!("messages?dir=b&limit=2&from={end}"))
        .await;
    assert_eq!(bodies(&second["chunk"]), ["2", "1"]);
    let forward = stage
        .get(
            &stage.bob,
            &format!("messages?dir=f&limit=9&from={}", second["end"].as_str().unwrap()),
        )
        .await;
    assert_eq!(bodies(&forward["chunk"]), ["1", "2", "3", "4"]);
    assert!(forward.get("end").is_none());
    let all = stage.get(&stage.bob, "messages?dir=b&limit=1000").await;
    assert!(all.get("end").is_none());
    assert_eq!(
        all["chunk"].as_array().unwrap().last().unwrap()["type"],
        "m.room.create"
    );
    let oldest = stage.get(&stage.bob, "messages?dir=f&limit=1").await;
    assert_eq!(oldest["chunk"][0]["type"], "m.room.create");
    let sync = stage.get(&stage.bob, &format!("{CLIENT}/sync")).await;
    let newest = stage
        .get(
            &stage.bob,
            &format!("messages?dir=b&limit=1&from={}", sync["next_batch"].as_str().unwrap()),
        )
        .await;
    assert_eq!(bodies(&newest["chunk"]), ["4"]);
    let filter = "%7B%22types%22%3A%5B%22m.room.message%22%5D%2C%22lazy_load_members%22%3Atrue%7D";
    let filtered = stage
        .get(&stage.bob, &format!("messages?dir=b&limit=100&filter={filter}"))
        .await;
    assert_eq!(bodies(&filtered["chunk"]), ["4", "3", "2", "1", "0"]);
    assert_eq!(filtered["state"].as_array().unwrap().len(), 1);
    for wrong in [
        "messages",
        "messages?dir=x",
        "messages?dir=b&from=nonsense",
        "messages?dir=b&limit=-1",
        "messages?dir=b&filter=%7B",
    ] {
        assert_eq!(stage.call("GET", &stage.bob, wrong, None).await.0, 400, "{wrong}");
    }
    let carol = register(&stage.app, "carol").await;
    assert_eq!(stage.call("GET", &carol, "messages?dir=b", None).await.0, 403);
}

#[tokio::test]
async fn an_event_and_its_context() {
    let stage = Stage::set().await;
    let ids = stage.texts(7).await;
    let event = stage.get(&stage.bob, &format!("event/{}", ids[3])).await;
    assert_eq!(event["content"]["body"], "3");
    assert_eq!(event["room_id"], stage.room.as_str());
    assert!(event["unsigned"].get("transaction_id").is_none());
    let own = stage.get(&stage.alice, &format!("event/{}", ids[3])).await;
    assert_eq!(own["unsigned"]["transaction_id"], "t3");
    let context = stage.get(&stage.bob, &format!("context/{}?limit=4", ids[3])).await;
    assert_eq!(bodies(&context["events_before"]), ["2", "1"]);
    assert_eq!(context["event"]["event_id"], ids[3].as_str());
    assert_eq!(bodies(&context["events_after"]), ["4", "5"]);
    assert!(
        context["state"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["type"] == "m.room.create")
    );
    let on = stage
        .get(
            &stage.bob,
            &format!("messages?dir=f&from={}", context["end"].as_str().unwrap()),
        )
        .await;
    assert_eq!(bodies(&on["chunk"]), ["6"]);
    let back = stage
        .get(
            &stage.bob,
            &format!("messages?dir=b&limit=1&from={}", context["start"].as_str().unwrap()),
        )
        .await;
    assert_eq!(bodies(&back["chunk"]), ["0"]);
    let carol = register(&stage.app, "carol").await;
    assert_eq!(
        stage.call("GET", &carol, &format!("event/{}", ids[3]), None).await.0,
        404
    );
    assert_eq!(
        stage.call("GET", &carol, &format!("context/{}", ids[3]), None).await.0,
        403
    );
    assert_eq!(stage.call("GET", &stage.bob, "event/$nothing", None).await.0, 404);
}

#[tokio::test]
async fn the_filter_of_a_context_holds_for_the_state_as_well() {
    let stage = Stage::set().await;
    let sent = stage
        .call(
            "PUT",
            &stage.alice,
            "send/m.room.message/1",
            Some(json!({"msgtype": "m.text", "body": "hi"})),
        )
        .await;
    let event = sent.1["event_id"].as_str().unwrap().to_owned();
    let all = stage.get(&stage.bob, &format!("context/{event}")).await;
    assert!(all["state"].as_array().unwrap().len() > 3);
    let filter = "%7B%22types%22%3A%5B%22m.room.create%22%5D%7D";
    let some = stage.get(&stage.bob, &format!("context/{event}?filter={filter}")).await;
    assert_eq!(some["event"]["event_id"], event.as_str());
    let types: Vec<&Value> = some["state"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["type"])
        .collect();
    assert_eq!(types, ["m.room.create"]);
}

#[tokio::test]
async fn members_now_and_then() {
    let stage = Stage::set().await;
    let before = stage.get(&stage.alice, &format!("{CLIENT}/sync")).await;
    stage.post(&stage.bob, "leave", json!({})).await;
    let of = |answer: &Value| answer["chunk"].as_array().unwrap().len();
    assert_eq!(of(&stage.get(&stage.alice, "members?membership=join").await), 1);
    assert_eq!(of(&stage.get(&stage.alice, "members?not_membership=leave").await), 1);
    // Both together are one or the other.
    let either = "members?membership=leave&not_membership=leave";
    assert_eq!(of(&stage.get(&stage.alice, either).await), 2);
    assert_eq!(of(&stage.get(&stage.alice, "members").await), 2);
    let at = before["next_batch"].as_str().unwrap();
    assert_eq!(
        of(&stage
            .get(&stage.alice, &format!("members?membership=join&at={at}"))
            .await),
        2
    );
    let joined = stage.get(&stage.alice, "joined_members").await;
    assert_eq!(joined["joined"].as_object().unwrap().len(), 1);
    assert_eq!(stage.call("GET", &stage.bob, "joined_members", None).await.0, 403);
    assert_eq!(
        stage.call("GET", &stage.alice, "members?membership=x", None).await.0,
        400
    );
}
