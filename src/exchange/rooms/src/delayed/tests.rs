#![expect(clippy::unwrap_used, reason = "tests")]

use super::{DELAY_MS_MAX, DelayedEvents, NewDelayed, ScheduleError, UpdateError, WAITING_MAX};
use crate::Caller;
use crate::create::Preset;
use crate::tests::{Exchange, exchange, object, rooms_at};
use lamchat_base::ManualClock;
use ruma::RoomId;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const START_MS: u64 = 1_700_000_000_000;
const STATE: &str = "org.example.call";

struct Later {
    x: Exchange,
    clock: Arc<ManualClock>,
    events: DelayedEvents,
}

impl Later {
    fn new() -> Self {
        let x = exchange();
        let clock = Arc::new(ManualClock::new(START_MS));
        let events = DelayedEvents::open(rooms_at(&x.store, Arc::clone(&clock))).unwrap();
        Self { x, clock, events }
    }

    async fn state(&self, who: &Caller, room: &RoomId, key: &str, delay_ms: u64) -> Result<String, ScheduleError> {
        let new = NewDelayed {
            room,
            event_type: STATE,
            state_key: Some(key),
            content: object(json!({"left": true})),
            transaction_id: None,
            delay_ms,
        };
        self.events.schedule(who, new).await
    }

    async fn message(&self, who: &Caller, room: &RoomId, transaction_id: &str) -> Result<String, ScheduleError> {
        let new = NewDelayed {
            room,
            event_type: "m.room.message",
            state_key: None,
            content: object(json!({"body": "later"})),
            transaction_id: Some(transaction_id),
            delay_ms: 5_000,
        };
        self.events.schedule(who, new).await
    }

    /// Goes on with what is in the store, as after a restart, and sends what is due.
    async fn begin_anew(&mut self) {
        self.events = DelayedEvents::open(rooms_at(&self.x.store, Arc::clone(&self.clock))).unwrap();
        self.send_due().await;
    }

    /// Nothing waits for longer than this in between: all is in memory.
    async fn send_due(&self) {
        let _ = tokio::time::timeout(Duration::from_millis(200), self.events.send_forever()).await;
    }
}

#[tokio::test]
async fn events_are_sent_when_they_are_due_even_after_a_restart() {
    let mut later = Later::new();
    let alice = later.x.user("alice").await;
    let room = later.x.room(&alice, "12", Preset::PrivateChat).await;
    let before = later.x.timeline(&room).len();
    let id = later.state(&alice, &room, "one", 10_000).await.unwrap();
    later.message(&alice, &room, "t").await.unwrap();
    let waiting = later.events.of_user(alice.user).unwrap();
    assert_eq!(waiting.len(), 2);
    assert_eq!(
        waiting.first().map(|(_, one)| one.event_type.as_str()),
        Some("m.room.message")
    );
    later.clock.advance_ms(4_999);
    later.begin_anew().await;
    assert_eq!(later.x.timeline(&room).len(), before);
    later.clock.advance_ms(1);
    later.send_due().await;
    assert_eq!(
        later.x.timeline(&room).last().map(String::as_str),
        Some("m.room.message")
    );
    // The other begins anew, and is due later than it was.
    later.events.restart(&id).await.unwrap();
    later.clock.advance_ms(9_999);
    later.begin_anew().await;
    assert_eq!(later.x.state(&room, STATE, "one"), None);
    later.clock.advance_ms(1);
    later.begin_anew().await;
    assert_eq!(later.x.state(&room, STATE, "one"), Some(json!({"left": true})));
    assert_eq!(later.x.timeline(&room).len(), before + 2);
    later.begin_anew().await;
    assert_eq!(later.x.timeline(&room).len(), before + 2);
    assert!(later.events.of_user(alice.user).unwrap().is_empty());
    for gone in [
        later.events.cancel(&id).await,
        later.events.restart(&id).await,
        later.events.send(&id).await,
    ] {
        assert!(matches!(gone, Err(UpdateError::NotFound)));
    }
}

#[tokio::test]
async fn events_are_cancelled_and_sent_at_once() {
    let mut later = Later::new();
    let (alice, bob) = (later.x.user("alice").await, later.x.user("bob").await);
    let room = later.x.room(&alice, "12", Preset::PublicChat).await;
    let cancelled = later.state(&alice, &room, "one", 1_000).await.unwrap();
    later.events.cancel(&cancelled).await.unwrap();
    let now = later.state(&alice, &room, "two", 60_000).await.unwrap();
    later.events.send(&now).await.unwrap();
    assert!(later.x.state(&room, STATE, "two").is_some());
    // Who is not in the room is refused when it is sent, and once.
    let refused = later.message(&bob, &room, "t").await.unwrap();
    assert!(matches!(
        later.events.send(&refused).await,
        Err(UpdateError::Message(_))
    ));
    assert!(matches!(later.events.send(&refused).await, Err(UpdateError::NotFound)));
    // What somebody else has set meanwhile is not set back; what one has set oneself is.
    let older = later.state(&alice, &room, "three", 1_000).await.unwrap();
    later.events.supersede(alice.user, &room, STATE, "three").await.unwrap();
    later.events.supersede(bob.user, &room, STATE, "other").await.unwrap();
    assert!(later.events.one(alice.user, &older).unwrap().is_some());
    assert!(later.events.one(bob.user, &older).unwrap().is_none());
    later.events.supersede(bob.user, &room, STATE, "three").await.unwrap();
    assert!(later.events.one(alice.user, &older).unwrap().is_none());
    later.clock.advance_ms(120_000);
    later.begin_anew().await;
    for key in ["one", "three"] {
        assert_eq!(later.x.state(&room, STATE, key), None);
    }
}

#[tokio::test]
async fn one_that_went_out_before_its_row_was_removed_goes_out_once() {
    let mut later = Later::new();
    let alice = later.x.user("alice").await;
    let room = later.x.room(&alice, "12", Preset::PrivateChat).await;
    let id = later.message(&alice, &room, "t").await.unwrap();
    let row = later.events.row(&id).unwrap().unwrap();
    later.events.send(&id).await.unwrap();
    let sent = later.x.timeline(&room).len();
    later.events.write(&id, Some(row)).await.unwrap();
    later.clock.advance_ms(60_000);
    later.begin_anew().await;
    assert_eq!(later.x.timeline(&room).len(), sent);
    assert!(later.events.row(&id).unwrap().is_none());
}

#[tokio::test]
async fn delays_and_numbers_are_bounded() {
    let later = Later::new();
    let (alice, bob) = (later.x.user("alice").await, later.x.user("bob").await);
    let room = later.x.room(&alice, "12", Preset::PrivateChat).await;
    for delay_ms in [0, DELAY_MS_MAX + 1, u64::MAX] {
        let refused = later.state(&alice, &room, "k", delay_ms).await;
        assert!(matches!(refused, Err(ScheduleError::Delay)));
    }
    let first = later.message(&alice, &room, "same").await.unwrap();
    assert_eq!(later.message(&alice, &room, "same").await.unwrap(), first);
    for n in 1..WAITING_MAX {
        later.state(&alice, &room, &n.to_string(), DELAY_MS_MAX).await.unwrap();
    }
    let refused = later.state(&alice, &room, "k", 1).await;
    assert!(matches!(refused, Err(ScheduleError::TooMany)));
    later.state(&bob, &room, "k", 1).await.unwrap();
    later.events.cancel(&first).await.unwrap();
    later.state(&alice, &room, "k", 1).await.unwrap();
}
