//! Whole syncs over rooms that are built through the write side.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod presence;
mod properties;
mod sections;
mod sliding;

use crate::{Request, StateAfter, SyncFilter, Syncer, Token, Who};
use lamchat_accounts::presence::Presences;
use lamchat_accounts::user;
use lamchat_base::{Clock, DeviceNum, Entropy, ManualClock};
use lamchat_push::unread::UnreadCounts;
use lamchat_rooms::create::{NewRoom, Preset};
use lamchat_rooms::send::Message;
use lamchat_rooms::timeline::{self, PageRequest, Point};
use lamchat_rooms::typing::Typing;
use lamchat_rooms::view::{Ignored, Reader, View};
use lamchat_rooms::visibility::Standing;
use lamchat_rooms::{Caller, Rooms, room};
use lamchat_rules::{Object, SigningKey};
use lamchat_store::{Order, Store};
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const START_MS: u64 = 1_700_000_000_000;

#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            let x = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            *byte = (x >> 32) as u8 ^ (x >> 8) as u8;
        }
    }
}

/// An exchange without an API.
struct World {
    store: Store,
    rooms: Rooms,
    typing: Arc<Typing>,
    syncer: Arc<Syncer>,
    presence: Arc<Presences>,
    clock: Arc<ManualClock>,
    transaction: AtomicU64,
}

impl World {
    fn new() -> Arc<Self> {
        let tables = [
            lamchat_accounts::TABLES,
            lamchat_keys::TABLES,
            lamchat_push::TABLES,
            lamchat_rooms::TABLES,
        ]
        .concat();
        let store = Store::in_memory(&tables).unwrap();
        let manual = Arc::new(ManualClock::new(START_MS));
        let clock = Arc::clone(&manual) as Arc<dyn Clock>;
        let key = SigningKey::from_seed(&[3; 32], "test").unwrap();
        let rooms = Rooms::new(
            store.clone(),
            Arc::clone(&clock),
            Arc::new(Counted::default()),
            "x.org".try_into().unwrap(),
            key,
        );
        let typing = Arc::new(Typing::new(START_MS));
        let presence = Arc::new(Presences::new(typing.counter()));
        let syncer = Arc::new(Syncer::new(
            store.clone(),
            clock,
            Arc::clone(&typing),
            Arc::new(UnreadCounts::new()),
            Arc::clone(&presence),
        ));
        Arc::new(Self {
            store,
            rooms,
            typing,
            syncer,
            presence,
            clock: manual,
            transaction: AtomicU64::new(0),
        })
    }

    async fn user(&self, name: &str) -> Who {
        let user_id: OwnedUserId = format!("@{name}:x.org").try_into().unwrap();
        let id = user_id.clone();
        let user = self
            .store
            .write(move |txn| user::num_or_insert(txn, &id))
            .await
            .unwrap();
        Who {
            user,
            user_id,
            device: DeviceNum(user.0 * 10 + 1),
        }
    }

    async fn room(&self, who: &Who, preset: Preset) -> OwnedRoomId {
        let new = NewRoom {
            version: "11".to_owned(),
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
        };
        self.rooms.create(&caller(who), new).await.unwrap()
    }

    async fn say(&self, who: &Who, room: &RoomId, text: &str) -> String {
        self.send(who, room, serde_json::json!({"msgtype": "m.text", "body": text}))
            .await
    }

    async fn send(&self, who: &Who, room: &RoomId, content: Value) -> String {
        let transaction = self.transaction.fetch_add(1, Ordering::Relaxed).to_string();
        let message = Message {
            room,
            event_type: "m.room.message",
            content: object(&content),
            transaction_id: &transaction,
            origin_server_ts: None,
        };
        self.rooms.send(&caller(who), message).await.unwrap()
    }

    async fn set(&self, who: &Who, room: &RoomId, event_type: &str, state_key: &str, content: Value) -> String {
        self.rooms
            .put_state(&caller(who), room, event_type, state_key, object(&content))
            .await
            .unwrap()
    }

    async fn sync(&self, who: &Who, since: Option<&str>, filter: Value) -> Value {
        self.sync_with(who, since, filter, StateAfter::No).await
    }

    async fn sync_with(&self, who: &Who, since: Option<&str>, filter: Value, state_after: StateAfter) -> Value {
        let request = Request {
            since: since.map(|since| Token::parse(since).unwrap()),
            filter: Arc::new(SyncFilter::parse(filter.to_string().as_bytes()).unwrap()),
            full_state: false,
            state_after,
            timeout: Duration::ZERO,
        };
        let body = self.syncer.sync(who.clone(), request).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// A page backwards from a token: events and the next token.
    fn messages(
        &self,
        who: &Who,
        room_id: &RoomId,
        from: &str,
        to: Option<&str>,
        limit: usize,
    ) -> (Vec<Value>, Option<String>) {
        let read = self.store.read();
        let room = room::num(&read, room_id).unwrap().unwrap();
        let standing = Standing::of(&read, who.user, room).unwrap();
        let ignored = Ignored::default();
        let reader = Reader {
            user: who.user,
            user_id: &who.user_id,
            device: who.device,
            now_ms: START_MS,
            ignored: &ignored,
        };
        let mut view = View::new(&read, room, Some(room_id.as_str()), reader, standing);
        let epoch = self.store.epoch();
        let request = PageRequest {
            from: Some(Point::parse(from, epoch).unwrap()),
            to: to.map(|to| Point::parse(to, epoch).unwrap()),
            direction: Order::Descending,
            limit,
            filter: &lamchat_rooms::filter::EventFilter::default(),
        };
        let page = timeline::page(&read, room, &standing, &mut view, &request).unwrap();
        let mut out = Vec::new();
        timeline::write_events(&mut out, &mut view, &page.entries).unwrap();
        (
            serde_json::from_slice(&out).unwrap(),
            page.end.map(|end| end.token(epoch)),
        )
    }
}

fn caller(who: &Who) -> Caller {
    Caller {
        user: who.user,
        user_id: who.user_id.clone(),
        device: Some(who.device),
    }
}

fn object(value: &Value) -> Object {
    lamchat_rules::canonical::parse_object(value.to_string().as_bytes()).unwrap()
}

fn token(answer: &Value) -> &str {
    answer["next_batch"].as_str().unwrap()
}

fn ids(events: &Value) -> Vec<String> {
    let events = events.as_array().map(Vec::as_slice).unwrap_or_default();
    events
        .iter()
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect()
}

fn joined<'a>(answer: &'a Value, room: &RoomId) -> &'a Value {
    &answer["rooms"]["join"][room.as_str()]
}
