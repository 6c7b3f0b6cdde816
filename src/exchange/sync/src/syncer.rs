//! Waiting for something to tell, and what is remembered from one answer to the next.

use crate::answer::{self, Answer, Scene};
use crate::filter::{BadFilter, SyncFilter};
use crate::sliding::Memory;
use crate::token::Token;
use lamchat_accounts::filter as stored;
use lamchat_accounts::presence::Presences;
use lamchat_base::{Clock, DeviceNum, Position, RoomNum, UserNum};
use lamchat_keys::to_device;
use lamchat_push::unread::UnreadCounts;
use lamchat_rooms::typing::Typing;
use lamchat_rooms::{Membership, Room, membership, room};
use lamchat_store::{CommitError, Read, ReadError, Store, Topic, Watch, WriteError};
use quick_cache::sync::Cache;
use ruma::OwnedUserId;
use std::sync::Arc;
use std::time::Duration;

/// The longest that one request waits.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// Filters, rooms and given members that are remembered.
const FILTERS: usize = 1_024;
const ROOMS: usize = 16_384;
const GIVEN: usize = 65_536;

/// Who syncs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The user's number.
    pub user: UserNum,
    /// The user's id.
    pub user_id: OwnedUserId,
    /// The device.
    pub device: DeviceNum,
}

/// Whether state is given as of the end of the timeline (`use_state_after`, Matrix 1.16), and under which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateAfter {
    /// As of the start of the timeline, as `state`.
    #[default]
    No,
    /// As `state_after`.
    Stable,
    /// As `org.matrix.msc4222.state_after`.
    Unstable,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the client stands; `None`: an initial sync.
    pub since: Option<Token>,
    /// What it wants.
    pub filter: Arc<SyncFilter>,
    /// Whether the state of all rooms is given again.
    pub full_state: bool,
    /// Whether state is given as of the end of the timeline.
    pub state_after: StateAfter,
    /// How long to wait for something to tell; at most [`TIMEOUT_MAX`].
    pub timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The filter id is unknown: `M_INVALID_PARAM`.
    #[error("there is no such filter")]
    NoFilter,
    /// The filter is not one: `M_BAD_JSON`.
    #[error(transparent)]
    BadFilter(#[from] BadFilter),
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Messages to the device could not be acknowledged.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The work was ended with the exchange.
    #[error("the exchange is shutting down")]
    Closed,
}

/// That a membership event was given to a device, and in which answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) member: Position,
    /// The position of that answer's token. Who comes back with it, or a later one, has got the event.
    pub(crate) answer: Position,
}

/// Answers `/sync`. One for the whole exchange; everything in it can be lost without harm.
pub struct Syncer {
    store: Store,
    clock: Arc<dyn Clock>,
    pub(crate) typing: Arc<Typing>,
    pub(crate) unread: Arc<UnreadCounts>,
    pub(crate) presence: Arc<Presences>,
    filters: Cache<(UserNum, String), Arc<SyncFilter>>,
    rooms: Cache<RoomNum, Arc<Room>>,
    pub(crate) given: Cache<(DeviceNum, RoomNum, String), Given>,
    everything: Arc<SyncFilter>,
    pub(crate) memory: Memory,
    /// Turns true when the server stops: who waits is answered at once.
    ending: tokio::sync::watch::Sender<bool>,
}

