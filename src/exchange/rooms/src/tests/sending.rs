//! Sending, state, redacting, transaction ids, and what happens when many send at once.

use super::*;
use crate::put_state::PutStateError;
use crate::redact::RedactError;
use crate::send::SendError;
use crate::{AppendError, event};
use lamchat_base::Secret;
use lamchat_store::Options;
use serde_json::json;

#[tokio::test]
async fn a_transaction_is_done_once() {
    let x = exchange();
    let (alice, bob) = (x.user("alice").await, x.user("bob").await);
    let room = x.room(&alice, "12", Preset::PublicChat).await;
    let other = x.room(&alice, "12", Preset::PublicChat).await;
    x.rooms.join(&bob, &room, None).await.unwrap();
    let first = x.say(&alice, &room, "t").await.unwrap();
    assert_eq!(x.say(&alice, &room, "t").await.unwrap(), first);
    // Another device, another room, another endpoint: other transactions.
    let mut events = vec![
        first.clone(),
        x.say(&bob, &room, "t").await.unwrap(),
        x.say(&alice, &other, "t").await.unwrap(),
    ];
    events.push(x.rooms.redact(&alice, &room, &first, None, "t").await.unwrap());
    let sent = events.len();
    events.sort();
    events.dedup();
    assert_eq!(events.len(), sent);
    let redaction = x.rooms.redact(&alice, &room, &first, None, "t").await.unwrap();
    assert!(events.contains(&redaction));
    // After a restart everything that was in memory is gone.
    let restarted = Exchange {
        rooms: rooms_on(&x.store),
        store: x.store.clone(),
    };
    assert_eq!(restarted.say(&alice, &room, "t").await.unwrap(), first);
    assert_eq!(
        restarted.rooms.redact(&alice, &room, &first, None, "t").await.unwrap(),
        redaction
    );
    let length = x.timeline(&room).len();
    let tries = (0..16).map(|_| x.say(&alice, &room, "same"));
    let ids: Vec<String> = futures_join(tries).await.into_iter().map(Result::unwrap).collect();
    assert!(ids.windows(2).all(|pair| pair.first() == pair.last()));
    assert_eq!(x.timeline(&room).len(), length + 1);
}

#[tokio::test]
async fn a_transaction_is_done_once_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let options = Options {
            dir: folder.path().to_owned(),
            key: Secret::new([3; 64]),
            tables: tables(),
            progress: lamchat_store::Progress::default(),
        };
        let store = Store::open(options).unwrap();
        Exchange {
            rooms: rooms_on(&store),
            store,
        }
    };
    let x = open();
    let alice = x.user("alice").await;
    let room = x.room(&alice, "12", Preset::PublicChat).await;
    let sent = x.say(&alice, &room, "t").await.unwrap();
    let redaction = x.rooms.redact(&alice, &room, &sent, None, "t").await.unwrap();
    let types = x.timeline(&room);
    x.store.close().await;
    drop(x);
    let x = open();
    assert_eq!(x.user("alice").await, alice);
    assert_eq!(x.say(&alice, &room, "t").await.unwrap(), sent);
    assert_eq!(
        x.rooms.redact(&alice, &room, &sent, None, "t").await.unwrap(),
        redaction
    );
    assert_eq!(x.timeline(&room), types);
    x.say(&alice, &room, "u").await.unwrap();
    assert_eq!(x.timeline(&room).len(), types.len() + 1);
}

