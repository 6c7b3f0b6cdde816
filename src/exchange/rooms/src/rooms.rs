//! What makes events: the exchange's name and key, the clock, and what is remembered about busy rooms.

use crate::append::{AppendError, ApplyError};
use crate::authorize::AuthState;
use crate::chain::Chain;
use crate::room::{self, Room};
use lamchat_base::{Clock, DeviceNum, Entropy, RoomNum, UserNum};
use lamchat_rules::SigningKey;
use lamchat_store::{Read, ReadError, Store, WriteError};
use parking_lot::{Mutex, RwLock};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// About how many bytes of rooms are remembered, with their authorization state: some thousand small rooms.
const REMEMBERED_BYTES: u64 = 16 * 1024 * 1024;
/// What a room takes without its authorization state.
const ROOM_BYTES: usize = 1024;
/// How often an event is built again because the room moved on between snapshot and commit. The lock makes that rare: only a
/// request whose client went away can leave a commit behind.
const ATTEMPTS: usize = 8;

/// Who does something: a local user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's number.
    pub user: UserNum,
    /// The user's id.
    pub user_id: OwnedUserId,
    /// The device, whose transaction ids are its own; `None` where the exchange acts for the user.
    pub device: Option<DeviceNum>,
}

/// The operations on rooms. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    server_name: OwnedServerName,
    key: RwLock<Arc<SigningKey>>,
    by_id: Cache<OwnedRoomId, Remembered, Size>,
    last_created_ms: AtomicU64,
}

/// A room in the cache, with what it took when it was put there last.
#[derive(Clone)]
struct Remembered {
    slot: Arc<Slot>,
    bytes: usize,
}

#[derive(Clone)]
struct Size;

impl Weighter<OwnedRoomId, Remembered> for Size {
    fn weight(&self, _: &OwnedRoomId, remembered: &Remembered) -> u64 {
        remembered.bytes as u64
    }
}

/// A remembered room.
pub(crate) struct Slot {
    pub(crate) room: Arc<Room>,
    /// Held from the snapshot that an event is built on to its commit.
    lock: tokio::sync::Mutex<()>,
    /// The newest state group that was used, and what was parsed of it.
    auth: Mutex<Option<(u64, Arc<AuthState>)>>,
    /// What it took when it was put into the cache last.
    weighed: AtomicUsize,
}

impl Slot {
    /// About how many bytes this takes.
    fn bytes(&self) -> usize {
        let auth = self.auth.lock().as_ref().map(|(_, state)| Arc::clone(state));
        ROOM_BYTES + auth.map_or(0, |state| state.bytes())
    }

    /// What was parsed of the state `group`.
    pub(crate) fn auth(&self, group: u64) -> Arc<AuthState> {
        let mut kept = self.auth.lock();
        match &*kept {
            Some((of, state)) if *of == group => Arc::clone(state),
            _ => {
                let state = Arc::new(AuthState::stored());
                *kept = Some((group, Arc::clone(&state)));
                state
            }
        }
    }

    pub(crate) fn keep_auth(&self, group: u64, state: Arc<AuthState>) {
        *self.auth.lock() = Some((group, state));
    }

    /// After a redaction of a state event: what was parsed may not hold any more.
    pub(crate) fn forget_auth(&self) {
        *self.auth.lock() = None;
    }
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rooms({})", self.shared.server_name)
    }
}