impl Syncer {
    /// Empty memory. `presence` uses the counter of `typing`: one number in tokens stands for both.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        typing: Arc<Typing>,
        unread: Arc<UnreadCounts>,
        presence: Arc<Presences>,
    ) -> Self {
        Self {
            store,
            clock,
            typing,
            unread,
            presence,
            filters: Cache::new(FILTERS),
            rooms: Cache::new(ROOMS),
            given: Cache::new(GIVEN),
            everything: Arc::default(),
            memory: Memory::default(),
            ending: tokio::sync::watch::Sender::new(false),
        }
    }

    /// The unread counts and notifications that answers tell of.
    pub fn unread(&self) -> &UnreadCounts {
        &self.unread
    }

    /// Answers everybody who waits, now and from now on: the server is about to stop.
    pub fn end_waits(&self) {
        self.ending.send_replace(true);
    }

    /// Waits until something changed. `false`: the time is up, or the server stops.
    pub async fn changed(&self, watch: &mut Watch, deadline: tokio::time::Instant) -> bool {
        let mut ending = self.ending.subscribe();
        tokio::select! {
            changed = tokio::time::timeout_at(deadline, watch.changed()) => changed.is_ok(),
            _ = ending.wait_for(|ending| *ending) => false,
        }
    }

    /// The filter that `text` stands for: JSON, or the id of a stored one; `None` filters nothing.
    pub fn filter(&self, user: UserNum, text: Option<&str>) -> Result<Arc<SyncFilter>, SyncError> {
        let Some(text) = text else {
            return Ok(Arc::clone(&self.everything));
        };
        let key = (user, text.to_owned());
        if let Some(filter) = self.filters.get(&key) {
            return Ok(filter);
        }
        let filter = if text.starts_with('{') {
            SyncFilter::parse(text.as_bytes())?
        } else {
            let id = text.parse().map_err(|_| SyncError::NoFilter)?;
            SyncFilter::parse(&stored::one(&self.store.read(), user, id)?.ok_or(SyncError::NoFilter)?)?
        };
        let filter = Arc::new(filter);
        self.filters.insert(key, Arc::clone(&filter));
        Ok(filter)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(crate) fn room(&self, read: &dyn Read, num: RoomNum) -> Result<Arc<Room>, ReadError> {
        if let Some(room) = self.rooms.get(&num) {
            return Ok(room);
        }
        let room = room::by_num(read, num)?;
        self.rooms.insert(num, Arc::clone(&room));
        Ok(room)
    }

    /// Answers with JSON: at once if there is something to tell, and else as soon as there is, or when the time is up.
    pub async fn sync(self: &Arc<Self>, who: Who, mut request: Request) -> Result<Vec<u8>, SyncError> {
        request.since = request
            .since
            .filter(|since| since.epoch == self.store.epoch() && since.position <= self.store.read().position());
        if let Some(since) = request.since {
            self.acknowledge(&who, since).await?;
        }
        if request.since.is_none() || request.full_state {
            // Long: not on a worker that others need.
            let syncer = Arc::clone(self);
            let answer = tokio::task::spawn_blocking(move || syncer.answer(&who, &request)).await;
            return Ok(answer.map_err(|_| SyncError::Closed)??.body);
        }
        let first = self.answer(&who, &request)?;
        if first.is_news || request.timeout.is_zero() {
            return Ok(first.body);
        }
        self.wait(&who, &request, first).await
    }

    /// "the server should delete to-device messages once the client has acknowledged them by sending the next token."
    async fn acknowledge(&self, who: &Who, since: Token) -> Result<(), SyncError> {
        let (device, up_to) = (who.device, since.to_device());
        if !to_device::waits(&self.store.read(), device, up_to)? {
            return Ok(());
        }
        let removed = self
            .store
            .write(move |txn| to_device::acknowledge(txn, device, up_to))
            .await;
        match removed {
            Ok(_) => Ok(()),
            Err(WriteError::Refused(error)) => Err(error.into()),
            Err(WriteError::Commit(error)) => Err(error.into()),
        }
    }

    async fn wait(&self, who: &Who, request: &Request, first: Answer) -> Result<Vec<u8>, SyncError> {
        let deadline = tokio::time::Instant::now() + request.timeout.min(TIMEOUT_MAX);
        let mut last = first;
        // A user who comes into a room in the meantime is told so, and that ends the wait: these rooms stay the right ones.
        let mut topics = vec![Topic::user(who.user)];
        let joined = |(room, member): (RoomNum, membership::Member)| {
            (member.membership == Membership::Join).then_some(Topic::room(room))
        };
        topics.extend(
            membership::rooms_of(&self.store.read(), who.user)?
                .into_iter()
                .filter_map(joined),
        );
        let mut watch = self.store.watch(&topics);
        loop {
            if self.store.read().position() != last.position || self.typing.newest() != last.ephemeral {
                last = self.answer(who, request)?;
                if last.is_news {
                    return Ok(last.body);
                }
            }
            if !self.changed(&mut watch, deadline).await {
                // Presence in large rooms wakes nobody: it is told now.
                if self.typing.newest() != last.ephemeral {
                    last = self.answer(who, request)?;
                }
                return Ok(last.body);
            }
        }
    }

    /// The answer as of now, without waiting.
    pub(crate) fn answer(&self, who: &Who, request: &Request) -> Result<Answer, ReadError> {
        // The counter first: a change between the two is told twice rather than never.
        let ephemeral = self.typing.newest();
        let read = self.store.read();
        answer::write(&Scene {
            syncer: self,
            read: &read,
            who,
            request,
            ephemeral,
            now_ms: self.clock.now_ms(),
            epoch: self.store.epoch(),
        })
    }
}
