//! Who wants to know about what: waiting for commits that touch something.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Something that changes and that somebody may wait for: a kind (declared by the crate that owns it) and a number.
///
/// Kinds: 1 a room (rooms), 2 a user (accounts: account data, to-device, device lists, invites), 3 a media blob,
/// 4 the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    /// What sort of thing.
    pub kind: u16,
    /// Which of them.
    pub id: u64,
}

impl Topic {
    /// A room, by its number.
    pub const fn room(room: lamchat_base::RoomNum) -> Self {
        Self {
            kind: 1,
            id: room.0 as u64,
        }
    }

    /// A user, by number.
    pub const fn user(user: lamchat_base::UserNum) -> Self {
        Self {
            kind: 2,
            id: user.0 as u64,
        }
    }
}

/// Registrations are spread over this many locks.
const SHARDS: usize = 64;

type Shard = Mutex<BTreeMap<(Topic, u64), Arc<Notify>>>;

/// Everybody who waits.
#[derive(Debug)]
pub(crate) struct Watchers {
    shards: Vec<Shard>,
    next: AtomicU64,
}

impl Watchers {
    /// Nobody yet.
    pub(crate) fn new() -> Arc<Self> {
        let mut shards = Vec::new();
        shards.resize_with(SHARDS, Shard::default);
        Arc::new(Self {
            shards,
            next: AtomicU64::new(0),
        })
    }

    fn shard(&self, topic: Topic) -> Option<&Shard> {
        // Neighbouring numbers go to different locks; a room and the user of the same number, too.
        let index = topic.id.wrapping_add(u64::from(topic.kind).wrapping_mul(7)) % (SHARDS as u64);
        self.shards.get(usize::try_from(index).unwrap_or(0))
    }

    /// Wakes those who wait for one of `topics`.
    pub(crate) fn wake(&self, topics: &[Topic]) {
        for topic in topics {
            if let Some(shard) = self.shard(*topic) {
                for notify in shard
                    .lock()
                    .range((*topic, 0)..=(*topic, u64::MAX))
                    .map(|(_, notify)| notify)
                {
                    notify.notify_one();
                }
            }
        }
    }

    /// Registers somebody for `topics`.
    pub(crate) fn watch(self: &Arc<Self>, topics: &[Topic]) -> Watch {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let notify = Arc::new(Notify::new());
        for topic in topics {
            if let Some(shard) = self.shard(*topic) {
                shard.lock().insert((*topic, id), notify.clone());
            }
        }
        Watch {
            watchers: self.clone(),
            id,
            topics: topics.to_vec(),
            notify,
        }
    }
}

/// A registration for topics, made by [`crate::Store::watch`] *before* the snapshot is taken,
/// so that no change falls between reading and waiting. It ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    watchers: Arc<Watchers>,
    id: u64,
    topics: Vec<Topic>,
    notify: Arc<Notify>,
}

impl Watch {
    /// Ends as soon as one of the topics was touched by a published commit (or `Store::notify`) after the registration or after the
    /// last time this method returned. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        self.notify.notified().await;
    }

    /// Registers for further topics, such as a room that was joined meanwhile.
    pub fn add(&mut self, topics: &[Topic]) {
        for topic in topics {
            if let Some(shard) = self.watchers.shard(*topic)
                && shard.lock().insert((*topic, self.id), self.notify.clone()).is_none()
            {
                self.topics.push(*topic);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for topic in &self.topics {
            if let Some(shard) = self.watchers.shard(*topic) {
                shard.lock().remove(&(*topic, self.id));
            }
        }
    }
}
