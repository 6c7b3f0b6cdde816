//! What is refused: a sync that is not understood, and most acts of a suspended account.

use super::{CLIENT, Stage};
use serde_json::json;

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
