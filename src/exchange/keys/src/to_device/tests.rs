#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{
    CONTENT_BYTES_MAX, DAY_MS, INBOX_BYTES_MAX, Message, SendError, Sending, acknowledge, event, send, since, waits,
};
use crate::testing::{Someone, raw, store, write};
use lamchat_base::{DeviceNum, Position};
use lamchat_store::Store;
use serde_json::{Value, json};

fn deliver(store: &Store, from: &Someone, to: &[&Someone], transaction_id: &str, now_ms: u64, content: &Value) -> bool {
    let event = event("m.room_key", &from.user_id, &raw(content)).unwrap();
    let messages: Vec<Message> = to
        .iter()
        .map(|to| Message {
            to: to.user,
            devices: vec![to.device],
            event: event.clone(),
        })
        .collect();
    let sending = Sending {
        sender: from.user,
        device: from.device,
        transaction_id: transaction_id.to_owned(),
        now_ms,
    };
    write(store, move |txn| send(txn, &sending, &messages)).unwrap()
}

fn inbox(store: &Store, device: DeviceNum, from: Position) -> Vec<(Position, Value)> {
    let messages = since(&store.read(), device, from, Position(u64::MAX), 100).unwrap();
    messages
        .into_iter()
        .map(|(position, event)| (position, serde_json::from_slice(&event).unwrap()))
        .collect()
}

#[test]
fn messages_wait_until_they_are_acknowledged() {
    let store = store();
    let (alice, bob) = (Someone::new(&store, "alice", "PHONE"), Someone::new(&store, "bob", "X"));
    assert!(deliver(&store, &alice, &[&bob], "1", 0, &json!({"n": 1})));
    assert!(deliver(&store, &alice, &[&bob, &alice], "2", 0, &json!({"n": 2})));
    let messages = inbox(&store, bob.device, Position(0));
    assert_eq!(
        messages[0].1,
        json!({"type": "m.room_key", "sender": "@alice:example.org", "content": {"n": 1}})
    );
    assert_eq!(messages[1].1["content"]["n"], 2);
    assert_eq!(inbox(&store, alice.device, Position(0)).len(), 1);

    let (first, device) = (messages[0].0, bob.device);
    assert_eq!(inbox(&store, device, first).len(), 1);
    assert_eq!(since(&store.read(), device, Position(0), first, 100).unwrap().len(), 1);
    assert_eq!(
        since(&store.read(), device, Position(0), Position(u64::MAX), 1)
            .unwrap()
            .len(),
        1
    );
    assert!(waits(&store.read(), device, first).unwrap());
    assert_eq!(write(&store, move |txn| acknowledge(txn, device, first)).unwrap(), 1);
    assert!(!waits(&store.read(), device, first).unwrap());
    assert_eq!(write(&store, move |txn| acknowledge(txn, device, first)).unwrap(), 0);
    assert_eq!(inbox(&store, device, Position(0)).len(), 1);
}

#[test]
fn a_transaction_sends_once_per_device() {
    let store = store();
    let (alice, bob) = (Someone::new(&store, "alice", "PHONE"), Someone::new(&store, "bob", "X"));
    let tablet = Someone::device_of(&store, alice.user, "TABLET");
    let now = 1000 * DAY_MS;
    assert!(deliver(&store, &alice, &[&bob], "1", now, &json!({})));
    assert!(!deliver(&store, &alice, &[&bob], "1", now, &json!({})));
    assert!(!deliver(&store, &alice, &[&bob], "1", now + 2 * DAY_MS, &json!({})));
    assert!(!deliver(&store, &alice, &[&bob], "1", now - DAY_MS, &json!({})));
    assert!(deliver(&store, &tablet, &[&bob], "1", now, &json!({})));
    assert_eq!(inbox(&store, bob.device, Position(0)).len(), 2);
    // Old ids are swept, a few with each send.
    assert!(deliver(&store, &alice, &[&bob], "2", now + 5 * DAY_MS, &json!({})));
    assert!(deliver(&store, &alice, &[&bob], "1", now + 5 * DAY_MS, &json!({})));
}

#[test]
fn what_is_too_large_is_refused() {
    let store = store();
    let alice = Someone::new(&store, "alice", "PHONE");
    let content = raw(&json!({"x": "x".repeat(CONTENT_BYTES_MAX)}));
    assert!(matches!(event("t", &alice.user_id, &content), Err(SendError::TooLarge)));
    assert!(matches!(
        event(&"t".repeat(256), &alice.user_id, &raw(&json!({}))),
        Err(SendError::NameTooLong)
    ));
}

#[test]
fn deleted_devices_get_nothing() {
    let store = store();
    let (alice, bob) = (Someone::new(&store, "alice", "PHONE"), Someone::new(&store, "bob", "X"));
    let (user, id) = (bob.user, bob.device_id.clone());
    write(&store, move |txn| lamchat_accounts::device::remove(txn, user, &id)).unwrap();
    assert!(deliver(&store, &alice, &[&bob], "1", 0, &json!({})));
    assert!(inbox(&store, bob.device, Position(0)).is_empty());
}

#[test]
fn a_full_inbox_drops_the_oldest() {
    let store = store();
    let (alice, bob) = (Someone::new(&store, "alice", "PHONE"), Someone::new(&store, "bob", "X"));
    let content = json!({"x": "x".repeat(CONTENT_BYTES_MAX - 100)});
    let fits = usize::try_from(INBOX_BYTES_MAX).unwrap() / CONTENT_BYTES_MAX;
    for n in 0..fits + 10 {
        deliver(&store, &alice, &[&bob], &n.to_string(), 0, &content);
    }
    let messages = since(&store.read(), bob.device, Position(0), Position(u64::MAX), 10_000).unwrap();
    assert!(messages.len() <= fits + 1 && messages.len() > fits - 10);
    let bytes: usize = messages.iter().map(|(_, event)| event.len()).sum();
    assert!(bytes as u64 <= INBOX_BYTES_MAX);
}
