//! Simplified sliding sync (MSC4186): windows into the rooms, newest first, instead of all of them.
//!
//! A connection remembers, in memory, up to where each room was told. It keeps that for the last answer and for the one before,
//! so that a client whose answer got lost can ask again. A connection that was forgotten is begun anew by the client.

mod extension;
mod list;
pub mod request;
mod room;

use crate::syncer::{Request, StateAfter, SyncError, Syncer, TIMEOUT_MAX, Who};
use crate::token::Token;
use lamchat_base::{DeviceNum, Position, RoomNum};
use lamchat_keys::to_device;
use lamchat_rooms::event::write_string;
use lamchat_rooms::membership::Member;
use lamchat_rooms::view::Ignored;
use lamchat_rooms::{Membership, log, membership, room as known_room};
use lamchat_store::{Read, ReadError, ReadTxn, Topic, WriteError};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use request::{Body, RoomConfig, RoomExtension};
use ruma::RoomId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Connections that are remembered.
const CONNECTIONS: usize = 4_096;
/// Rooms whose place among the others is remembered.
const STAMPS: usize = 65_536;
/// Longest name of a connection. "conn_id: (…) at most 16 characters" in MSC4186; real clients use more.
const CONN_ID_BYTES_MAX: usize = 64;

/// What is remembered between answers; part of [`Syncer`].
pub(crate) struct Memory {
    connections: Cache<(DeviceNum, String), Arc<Mutex<Connection>>>,
    pub(crate) stamps: Cache<RoomNum, list::Stamp>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            connections: Cache::new(CONNECTIONS),
            stamps: Cache::new(STAMPS),
        }
    }
}

/// The last answer, and the one before it.
#[derive(Debug, Default)]
struct Connection {
    kept: [Option<Arc<Told>>; 2],
}

/// What a client knows after an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    serial: u64,
    pub(crate) position: Position,
    pub(crate) ephemeral: u64,
    pub(crate) rooms: HashMap<RoomNum, ToldRoom>,
}

/// What a client knows of a room.
#[derive(Debug, Clone)]
pub(crate) struct ToldRoom {
    /// Up to here.
    pub(crate) position: Position,
    /// Typing up to here.
    pub(crate) ephemeral: u64,
    /// And this was asked for.
    pub(crate) config: Arc<RoomConfig>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SlidingError {
    /// The connection or its position is forgotten: `M_UNKNOWN_POS`, and the client begins anew.
    #[error("the position is not known any more")]
    UnknownPos,
    /// Too many lists or subscriptions, too long a name, or a room id that is none: `M_INVALID_PARAM`.
    #[error("{0}")]
    Invalid(&'static str),
    /// As for `/sync`.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

impl From<ReadError> for SlidingError {
    fn from(error: ReadError) -> Self {
        Self::Sync(error.into())
    }
}

/// Everything that one answer depends on.
pub(crate) struct Scene<'a> {
    pub(crate) syncer: &'a Syncer,
    pub(crate) read: &'a ReadTxn,
    pub(crate) who: &'a Who,
    pub(crate) body: &'a Body,
    pub(crate) told: Option<&'a Told>,
    pub(crate) ephemeral: u64,
    pub(crate) now_ms: u64,
    pub(crate) rooms: Vec<(RoomNum, Member)>,
    pub(crate) ignored: Ignored,
}

impl Scene<'_> {
    /// What the user is to a room; `None` if they have nothing to do with it.
    pub(crate) fn member(&self, room: RoomNum) -> Option<Member> {
        // They are sorted by room.
        let at = self.rooms.binary_search_by_key(&room, |(num, _)| *num).ok()?;
        self.rooms.get(at).map(|(_, member)| *member)
    }

    /// What the client knows of a room; `None` if all of it is to be told: it never was, or the user has come in since.
    pub(crate) fn known(&self, room: RoomNum, member: Member) -> Result<Option<&ToldRoom>, ReadError> {
        let Some(known) = self.told.and_then(|told| told.rooms.get(&room)) else {
            return Ok(None);
        };
        if member.membership != Membership::Join || member.position <= known.position {
            return Ok(Some(known));
        }
        // The event may as well be a new name of somebody who was there before.
        let was = log::member_at(self.read, self.who.user, room, known.position)?;
        Ok(was.is_some_and(|(was, _)| was == Membership::Join).then_some(known))
    }
}

struct Answer {
    body: Vec<u8>,
    is_news: bool,
    position: Position,
    ephemeral: u64,
}

impl Syncer {
    /// Answers with JSON: at once if there is something to tell or the connection is new, and else as soon as there is.
    pub async fn slide(
        &self,
        who: Who,
        body: Body,
        pos: Option<&str>,
        timeout: Duration,
    ) -> Result<Vec<u8>, SlidingError> {
        if !body.is_bounded() {
            return Err(SlidingError::Invalid(
                "too many lists, ranges, subscriptions or required state events",
            ));
        }
        if body.conn_id.len() > CONN_ID_BYTES_MAX {
            return Err(SlidingError::Invalid("conn_id is too long"));
        }
        let key = (who.device, body.conn_id.clone());
        let told = match pos {
            Some(pos) => Some(self.told(&key, pos)?),
            None => None,
        };
        self.acknowledge_to_device(&who, &body).await?;
        let answer = self.slide_once(&who, &body, told.as_deref(), &key)?;
        if answer.is_news || timeout.is_zero() {
            return Ok(answer.body);
        }
        self.slide_later(&who, &body, told.as_deref(), &key, answer, timeout)
            .await
    }

