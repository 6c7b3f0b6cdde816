//! What relates to an event: threads, references, annotations.

use super::{CLIENT, Stage, bodies};
use crate::testing::call;
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test]
async fn relations_and_threads() {
    let stage = Stage::set().await;
    let root = stage.texts(1).await.remove(0);
    let relate = |kind: &str, id: &str| json!({"msgtype": "m.text", "body": kind, "m.relates_to": {"rel_type": kind, "event_id": id}});
    let reply = stage.say(&stage.bob, "a", relate("m.thread", &root)).await;
    stage.say(&stage.alice, "b", relate("m.thread", &root)).await;
    stage.say(&stage.bob, "c", relate("m.reference", &reply)).await;
    let relations = |tail: &str| format!("/_matrix/client/v1/rooms/{}/relations/{root}{tail}", stage.room);
    let all = stage.get(&stage.bob, &relations("?limit=1")).await;
    assert_eq!(all["chunk"].as_array().unwrap().len(), 1);
    let more = stage
        .get(
            &stage.bob,
            &relations(&format!("?from={}", all["next_batch"].as_str().unwrap())),
        )
        .await;
    assert_eq!(more["chunk"][0]["event_id"], reply.as_str());
    assert!(more.get("next_batch").is_none());
    assert_eq!(
        bodies(
            &stage
                .get(&stage.bob, &relations("/m.thread/m.room.message?dir=f"))
                .await["chunk"]
        )
        .len(),
        2
    );
    assert_eq!(
        bodies(&stage.get(&stage.bob, &relations("/m.annotation")).await["chunk"]).len(),
        0
    );
    let deep = stage.get(&stage.bob, &relations("?recurse=true")).await;
    assert_eq!(
        (deep["chunk"].as_array().unwrap().len(), &deep["recursion_depth"]),
        (3, &json!(3))
    );
    let threads = stage
        .get(&stage.bob, &format!("/_matrix/client/v1/rooms/{}/threads", stage.room))
        .await;
    assert_eq!(threads["chunk"][0]["event_id"], root.as_str());
    assert_eq!(threads["chunk"][0]["unsigned"]["m.relations"]["m.thread"]["count"], 2);
    let mine = stage
        .get(
            &stage.bob,
            &format!("/_matrix/client/v1/rooms/{}/threads?include=participated", stage.room),
        )
        .await;
    assert_eq!(mine["chunk"].as_array().unwrap().len(), 1);
    let (status, _) = stage
        .call("PUT", &stage.bob, &format!("redact/{reply}/r"), Some(json!({})))
        .await;
    assert_eq!(status, 200);
    let after = stage.get(&stage.bob, &format!("event/{root}")).await;
    assert_eq!(after["unsigned"]["m.relations"]["m.thread"]["count"], 1);
    let redacted = stage.get(&stage.bob, &format!("event/{reply}")).await;
    assert_eq!(redacted["content"], json!({}));
    assert_eq!(redacted["unsigned"]["redacted_because"]["redacts"], reply.as_str());
}

