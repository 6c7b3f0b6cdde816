//! Tests of the operations on rooms: an exchange in memory with a few users.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod access;
mod aliases;
mod creation;
mod memberships;
mod sending;

use crate::create::{NewRoom, Preset};
use crate::event::EventRow;
use crate::send::Message;
use crate::{Caller, Rooms, event_id, log, state};
use lamchat_base::{DeviceNum, Entropy, ManualClock};
use lamchat_rules::{Object, SigningKey, canonical};
use lamchat_store::{Store, Table};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, UserId};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            let n = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            *byte = n.to_be_bytes().first().copied().unwrap();
        }
    }
}

pub(crate) const VERSIONS: [&str; 5] = ["6", "8", "10", "11", "12"];

pub(crate) struct Exchange {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
}

pub(crate) fn rooms_on(store: &Store) -> Rooms {
    rooms_at(store, Arc::new(ManualClock::new(1_700_000_000_000)))
}

/// Rooms whose clock the test moves.
pub(crate) fn rooms_at(store: &Store, clock: Arc<ManualClock>) -> Rooms {
    let server: OwnedServerName = "example.org".try_into().unwrap();
    let key = SigningKey::from_seed(&[1; 32], "1").unwrap();
    // Different instances must not make the same room ids.
    static START: AtomicU64 = AtomicU64::new(0);
    let entropy = Arc::new(Counted(AtomicU64::new(START.fetch_add(1 << 20, Ordering::Relaxed))));
    Rooms::new(store.clone(), clock, entropy, server, key)
}

pub(crate) fn tables() -> Vec<Table> {
    [lamchat_accounts::TABLES, crate::TABLES].concat()
}

pub(crate) fn exchange() -> Exchange {
    let store = Store::in_memory(&tables()).unwrap();
    Exchange {
        rooms: rooms_on(&store),
        store,
    }
}

pub(crate) fn object(value: Value) -> Object {
    canonical::parse_object(value.to_string().as_bytes()).unwrap()
}

impl Exchange {
    pub(crate) async fn user(&self, name: &str) -> Caller {
        let user_id = UserId::parse(format!("@{name}:example.org")).unwrap();
        let id = user_id.clone();
        let user = self
            .store
            .write(move |txn| lamchat_accounts::user::num_or_insert(txn, &id))
            .await
            .unwrap();
        Caller {
            user,
            user_id,
            device: Some(DeviceNum(user.0)),
        }
    }

    pub(crate) async fn room(&self, creator: &Caller, version: &str, preset: Preset) -> OwnedRoomId {
        self.rooms.create(creator, new_room(version, preset)).await.unwrap()
    }

    pub(crate) async fn say(
        &self,
        caller: &Caller,
        room: &RoomId,
        transaction_id: &str,
    ) -> Result<String, crate::send::SendError> {
        let content = object(serde_json::json!({"msgtype": "m.text", "body": transaction_id}));
        let message = Message {
            room,
            event_type: "m.room.message",
            content,
            transaction_id,
            origin_server_ts: None,
        };
        self.rooms.send(caller, message).await
    }

    /// The content of current state.
    pub(crate) fn state(&self, room: &RoomId, event_type: &str, state_key: &str) -> Option<Value> {
        let read = self.store.read();
        let num = crate::room::num(&read, room).unwrap().unwrap();
        let position = state::current(&read, num, event_type, state_key).unwrap()?;
        let row = log::known_event(&read, position).unwrap();
        Some(serde_json::from_str(EventRow::decode(&row).unwrap().content).unwrap())
    }

    /// Event type, state key and content of an event.
    pub(crate) fn event(&self, id: &str) -> (String, Option<String>, Value) {
        let (_, row) = event_id::find(&self.store.read(), id).unwrap().expect("the event");
        let row = EventRow::decode(&row).unwrap();
        (
            row.event_type.to_owned(),
            row.state_key.map(str::to_owned),
            serde_json::from_str(row.content).unwrap(),
        )
    }

    /// All event types of a room's timeline in order, and a check that each event follows the one before.
    pub(crate) fn timeline(&self, room: &RoomId) -> Vec<String> {
        let read = self.store.read();
        let num = crate::room::num(&read, room).unwrap().unwrap();
        let places = log::places(&read, num, 0, u64::MAX, lamchat_store::Order::Ascending, usize::MAX).unwrap();
        let mut types = Vec::new();
        let mut before: Option<String> = None;
        for (depth, (_, position)) in places.into_iter().enumerate() {
            let bytes = log::whole_event(&read, position).unwrap();
            let row = EventRow::decode(&bytes).unwrap();
            let rest: Value = serde_json::from_slice(row.rest).unwrap();
            let prev: Vec<&str> = rest
                .get("prev_events")
                .unwrap()
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            assert_eq!(prev, before.iter().map(String::as_str).collect::<Vec<_>>(), "one chain");
            assert_eq!(row.depth, depth as u64 + 1);
            before = Some(row.event_id.to_owned());
            types.push(row.event_type.to_owned());
        }
        types
    }
}

pub(crate) fn new_room(version: &str, preset: Preset) -> NewRoom {
    NewRoom {
        version: version.to_owned(),
        preset,
        is_published: false,
        alias_localpart: None,
        name: None,
        topic: None,
        invite: Vec::new(),
        is_direct: false,
        initial_state: Vec::new(),
        creation_content: Object::new(),
        power_levels: Object::new(),
    }
}