    fn told(&self, key: &(DeviceNum, String), pos: &str) -> Result<Arc<Told>, SlidingError> {
        let (epoch, serial) = pos.split_once('_').ok_or(SlidingError::UnknownPos)?;
        if epoch.parse() != Ok(self.store().epoch().0) {
            return Err(SlidingError::UnknownPos);
        }
        let serial: u64 = serial.parse().map_err(|_| SlidingError::UnknownPos)?;
        let connection = self.memory.connections.get(key).ok_or(SlidingError::UnknownPos)?;
        let mut connection = connection.lock();
        let told = connection
            .kept
            .iter()
            .flatten()
            .find(|told| told.serial == serial)
            .cloned()
            .ok_or(SlidingError::UnknownPos)?;
        // The client has this answer: the one before will not be asked for again.
        connection.kept = [Some(Arc::clone(&told)), None];
        Ok(told)
    }

    async fn acknowledge_to_device(&self, who: &Who, body: &Body) -> Result<(), SlidingError> {
        let since = body
            .extensions
            .to_device
            .since
            .as_deref()
            .filter(|_| body.extensions.to_device.enabled);
        let Some(up_to) = since.and_then(|since| since.parse().ok()).map(Position) else {
            return Ok(());
        };
        let device = who.device;
        if !to_device::waits(&self.store().read(), device, up_to)? {
            return Ok(());
        }
        match self
            .store()
            .write(move |txn| to_device::acknowledge(txn, device, up_to))
            .await
        {
            Ok(_) => Ok(()),
            Err(WriteError::Refused(error)) => Err(error.into()),
            Err(WriteError::Commit(error)) => Err(SyncError::from(error).into()),
        }
    }

    async fn slide_later(
        &self,
        who: &Who,
        body: &Body,
        told: Option<&Told>,
        key: &(DeviceNum, String),
        first: Answer,
        timeout: Duration,
    ) -> Result<Vec<u8>, SlidingError> {
        let deadline = tokio::time::Instant::now() + timeout.min(TIMEOUT_MAX);
        let mut last = first;
        let mut topics = vec![Topic::user(who.user)];
        let rooms = membership::rooms_of(&self.store().read(), who.user)?;
        topics.extend(
            rooms
                .iter()
                .filter(|(_, member)| member.membership == Membership::Join)
                .map(|(room, _)| Topic::room(*room)),
        );
        let mut watch = self.store().watch(&topics);
        loop {
            if self.store().read().position() != last.position || self.typing.newest() != last.ephemeral {
                last = self.slide_once(who, body, told, key)?;
                if last.is_news {
                    return Ok(last.body);
                }
            }
            if !self.changed(&mut watch, deadline).await {
                return Ok(last.body);
            }
        }
    }