#[tokio::test]
async fn threads_begin_at_events_that_relate_to_none_and_leave_out_who_is_ignored() {
    let stage = Stage::set().await;
    let say = async |token: &str, transaction: &str, relates_to: Value| {
        let content = json!({"msgtype": "m.text", "body": transaction, "m.relates_to": relates_to});
        let path = format!("send/m.room.message/{transaction}");
        stage.call("PUT", token, &path, Some(content)).await
    };
    let thread = |root: &Value| json!({"rel_type": "m.thread", "event_id": root});
    let id = |sent: &(u16, Value)| sent.1["event_id"].clone();
    let root = id(&say(&stage.bob, "root", json!({})).await);
    let child = id(&say(&stage.alice, "child", thread(&root)).await);
    let newest = say(&stage.bob, "newest", thread(&root)).await;
    assert_eq!(newest.0, 200);
    let (status, error) = say(&stage.alice, "nested", thread(&child)).await;
    assert_eq!((status, &error["errcode"]), (400, &json!("M_UNKNOWN")));
    // A reply relates by no type, and may be a root.
    let reply = id(&say(&stage.alice, "reply", json!({"m.in_reply_to": {"event_id": root}})).await);
    assert_eq!(say(&stage.alice, "under", thread(&reply)).await.0, 200);

    let threads = format!("/_matrix/client/v1/rooms/{}/threads", stage.room);
    let bundle = |page: &Value| {
        let roots = page["chunk"].as_array().unwrap();
        roots.iter().find(|event| event["event_id"] == root).unwrap().clone()
    };
    let before = bundle(&stage.get(&stage.alice, &threads).await);
    let thread_of = |event: &Value| event["unsigned"]["m.relations"]["m.thread"].clone();
    assert_eq!(thread_of(&before)["count"], 2);
    assert_eq!(thread_of(&before)["latest_event"]["content"]["body"], "newest");
    let ignore = format!("{CLIENT}/user/@alice:example.org/account_data/m.ignored_user_list");
    let content = json!({"ignored_users": {"@bob:example.org": {}}});
    assert_eq!(stage.call("PUT", &stage.alice, &ignore, Some(content)).await.0, 200);
    let after = bundle(&stage.get(&stage.alice, &threads).await);
    assert_eq!(after["content"], json!({}));
    assert_eq!(thread_of(&after)["count"], 1);
    assert_eq!(thread_of(&after)["latest_event"]["content"]["body"], "child");
}

#[tokio::test]
async fn nobody_annotates_twice_with_the_same_key() {
    let stage = Stage::set().await;
    let sent = stage
        .call(
            "PUT",
            &stage.alice,
            "send/m.room.message/1",
            Some(json!({"msgtype": "m.text", "body": "hi"})),
        )
        .await;
    let event = sent.1["event_id"].clone();
    let react = async |token: &str, transaction: &str, key: &str| {
        let content = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": key}});
        stage
            .call("PUT", token, &format!("send/m.reaction/{transaction}"), Some(content))
            .await
    };
    let (status, first) = react(&stage.bob, "a", "+").await;
    assert_eq!(status, 200, "{first}");
    // The same request again is answered as before, another is refused.
    assert_eq!(react(&stage.bob, "a", "+").await, (200, first.clone()));
    let (status, error) = react(&stage.bob, "b", "+").await;
    assert_eq!((status, &error["errcode"]), (400, &json!("M_DUPLICATE_ANNOTATION")));
    assert_eq!(react(&stage.bob, "c", "-").await.0, 200);
    assert_eq!(react(&stage.alice, "d", "+").await.0, 200);
    // Of many at once, one comes in.
    let mut at_once = tokio::task::JoinSet::new();
    for n in 0..12 {
        let (app, token) = (Arc::clone(&stage.app), stage.bob.clone());
        let content = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": "!"}});
        let path = format!("{CLIENT}/rooms/{}/send/m.reaction/many{n}", stage.room);
        at_once.spawn(async move { call(&app, "PUT", &path, Some(&token), Some(content)).await.0.as_u16() });
    }
    let mut answers = at_once.join_all().await;
    answers.sort_unstable();
    assert_eq!((answers.first(), answers.get(1)), (Some(&200), Some(&400)));
    let redact = format!("redact/{}/e", first["event_id"].as_str().unwrap());
    assert_eq!(stage.call("PUT", &stage.bob, &redact, Some(json!({}))).await.0, 200);
    assert_eq!(react(&stage.bob, "f", "+").await.0, 200);
    // The older way to one event knows the room by itself.
    let path = format!("{CLIENT}/events/{}", event.as_str().unwrap());
    assert_eq!(stage.get(&stage.bob, &path).await["content"]["body"], "hi");
    assert_eq!(
        stage
            .call("GET", &stage.bob, &format!("{CLIENT}/events/$x"), None)
            .await
            .0,
        404
    );
}