/// Polls all of them until all are ready.
async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        for (future, output) in &mut waiting {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if waiting.iter().any(|(_, output)| output.is_none()) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(waiting.iter_mut().filter_map(|(_, output)| output.take()).collect())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_senders_make_one_chain() {
    let x = Arc::new(exchange());
    let alice = x.user("alice").await;
    let room = x.room(&alice, "12", Preset::PublicChat).await;
    let mut tasks = Vec::new();
    for n in 0..64 {
        let (x, room) = (Arc::clone(&x), room.clone());
        tasks.push(tokio::spawn(async move {
            let user = x.user(&format!("user{n}")).await;
            x.rooms.join(&user, &room, None).await.unwrap();
            for m in 0..4 {
                let transaction = m.to_string();
                let sent = x.say(&user, &room, &transaction);
                if n % 8 == 0 && m == 2 {
                    // A client that goes away must not leave the room in disorder.
                    let _ = tokio::time::timeout(std::time::Duration::from_micros(50), sent).await;
                } else {
                    sent.await.unwrap();
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let types = x.timeline(&room);
    let messages = types.iter().filter(|t| *t == "m.room.message").count();
    assert!((64 * 4 - 8..=64 * 4).contains(&messages), "{messages}");
    assert_eq!(types.iter().filter(|t| *t == "m.room.member").count(), 65);
    let read = x.store.read();
    let num = crate::room::num(&read, &room).unwrap().unwrap();
    let head = crate::head::Head::of(&read, num).unwrap().unwrap();
    assert_eq!(head.joined, 65);
    assert_eq!(
        state::all_at(&read, head.state_group).unwrap(),
        state::current_all(&read, num).unwrap()
    );
}

#[tokio::test]
async fn the_state_at_every_event_is_known() {
    let x = exchange();
    let alice = x.user("alice").await;
    let room = x.room(&alice, "11", Preset::PublicChat).await;
    let mut expected = Vec::new();
    for n in 0..70 {
        let content = object(json!({"n": n}));
        x.rooms
            .put_state(&alice, &room, "org.example", &(n % 7).to_string(), content)
            .await
            .unwrap();
        let id = x.say(&alice, &room, &n.to_string()).await.unwrap();
        let read = x.store.read();
        let num = crate::room::num(&read, &room).unwrap().unwrap();
        expected.push((id, state::current_all(&read, num).unwrap()));
    }
    let read = x.store.read();
    for (id, state) in expected {
        let (_, bytes) = event_id::find(&read, &id).unwrap().unwrap();
        let group = EventRow::decode(&bytes).unwrap().state_group;
        assert_eq!(state::all_at(&read, group).unwrap(), state);
        for ((event_type, state_key), position) in state {
            assert_eq!(
                state::at(&read, group, &event_type, &state_key).unwrap(),
                Some(position)
            );
        }
        assert_eq!(state::at(&read, group, "org.example", "7").unwrap(), None);
    }
}

#[tokio::test]
async fn long_chains_of_state_stay_short_to_walk() {
    let x = exchange();
    let states = x
        .store
        .write(|txn| {
            let (mut group, mut states) = (0, Vec::new());
            for n in 1..=2_600u64 {
                let position = txn.next_position();
                state::put_group(txn, group, position, "org.example", &(n % 1_300).to_string())?;
                group = position.0;
                if matches!(n, 1 | 2 | 1_023 | 1_024 | 1_025 | 2_047 | 2_048 | 2_600) {
                    states.push((n, group));
                }
            }
            Ok::<_, lamchat_store::ReadError>(states)
        })
        .await
        .unwrap();
    let read = x.store.read();
    for (n, group) in states {
        let state = state::all_at(&read, group).unwrap();
        assert_eq!(state.len() as u64, n.min(1_300), "{n}");
        let newest = state.get(&("org.example".to_owned(), (n % 1_300).to_string())).unwrap();
        assert_eq!(newest.0, group);
    }
}

#[tokio::test]
async fn state_follows_power_and_repeats_itself_once() {
    for version in VERSIONS {
        let x = exchange();
        let (alice, bob) = (x.user("alice").await, x.user("bob").await);
        let room = x.room(&alice, version, Preset::PublicChat).await;
        x.rooms.join(&bob, &room, None).await.unwrap();
        let name = || object(json!({"name": "N"}));
        assert!(x.rooms.put_state(&bob, &room, "m.room.name", "", name()).await.is_err());
        let id = x
            .rooms
            .put_state(&alice, &room, "m.room.name", "", name())
            .await
            .unwrap();
        assert_eq!(
            x.rooms
                .put_state(&alice, &room, "m.room.name", "", name())
                .await
                .unwrap(),
            id
        );
        let again = x
            .rooms
            .put_state(&alice, &room, "m.room.create", "", Object::new())
            .await;
        assert!(matches!(again, Err(PutStateError::Create)));
        // One's own key only.
        assert!(
            x.rooms
                .put_state(&alice, &room, "org.example", "@bob:example.org", Object::new())
                .await
                .is_err()
        );
        // Power: given, then used, then not beyond one's own.
        let mut levels = x.state(&room, "m.room.power_levels", "").unwrap();
        let users = levels.get_mut("users").unwrap().as_object_mut().unwrap();
        users.insert("@bob:example.org".to_owned(), json!(50));
        x.rooms
            .put_state(&alice, &room, "m.room.power_levels", "", object(levels.clone()))
            .await
            .unwrap();
        x.rooms.put_state(&bob, &room, "m.room.name", "", name()).await.unwrap();
        let users = levels.get_mut("users").unwrap().as_object_mut().unwrap();
        users.insert("@bob:example.org".to_owned(), json!(60));
        assert!(
            x.rooms
                .put_state(&bob, &room, "m.room.power_levels", "", object(levels))
                .await
                .is_err()
        );
        let text = object(json!({"users": {"@bob:example.org": "50"}, "state_default": "fifty"}));
        assert!(
            x.rooms
                .put_state(&alice, &room, "m.room.power_levels", "", text)
                .await
                .is_err()
        );
        let bad = object(json!({"membership": "elsewhere"}));
        let put = x
            .rooms
            .put_state(&bob, &room, "m.room.member", "@bob:example.org", bad)
            .await;
        assert!(matches!(put, Err(PutStateError::Append(AppendError::BadContent(_)))));
    }
}

#[tokio::test]
async fn redaction_leaves_what_the_version_keeps() {
    for version in VERSIONS {
        let x = exchange();
        let (alice, bob) = (x.user("alice").await, x.user("bob").await);
        let room = x.room(&alice, version, Preset::PublicChat).await;
        x.rooms.join(&bob, &room, None).await.unwrap();
        let hers = x.say(&alice, &room, "secret").await.unwrap();
        let his = x.say(&bob, &room, "secret").await.unwrap();
        assert!(
            matches!(
                x.rooms.redact(&bob, &room, &hers, None, "1").await,
                Err(RedactError::NotYours)
            ),
            "{version}"
        );
        assert!(x.event(&hers).2.get("body").is_some());
        let redaction = x.rooms.redact(&bob, &room, &his, Some("oops"), "2").await.unwrap();
        assert_eq!(x.event(&his).2, json!({}));
        let content = if matches!(version, "11" | "12") {
            json!({"reason": "oops", "redacts": his})
        } else {
            json!({"reason": "oops"})
        };
        assert_eq!(x.event(&redaction).2, content);
        let bytes = event_id::find(&x.store.read(), &his).unwrap().unwrap().1;
        let row = EventRow::decode(&bytes).unwrap();
        assert!(row.flags.contains(event::Flags::REDACTED) && row.redacted_because.is_some());
        x.rooms.redact(&alice, &room, &hers, None, "3").await.unwrap();
        assert_eq!(x.event(&hers).2, json!({}));
        let nothing = x
            .rooms
            .redact(&alice, &room, "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", None, "4")
            .await;
        assert!(matches!(nothing, Err(RedactError::NoSuchEvent)));
        let elsewhere = x.room(&alice, version, Preset::PublicChat).await;
        let there = x.say(&alice, &elsewhere, "x").await.unwrap();
        assert!(matches!(
            x.rooms.redact(&alice, &room, &there, None, "5").await,
            Err(RedactError::NoSuchEvent)
        ));
        // Redacted power levels keep the levels: authorization goes on as before.
        let levels = x.state(&room, "m.room.power_levels", "").unwrap();
        let mut noted = levels.clone();
        noted.as_object_mut().unwrap().insert("note".to_owned(), json!("x"));
        let id = x
            .rooms
            .put_state(&alice, &room, "m.room.power_levels", "", object(noted))
            .await
            .unwrap();
        x.rooms.redact(&alice, &room, &id, None, "6").await.unwrap();
        let left = x.event(&id).2;
        assert!(left.get("note").is_none() && left.get("users") == levels.get("users"));
        x.say(&alice, &room, "after").await.unwrap();
        // A redaction sent as a message is one.
        let message = Message {
            room: &room,
            event_type: "m.room.redaction",
            content: object(json!({"redacts": x.say(&bob, &room, "more").await.unwrap()})),
            transaction_id: "7",
            origin_server_ts: None,
        };
        x.rooms.send(&bob, message).await.unwrap();
        let message = Message {
            room: &room,
            event_type: "m.room.redaction",
            content: Object::new(),
            transaction_id: "8",
            origin_server_ts: None,
        };
        assert!(matches!(x.rooms.send(&bob, message).await, Err(SendError::NoTarget)));
        x.timeline(&room);
    }
}

#[tokio::test]
async fn an_event_that_is_too_large_is_refused() {
    let x = exchange();
    let alice = x.user("alice").await;
    let room = x.room(&alice, "12", Preset::PublicChat).await;
    let send = |length: usize| {
        let content = object(json!({"body": "x".repeat(length)}));
        let message = Message {
            room: &room,
            event_type: "m.room.message",
            content,
            transaction_id: "t",
            origin_server_ts: None,
        };
        x.rooms.send(&alice, message)
    };
    assert!(matches!(
        send(65_536).await,
        Err(SendError::Append(AppendError::TooLarge(_)))
    ));
    assert!(matches!(
        send(65_300).await,
        Err(SendError::Append(AppendError::TooLarge(_)))
    ));
    send(60_000).await.unwrap();
    let key = "k".repeat(256);
    let put = x
        .rooms
        .put_state(&alice, &room, "org.example", &key, Object::new())
        .await;
    assert!(matches!(put, Err(PutStateError::Append(AppendError::TooLarge(_)))));
}