    fn slide_once(
        &self,
        who: &Who,
        body: &Body,
        told: Option<&Told>,
        key: &(DeviceNum, String),
    ) -> Result<Answer, SlidingError> {
        let ephemeral = self.typing.newest();
        let read = self.store().read();
        let rooms = membership::rooms_of(&read, who.user)?;
        let ignored = Ignored::of(&read, who.user)?;
        let now_ms = self.now_ms();
        let scene = Scene {
            syncer: self,
            read: &read,
            who,
            body,
            told,
            ephemeral,
            now_ms,
            rooms,
            ignored,
        };
        let serial = told.map_or(now_ms, |told| told.serial) + 1;
        let (body, is_news, next) = write(&scene, serial, self.store().epoch().0)?;
        let connection = match self.memory.connections.get(key) {
            Some(connection) if told.is_some() => connection,
            _ => {
                let connection = Arc::default();
                self.memory.connections.insert(key.clone(), Arc::clone(&connection));
                connection
            }
        };
        let mut connection = connection.lock();
        let [first, second] = &mut connection.kept;
        if told.is_some() {
            *second = Some(Arc::new(next));
        } else {
            *first = Some(Arc::new(next));
        }
        Ok(Answer {
            body,
            is_news,
            position: read.position(),
            ephemeral,
        })
    }
}

/// The rooms that an answer tells of, and why.
#[derive(Default)]
pub(crate) struct Wanted<'b> {
    pub(crate) rooms: BTreeMap<RoomNum, RoomConfig>,
    by_list: Vec<(&'b String, RoomNum)>,
    by_subscription: Vec<(&'b String, RoomNum)>,
}

impl Wanted<'_> {
    /// The rooms that an extension tells of.
    pub(crate) fn of(&self, asked: &RoomExtension) -> BTreeSet<RoomNum> {
        let listed = self.by_list.iter().filter(|(name, _)| asked.wants_list(name));
        let subscribed = self
            .by_subscription
            .iter()
            .filter(|(id, _)| asked.wants_subscription(id));
        listed.chain(subscribed).map(|(_, room)| *room).collect()
    }
}

/// Writes the answer; tells whether there is news, and what the client knows with it.
fn write(scene: &Scene<'_>, serial: u64, epoch: u32) -> Result<(Vec<u8>, bool, Told), SlidingError> {
    let position = scene.read.position();
    let mut next = Told {
        serial,
        position,
        ephemeral: scene.ephemeral,
        rooms: scene.told.map(|told| told.rooms.clone()).unwrap_or_default(),
    };
    let mut out = Vec::with_capacity(16 << 10);
    out.extend_from_slice(format!("{{\"pos\":\"{epoch}_{serial}\",").as_bytes());
    if let Some(txn_id) = &scene.body.txn_id {
        out.extend_from_slice(b"\"txn_id\":");
        write_string(&mut out, txn_id);
        out.push(b',');
    }
    out.extend_from_slice(b"\"lists\":{");
    let mut wanted = Wanted::default();
    let sorted = list::sorted(scene)?;
    for (index, (name, list)) in scene.body.lists.iter().enumerate() {
        let (count, window) = list::window(scene, &sorted, list)?;
        for room in window {
            wanted.rooms.entry(room).or_default().join(&list.config);
            wanted.by_list.push((name, room));
        }
        crate::answer::comma(&mut out, index);
        write_string(&mut out, name);
        out.extend_from_slice(format!(":{{\"count\":{count}}}").as_bytes());
    }
    out.extend_from_slice(b"},\"rooms\":{");
    for (name, config) in &scene.body.room_subscriptions {
        let room_id = RoomId::parse(name).map_err(|_| SlidingError::Invalid("a subscription is not a room id"))?;
        // Rooms that the user has nothing to do with are left out, as if they did not exist.
        let room =
            known_room::num(scene.read, &room_id)?.filter(|room| sorted.iter().any(|sorted| sorted.room == *room));
        if let Some(room) = room {
            wanted.rooms.entry(room).or_default().join(config);
            wanted.by_subscription.push((name, room));
        }
    }
    let start = out.len();
    for sorted in sorted.iter().filter(|sorted| wanted.rooms.contains_key(&sorted.room)) {
        if let Some(config) = wanted.rooms.get(&sorted.room) {
            let before = out.len();
            let mut entry = Vec::new();
            if room::write(scene, &mut entry, sorted, config)? {
                if before != start {
                    out.push(b',');
                }
                out.extend_from_slice(&entry);
            }
            next.rooms.insert(
                sorted.room,
                ToldRoom {
                    position,
                    ephemeral: scene.ephemeral,
                    config: Arc::new(config.clone()),
                },
            );
        }
    }
    let rooms_news = out.len() != start;
    out.extend_from_slice(b"},\"extensions\":{");
    let extension_news = extension::write(scene, &mut out, &wanted)?;
    out.extend_from_slice(b"}}");
    Ok((out, scene.told.is_none() || rooms_news || extension_news, next))
}

/// What the parts that `/sync` shares with this one want to know of a request.
pub(crate) fn as_request(scene: &Scene<'_>) -> Request {
    let epoch = scene.syncer.store().epoch();
    let since = scene.told.map(|told| Token {
        epoch,
        position: told.position,
        ephemeral: told.ephemeral,
        to_device: None,
    });
    Request {
        since,
        filter: Arc::default(),
        full_state: false,
        state_after: StateAfter::Stable,
        timeout: Duration::ZERO,
    }
}