impl Rooms {
    /// Made once. `key` signs every event as `server_name`.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        server_name: OwnedServerName,
        key: SigningKey,
    ) -> Self {
        let likely = usize::try_from(REMEMBERED_BYTES).unwrap_or(0) / (4 * ROOM_BYTES);
        let by_id = Cache::with_weighter(likely, REMEMBERED_BYTES, Size);
        Self {
            shared: Arc::new(Shared {
                store,
                clock,
                entropy,
                server_name,
                key: RwLock::new(Arc::new(key)),
                by_id,
                last_created_ms: AtomicU64::new(0),
            }),
        }
    }

    /// The name that events are signed as.
    pub fn server_name(&self) -> &ServerName {
        &self.shared.server_name
    }

    /// The room with an id, from memory if it is there; `None` if this exchange does not know it.
    pub fn room(&self, read: &dyn Read, id: &RoomId) -> Result<Option<Arc<Room>>, ReadError> {
        Ok(self.slot(read, id)?.map(|slot| Arc::clone(&slot.room)))
    }

    /// Whether a user belongs to this exchange.
    pub fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.shared.server_name
    }

    pub(crate) fn slot(&self, read: &dyn Read, id: &RoomId) -> Result<Option<Arc<Slot>>, ReadError> {
        if let Some(remembered) = self.shared.by_id.get(id) {
            return Ok(Some(remembered.slot));
        }
        let Some(room) = room::by_id(read, id)? else {
            return Ok(None);
        };
        let slot = Arc::new(Slot {
            room,
            lock: tokio::sync::Mutex::new(()),
            auth: Mutex::new(None),
            weighed: AtomicUsize::new(ROOM_BYTES),
        });
        let bytes = ROOM_BYTES;
        let remembered = || Ok::<_, ReadError>(Remembered { slot, bytes });
        // Two requests may race for the first use; both must end up with the same lock.
        Ok(Some(self.shared.by_id.get_or_insert_with(id, remembered)?.slot))
    }

    /// Weighs a room again, which may have come to know more of its state.
    pub(crate) fn weigh(&self, slot: &Arc<Slot>) {
        let bytes = slot.bytes();
        if slot.weighed.swap(bytes, Ordering::Relaxed) != bytes {
            let slot = Arc::clone(slot);
            self.shared
                .by_id
                .insert(slot.room.id.clone(), Remembered { slot, bytes });
        }
    }

    pub(crate) fn known_slot(&self, id: &RoomId) -> Result<Arc<Slot>, AppendError> {
        match self.shared.by_id.get(id) {
            Some(remembered) => Ok(remembered.slot),
            None => self.slot(&self.shared.store.read(), id)?.ok_or(AppendError::NoSuchRoom),
        }
    }

    pub(crate) fn slot_of(&self, read: &dyn Read, num: RoomNum) -> Result<Arc<Slot>, AppendError> {
        let room = room::by_num(read, num)?;
        self.slot(read, &room.id)?.ok_or(AppendError::NoSuchRoom)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    /// The key that signs events.
    pub fn signing_key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.shared.key.read())
    }

    /// Another key signs from the next event on.
    pub fn sign_with(&self, key: SigningKey) {
        *self.shared.key.write() = Arc::new(key);
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &*self.shared.entropy
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    /// The time of a create event: later than that of every one before. Since room version 12 the room id is the hash of that
    /// event, so that two rooms made by one user in the same millisecond would be one.
    pub(crate) fn creation_ms(&self) -> u64 {
        let now = self.now_ms();
        let last = &self.shared.last_created_ms;
        let before = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
        now.max(before.unwrap_or_default() + 1)
    }

    /// Builds events on the newest state of a room and commits them together. `build` may be run again and may push nothing.
    pub(crate) async fn change<T, E>(
        &self,
        slot: &Arc<Slot>,
        build: impl Fn(&mut Chain<'_>) -> Result<T, E> + Send + Sync,
    ) -> Result<T, E>
    where
        E: From<AppendError>,
    {
        let _held = slot.lock.lock().await;
        let changed = self.change_held(slot, build).await;
        self.weigh(slot);
        changed
    }

    async fn change_held<T, E>(
        &self,
        slot: &Slot,
        build: impl Fn(&mut Chain<'_>) -> Result<T, E> + Send + Sync,
    ) -> Result<T, E>
    where
        E: From<AppendError>,
    {
        for _ in 0..ATTEMPTS {
            let (value, pending) = {
                let mut chain = Chain::on(self, slot)?;
                (build(&mut chain)?, chain.finish())
            };
            let Some(pending) = pending else { return Ok(value) };
            let pending = Arc::new(pending);
            let applied = {
                let pending = Arc::clone(&pending);
                self.store().write(move |txn| pending.apply(txn)).await
            };
            match applied {
                Ok(applied) => {
                    pending.remember(slot, &applied);
                    return Ok(value);
                }
                Err(WriteError::Refused(ApplyError::Moved)) => {}
                Err(error) => return Err(AppendError::from(error).into()),
            }
        }
        Err(AppendError::Busy.into())
    }

    /// Holds a room still while its events are committed together with something else.
    pub(crate) async fn hold<'s>(&self, slot: &'s Slot) -> tokio::sync::MutexGuard<'s, ()> {
        slot.lock.lock().await
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{REMEMBERED_BYTES, ROOM_BYTES};
    use crate::create::Preset;
    use crate::tests::{exchange, object};
    use serde_json::json;

    #[tokio::test]
    async fn remembered_rooms_are_bounded_by_what_they_take() {
        let x = exchange();
        let remembered = &x.rooms.shared.by_id;
        let alice = x.user("alice").await;
        // A little less than an event may have.
        let note = "n".repeat(60_000);
        let levels = json!({"note": note});
        let one = ROOM_BYTES as u64 + 60_000;
        for count in 1..=REMEMBERED_BYTES / one + 10 {
            let room = x.room(&alice, "12", Preset::PrivateChat).await;
            x.rooms
                .put_state(&alice, &room, "m.room.power_levels", "", object(levels.clone()))
                .await
                .unwrap();
            assert!(remembered.weight() >= (count * one).min(REMEMBERED_BYTES / 4));
            assert!(remembered.weight() <= REMEMBERED_BYTES);
            x.say(&alice, &room, "t").await.unwrap();
        }
    }
}
