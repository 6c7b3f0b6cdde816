//! The endpoints that show a room's events, over the router.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::App;
use crate::testing::{app, call, register};
use serde_json::{Value, json};
use std::sync::Arc;

const CLIENT: &str = "/_matrix/client/v3";

struct Stage {
    app: Arc<App>,
    alice: String,
    bob: String,
    room: String,
}

impl Stage {
    /// Alice and Bob in a public room.
    async fn set() -> Self {
        let app = app();
        let (alice, bob) = (register(&app, "alice").await, register(&app, "bob").await);
        let (status, made) = call(
            &app,
            "POST",
            &format!("{CLIENT}/createRoom"),
            Some(&alice),
            Some(json!({"preset": "public_chat"})),
        )
        .await;
        assert_eq!(status, 200, "{made}");
        let room = made["room_id"].as_str().unwrap().to_owned();
        let stage = Self { app, alice, bob, room };
        stage.post(&stage.bob, "join", json!({})).await;
        stage
    }

    async fn call(&self, method: &str, token: &str, tail: &str, body: Option<Value>) -> (u16, Value) {
        let uri = if tail.starts_with('/') {
            tail.to_owned()
        } else {
            format!("{CLIENT}/rooms/{}/{tail}", self.room)
        };
        let (status, answer) = call(&self.app, method, &uri, Some(token), body).await;
        (status.as_u16(), answer)
    }

    async fn get(&self, token: &str, tail: &str) -> Value {
        let (status, answer) = self.call("GET", token, tail, None).await;
        assert_eq!(status, 200, "{tail}: {answer}");
        answer
    }

    async fn post(&self, token: &str, tail: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", token, tail, Some(body)).await;
        assert_eq!(status, 200, "{tail}: {answer}");
        answer
    }

    async fn say(&self, token: &str, transaction: &str, content: Value) -> String {
        let (status, answer) = self
            .call(
                "PUT",
                token,
                &format!("send/m.room.message/{transaction}"),
                Some(content),
            )
            .await;
        assert_eq!(status, 200, "{answer}");
        answer["event_id"].as_str().unwrap().to_owned()
    }

    async fn texts(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for n in 0..count {
            ids.push(
                self.say(
                    &self.alice,
                    &format!("t{n}"),
                    json!({"msgtype": "m.text", "body": n.to_string()}),
                )
                .await,
            );
        }
        ids
    }
}

fn bodies(events: &Value) -> Vec<&str> {
    events
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["content"]["body"].as_str())
        .collect()
}

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
async fn sync_refuses_what_it_does_not_understand() {
    let stage = Stage::set().await;
    for wrong in [
        "since=x",
        "timeout=x",
        "filter=%7B%22room%22%3A7%7D",
        "filter=77",
        "full_state=perhaps",
    ] {
        assert_eq!(
            stage
                .call("GET", &stage.bob, &format!("{CLIENT}/sync?{wrong}"), None)
                .await
                .0,
            400,
            "{wrong}"
        );
    }
    let sliding = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
    let (status, answer) = stage
        .call("POST", &stage.bob, &format!("{sliding}?pos=1_1"), Some(json!({})))
        .await;
    assert_eq!((status, &answer["errcode"]), (400, &json!("M_UNKNOWN_POS")));
    let (status, answer) = stage
        .call(
            "POST",
            &stage.bob,
            sliding,
            Some(json!({"lists": {"a": {"ranges": [[0, 5]]}}})),
        )
        .await;
    assert_eq!((status, &answer["lists"]["a"]["count"]), (200, &json!(1)));
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
async fn a_suspended_account_reads_redacts_its_own_and_leaves() {
    let stage = Stage::set().await;
    let own = stage.say(&stage.bob, "own", json!({"body": "own"})).await;
    let second = stage.say(&stage.bob, "second", json!({"body": "second"})).await;
    let foreign = stage.say(&stage.alice, "foreign", json!({"body": "foreign"})).await;
    let suspended = |txn: &mut lamchat_store::WriteTxn<'_>| {
        let bob = lamchat_accounts::user::num(txn, <&ruma::UserId>::try_from("@bob:example.org").unwrap())?.unwrap();
        lamchat_accounts::account::set_suspended(txn, bob, true)
    };
    stage.app.store.write(suspended).await.unwrap();
    let other = stage
        .post(
            &stage.alice,
            &format!("{CLIENT}/createRoom"),
            json!({"preset": "public_chat"}),
        )
        .await;
    let other = other["room_id"].as_str().unwrap().to_owned();
    let redacts = |event: &str| json!({"redacts": event});
    for (method, tail, body) in [
        ("PUT", "send/m.room.message/t".to_owned(), json!({"body": "x"})),
        ("PUT", "state/m.room.topic".to_owned(), json!({"topic": "x"})),
        ("PUT", format!("redact/{foreign}/t"), json!({})),
        ("PUT", "send/m.room.redaction/t".to_owned(), redacts(&foreign)),
        ("POST", "invite".to_owned(), json!({"user_id": "@alice:example.org"})),
        ("POST", format!("{CLIENT}/join/{other}"), json!({})),
        ("POST", format!("{CLIENT}/knock/{other}"), json!({})),
        ("POST", format!("{CLIENT}/createRoom"), json!({})),
        (
            "PUT",
            format!("{CLIENT}/profile/@bob:example.org/displayname"),
            json!({"displayname": "B"}),
        ),
    ] {
        let (status, answer) = stage.call(method, &stage.bob, &tail, Some(body)).await;
        assert_eq!(
            (status, &answer["errcode"]),
            (403, &json!("M_USER_SUSPENDED")),
            "{tail}"
        );
    }
    stage.get(&stage.bob, "messages?dir=b").await;
    for (tail, body) in [
        (format!("redact/{own}/t"), json!({})),
        ("send/m.room.redaction/u".to_owned(), redacts(&second)),
    ] {
        let (status, answer) = stage.call("PUT", &stage.bob, &tail, Some(body)).await;
        assert_eq!(status, 200, "{tail}: {answer}");
    }
    stage.post(&stage.bob, "leave", json!({})).await;
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
