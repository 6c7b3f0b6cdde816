//! Who is typing. Kept in memory only: a restart forgets it, as clients expect.

use crate::event::write_string;
use lamchat_base::{RoomNum, UserNum};
use lamchat_store::{Store, Topic};
use parking_lot::Mutex;
use ruma::OwnedUserId;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest time for which one request makes somebody type.
pub const TIMEOUT_MS_MAX: u64 = 120_000;
/// Most users who type in one room at a time; more are not shown.
const TYPING_MAX: usize = 200;

/// The ephemeral changes: a counter that starts at the clock's milliseconds, so that it also grows across restarts.
#[derive(Debug)]
pub struct Typing {
    counter: Arc<AtomicU64>,
    start: u64,
    rooms: Mutex<HashMap<RoomNum, RoomTyping>>,
}

#[derive(Debug, Default)]
struct RoomTyping {
    changed: u64,
    users: Vec<(UserNum, OwnedUserId, u64)>,
}

impl Typing {
    /// Nobody types.
    pub fn new(now_ms: u64) -> Self {
        Self {
            counter: Arc::new(AtomicU64::new(now_ms)),
            start: now_ms,
            rooms: Mutex::default(),
        }
    }

    /// The counter of all changes that are kept in memory only, for others to number theirs with.
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.counter)
    }

    /// The number of the newest change, here or wherever else the counter is used. Take it *before* the snapshot and the lists that it stands for.
    pub fn newest(&self) -> u64 {
        self.counter.load(Ordering::Acquire)
    }

    /// Says that a user types until `until_ms`.
    pub fn start(&self, store: &Store, room: RoomNum, user: UserNum, user_id: OwnedUserId, until_ms: u64) {
        let mut rooms = self.rooms.lock();
        let typing = rooms.entry(room).or_default();
        if let Some((_, _, until)) = typing.users.iter_mut().find(|(typist, ..)| *typist == user) {
            // Still typing: nobody needs to hear of it again.
            *until = until_ms;
        } else if typing.users.len() < TYPING_MAX {
            typing.users.push((user, user_id, until_ms));
            typing.changed = self.counter.fetch_add(1, Ordering::AcqRel) + 1;
            drop(rooms);
            store.notify(&[Topic::room(room)]);
        }
    }

    /// Says that a user has stopped.
    pub fn stop(&self, store: &Store, room: RoomNum, user: UserNum) {
        let mut rooms = self.rooms.lock();
        let Some(typing) = rooms.get_mut(&room) else { return };
        let before = typing.users.len();
        typing.users.retain(|(typist, ..)| *typist != user);
        if typing.users.len() != before {
            typing.changed = self.counter.fetch_add(1, Ordering::AcqRel) + 1;
            drop(rooms);
            store.notify(&[Topic::room(room)]);
        }
    }

    /// Ends what has timed out. To be called about once a second.
    pub fn expire(&self, store: &Store, now_ms: u64) {
        let mut changed = Vec::new();
        let mut rooms = self.rooms.lock();
        for (room, typing) in rooms.iter_mut() {
            let before = typing.users.len();
            typing.users.retain(|(_, _, until)| *until > now_ms);
            if typing.users.len() != before {
                typing.changed = self.counter.fetch_add(1, Ordering::AcqRel) + 1;
                changed.push(Topic::room(*room));
            }
        }
        drop(rooms);
        if !changed.is_empty() {
            store.notify(&changed);
        }
    }

    /// Appends the `m.typing` event of a room if it changed after `since`; answers whether it wrote one.
    ///
    /// A `since` from before the start, when everything was forgotten, hears of rooms in which somebody types.
    pub fn write_event(&self, out: &mut Vec<u8>, room: RoomNum, since: Option<u64>) -> bool {
        let rooms = self.rooms.lock();
        let Some(typing) = rooms.get(&room) else { return false };
        let is_news = match since {
            Some(since) if since >= self.start => typing.changed > since,
            _ => !typing.users.is_empty(),
        };
        if is_news {
            out.extend_from_slice(b"{\"content\":{\"user_ids\":[");
            for (index, (_, user_id, _)) in typing.users.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(out, user_id.as_str());
            }
            out.extend_from_slice(b"]},\"type\":\"m.typing\"}");
        }
        is_news
    }
}

/// Ends what has timed out, once a second, for as long as the exchange runs.
pub async fn expire_forever(typing: Arc<Typing>, store: Store, clock: Arc<dyn lamchat_base::Clock>) {
    let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        typing.expire(&store, clock.now_ms());
    }
}
