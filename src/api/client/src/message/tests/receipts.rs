//! Receipts, of a thread as well, read markers and typing.

use super::{CLIENT, Stage};
use serde_json::{Value, json};

#[tokio::test]
async fn receipts_markers_and_typing() {
    let stage = Stage::set().await;
    let ids = stage.texts(2).await;
    stage
        .post(&stage.bob, &format!("receipt/m.read/{}", ids[0]), json!({}))
        .await;
    stage
        .post(
            &stage.bob,
            "read_markers",
            json!({"m.fully_read": ids[1], "m.read.private": ids[1]}),
        )
        .await;
    let (status, _) = stage
        .call(
            "PUT",
            &stage.bob,
            "typing/@bob:example.org",
            Some(json!({"typing": true, "timeout": 5000})),
        )
        .await;
    assert_eq!(status, 200);
    let sync = stage.get(&stage.bob, &format!("{CLIENT}/sync")).await;
    let block = &sync["rooms"]["join"][stage.room.as_str()];
    let ephemeral = block["ephemeral"]["events"].as_array().unwrap();
    assert_eq!(ephemeral[0]["content"]["user_ids"], json!(["@bob:example.org"]));
    assert!(ephemeral[1]["content"][ids[1].as_str()]["m.read.private"].is_object());
    assert_eq!(
        block["account_data"]["events"][0],
        json!({"type": "m.fully_read", "content": {"event_id": ids[1]}})
    );
    for (method, tail, body) in [
        ("POST", "receipt/m.read/$nothing".to_owned(), json!({})),
        (
            "POST",
            format!("receipt/m.fully_read/{}", ids[0]),
            json!({"thread_id": "main"}),
        ),
        ("POST", format!("receipt/m.unknown/{}", ids[0]), json!({})),
        ("PUT", "typing/@alice:example.org".to_owned(), json!({"typing": true})),
    ] {
        let (status, _) = stage.call(method, &stage.bob, &tail, Some(body)).await;
        assert!((400..500).contains(&status), "{tail}: {status}");
    }
}

#[tokio::test]
async fn receipts_of_a_thread_are_for_its_events() {
    let stage = Stage::set().await;
    let root = stage.say(&stage.alice, "root", json!({"body": "root"})).await;
    let relate = |kind: &str, to: &str| json!({"body": "x", "m.relates_to": {"rel_type": kind, "event_id": to}});
    let reply = stage.say(&stage.alice, "reply", relate("m.thread", &root)).await;
    let reference = stage
        .say(&stage.alice, "reference", relate("m.reference", &reply))
        .await;
    let plain = stage.say(&stage.alice, "plain", json!({"body": "plain"})).await;
    for (event, thread, expected) in [
        (&root, "main", 200),
        (&root, root.as_str(), 200),
        (&plain, root.as_str(), 400),
        (&plain, "main", 200),
        (&reply, "main", 400),
        (&reply, plain.as_str(), 400),
        (&reply, root.as_str(), 200),
        (&reference, root.as_str(), 200),
        (&reference, "main", 400),
        (&plain, "$nothing", 400),
    ] {
        let tail = format!("receipt/m.read/{event}");
        let (status, answer) = stage
            .call("POST", &stage.bob, &tail, Some(json!({"thread_id": thread})))
            .await;
        assert_eq!(status, expected, "{event} in {thread}: {answer}");
        assert!(status == 200 || answer["errcode"] == "M_INVALID_PARAM", "{answer}");
    }
    assert_eq!(
        stage
            .call("POST", &stage.bob, &format!("receipt/m.read/{reply}"), Some(json!({})))
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn one_event_can_be_read_in_two_threads() {
    let stage = Stage::set().await;
    let content = json!({"msgtype": "m.text", "body": "root"});
    let sent = stage
        .call("PUT", &stage.alice, "send/m.room.message/1", Some(content))
        .await;
    let root = sent.1["event_id"].as_str().unwrap().to_owned();
    for thread in [json!({"thread_id": "main"}), json!({"thread_id": root}), json!({})] {
        stage.post(&stage.bob, &format!("receipt/m.read/{root}"), thread).await;
    }
    let sync = stage.get(&stage.alice, &format!("{CLIENT}/sync")).await;
    let events = sync["rooms"]["join"][&stage.room]["ephemeral"]["events"]
        .as_array()
        .unwrap();
    let mut threads: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "m.receipt")
        .map(|event| &event["content"][&root]["m.read"]["@bob:example.org"]["thread_id"])
        .collect();
    threads.sort_by_key(|thread| thread.to_string());
    assert_eq!(threads, [&json!(root), &json!("main"), &Value::Null]);
}
