//! The one way by which events come into a room: a chain of new events is authorized, built and signed outside the writer,
//! then applied by it as rows.

use crate::authorize::AuthState;
use crate::event::{EventRow, Flags};
use crate::head::Head;
use crate::membership::{self, Membership};
use crate::redact;
use crate::room::{self, Room};
use crate::rooms::{Caller, Rooms, Slot};
use crate::table::{EVENT, TIMELINE, live_order, timeline_key};
use crate::transaction::Transaction;
use crate::{event_id, relation, state};
use lamchat_accounts::user;
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_connections::{Reach, may_reach};
use lamchat_rules::{Draft, Event, Level, Object, Power, Refused, Version, auth, canonical, event, pdu};
use lamchat_store::{Bytes, CommitError, ReadError, ReadTxn, Topic, WriteError, WriteTxn};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use std::sync::Arc;

/// Why an event was not made.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// This exchange does not know the room: `M_FORBIDDEN`, as for a room that one is not in; `M_NOT_FOUND` when joining.
    #[error("you are not in this room")]
    NoSuchRoom,
    /// The rules of the room do not allow it: `M_FORBIDDEN`.
    #[error("{0}")]
    Refused(String),
    /// Too large: `M_TOO_LARGE`.
    #[error("the event is too large: {0}")]
    TooLarge(&'static str),
    /// The content is not what the type demands: `M_BAD_JSON`.
    #[error("{0}")]
    BadContent(String),
    /// The invited user may not be reached by the sender: `M_FORBIDDEN`.
    #[error("{0} cannot be invited by you")]
    NotReachable(OwnedUserId),
    /// The room was changed by others all the time: worth trying again.
    #[error("the room is too busy")]
    Busy,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<Refused> for AppendError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.0)
    }
}

impl From<event::Malformed> for AppendError {
    fn from(malformed: event::Malformed) -> Self {
        Self::BadContent(malformed.0)
    }
}

impl From<pdu::BuildError> for AppendError {
    fn from(pdu::BuildError::TooLarge(what): pdu::BuildError) -> Self {
        Self::TooLarge(what)
    }
}

impl From<WriteError<ApplyError>> for AppendError {
    fn from(error: WriteError<ApplyError>) -> Self {
        match error {
            WriteError::Refused(ApplyError::Moved) => Self::Busy,
            WriteError::Refused(ApplyError::NotReachable(user)) => Self::NotReachable(user),
            WriteError::Refused(ApplyError::Read(error)) => Self::Read(error),
            WriteError::Commit(error) => Self::Commit(error),
        }
    }
}

/// Why a built chain was not applied.
#[derive(Debug)]
pub(crate) enum ApplyError {
    /// The room has another head than the chain was built on, or the transaction is done: build again.
    Moved,
    /// `connections` does not let an invitation through.
    NotReachable(OwnedUserId),
    /// The store.
    Read(ReadError),
}

impl From<ReadError> for ApplyError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// An event to be made.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewEvent {
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) content: Object,
    /// What a redaction redacts, wherever the room version puts it.
    pub(crate) redacts: Option<String>,
    pub(crate) transaction: Option<Transaction>,
    /// Another time than now.
    pub(crate) origin_server_ts: Option<u64>,
}

impl NewEvent {
    pub(crate) fn state(event_type: &str, state_key: &str, content: Object) -> Self {
        Self { event_type: event_type.to_owned(), state_key: Some(state_key.to_owned()), content, ..Self::default() }
    }
}

/// A built event without its place.
struct Built {
    event_id: String,
    sender: UserNum,
    sender_id: OwnedUserId,
    event_type: String,
    state_key: Option<String>,
    redacts: Option<String>,
    content: String,
    rest: String,
    depth: u64,
    origin_server_ts: u64,
    transaction: Option<Transaction>,
    member: Option<(OwnedUserId, Membership)>,
}

/// New events of one room, each built on the one before.
pub(crate) struct Chain<'r> {
    rooms: &'r Rooms,
    read: ReadTxn,
    /// The stored room; `None` while it is being created.
    room: Option<Arc<Room>>,
    room_id: Option<OwnedRoomId>,
    version: &'static Version,
    expected: Vec<String>,
    tips: Vec<String>,
    depth: u64,
    auth: Arc<AuthState>,
    events: Vec<Built>,
    room_type: Option<String>,
}

impl<'r> Chain<'r> {
    /// On the head of a stored room. The room's lock is held.
    pub(crate) fn on(rooms: &'r Rooms, slot: &Slot) -> Result<Self, AppendError> {
        let read = rooms.store().read();
        let head = Head::of(&read, slot.room.num)?.ok_or(AppendError::NoSuchRoom)?;
        Ok(Self {
            rooms,
            read,
            room_id: Some(slot.room.id.clone()),
            version: slot.room.version,
            expected: head.extremities.clone(),
            tips: head.extremities,
            depth: head.depth,
            auth: slot.auth(head.state_group),
            events: Vec::new(),
            room_type: None,
            room: Some(Arc::clone(&slot.room)),
        })
    }

    /// Of a new room. `room_id` is `None` in versions where the create event makes it.
    pub(crate) fn new(rooms: &'r Rooms, version: &'static Version, room_id: Option<OwnedRoomId>) -> Self {
        Self {
            rooms,
            read: rooms.store().read(),
            room: None,
            room_id,
            version,
            expected: Vec::new(),
            tips: Vec::new(),
            depth: 0,
            auth: Arc::new(AuthState::empty()),
            events: Vec::new(),
            room_type: None,
        }
    }

    /// The snapshot that the chain is built on.
    pub(crate) fn read(&self) -> &ReadTxn {
        &self.read
    }

    pub(crate) fn rooms(&self) -> &'r Rooms {
        self.rooms
    }

    pub(crate) fn version(&self) -> &'static Version {
        self.version
    }

    /// The stored room's number.
    pub(crate) fn room_num(&self) -> Result<RoomNum, AppendError> {
        self.room.as_ref().map(|room| room.num).ok_or(AppendError::NoSuchRoom)
    }

    /// The room's id, once it is known.
    pub(crate) fn room_id(&self) -> Result<&RoomId, AppendError> {
        self.room_id.as_deref().ok_or(AppendError::NoSuchRoom)
    }

    /// An event of the state at the end of the chain.
    pub(crate) fn state(&self, event_type: &str, state_key: &str) -> Result<Option<Arc<Event>>, ReadError> {
        self.auth.event(&self.read, self.room.as_deref(), event_type, state_key)
    }

    /// Content of an event of the state at the end of the chain; an empty one if there is none or it is malformed.
    pub(crate) fn state_content(&self, event_type: &str, state_key: &str) -> Result<Object, ReadError> {
        let event = self.state(event_type, state_key)?;
        Ok(event.and_then(|event| canonical::parse_object(event.content().as_bytes()).ok()).unwrap_or_default())
    }

    /// The membership of a user at the end of the chain.
    pub(crate) fn membership(&self, user: &UserId) -> Result<Option<Membership>, ReadError> {
        let content = self.state_content("m.room.member", user.as_str())?;
        Ok(content.get("membership").and_then(|word| Membership::parse(word.as_str()?)))
    }

    /// The power levels at the end of the chain.
    pub(crate) fn power(&self) -> Result<Power, AppendError> {
        let create = self.state("m.room.create", "")?.ok_or(AppendError::NoSuchRoom)?;
        Ok(Power::new(self.version, &create, self.state("m.room.power_levels", "")?)?)
    }

    /// Whether `user` is joined and may send a state event of a type.
    pub(crate) fn may_send_state(&self, user: &UserId, event_type: &str) -> Result<bool, AppendError> {
        if self.membership(user)? != Some(Membership::Join) {
            return Ok(false);
        }
        let power = self.power()?;
        Ok(power.of(user)? >= power.to_send_state(event_type)?)
    }

    /// Whether `user` has the power to redact what others have sent.
    pub(crate) fn may_redact_others(&self, user: &UserId) -> Result<bool, AppendError> {
        let power = self.power()?;
        Ok(power.of(user)? >= power.to_redact()?)
    }

    /// Whether `user` has the power to invite.
    pub(crate) fn may_invite(&self, power: &Power, user: &UserId) -> Result<bool, AppendError> {
        let level: Level = power.of(user)?;
        Ok(level >= power.to_invite()?)
    }

    /// Authorizes, hashes and signs an event after the last one; answers its id.
    pub(crate) fn push(&mut self, sender: &Caller, new: NewEvent) -> Result<String, AppendError> {
        let member = self.member_change(&new)?;
        let auth_events = self.authorize(sender, &new)?;
        let origin_server_ts = new.origin_server_ts.unwrap_or_else(|| self.rooms.now_ms());
        let is_create = new.event_type == "m.room.create";
        let has_room_id = !(is_create && self.version.has_hashed_room_id());
        let depth = self.depth + 1;
        let pdu = pdu::build(
            &Draft {
                version: self.version,
                room_id: self.room_id.as_deref().filter(|_| has_room_id).map(RoomId::as_str),
                sender: sender.user_id.as_str(),
                event_type: &new.event_type,
                state_key: new.state_key.as_deref(),
                content: &new.content,
                redacts: new.redacts.as_deref().filter(|_| !self.version.has_redacts_in_content()),
                prev_events: &self.tips,
                auth_events: &auth_events,
                depth,
                origin_server_ts,
            },
            self.rooms.server_name().as_str(),
            self.rooms.key(),
        )?;
        if is_create {
            if !has_room_id {
                // "The room ID is the event ID of the room's create event, with the sigil replaced" (room version 12).
                let id = pdu.event_id.replacen('$', "!", 1);
                self.room_id = Some(RoomId::parse(id).map_err(|error| AppendError::BadContent(error.to_string()))?);
            }
            self.room_type = new.content.get("type").and_then(|kind| kind.as_str()).map(str::to_owned);
        }
        if let Some(state_key) = &new.state_key {
            let event = Arc::new(Event::new(event::Parts {
                event_id: Some(&pdu.event_id),
                room_id: self.room_id.as_deref().filter(|_| has_room_id).map(RoomId::as_str),
                sender: sender.user_id.as_str(),
                event_type: &new.event_type,
                state_key: Some(state_key),
                content: &pdu.content,
                origin_server_ts,
                prev_events: &self.tips,
                auth_events: &auth_events,
                rejected: false,
            })?);
            self.auth = Arc::new(match user::num(&self.read, member.as_ref().map_or(&sender.user_id, |(user, _)| user))? {
                Some(target) if member.is_some() => self.auth.with_member(target, state_key, event),
                _ => self.auth.with(&new.event_type, state_key, event),
            });
        }
        self.tips = vec![pdu.event_id.clone()];
        self.depth = depth;
        self.events.push(Built {
            event_id: pdu.event_id.clone(),
            sender: sender.user,
            sender_id: sender.user_id.clone(),
            event_type: new.event_type,
            state_key: new.state_key,
            redacts: new.redacts,
            content: pdu.content,
            rest: pdu.rest,
            depth,
            origin_server_ts,
            transaction: new.transaction,
            member,
        });
        Ok(pdu.event_id)
    }

    /// Like [`Chain::push`] for a state event; if the same sender has said the same before, answers that event's id.
    pub(crate) fn push_state(&mut self, sender: &Caller, new: NewEvent) -> Result<String, AppendError> {
        let state_key = new.state_key.as_deref().unwrap_or_default();
        if let Some(event) = self.state(&new.event_type, state_key)?
            && event.sender() == sender.user_id
            && event.content() == canonical::to_string(&new.content)
        {
            self.authorize(sender, &new)?;
            return Ok(event.id().to_string());
        }
        self.push(sender, new)
    }

    /// Whose membership an event changes to what.
    fn member_change(&self, new: &NewEvent) -> Result<Option<(OwnedUserId, Membership)>, AppendError> {
        let (Some(state_key), "m.room.member") = (&new.state_key, new.event_type.as_str()) else { return Ok(None) };
        let user = UserId::parse(state_key).map_err(|_| AppendError::BadContent("the state key is not a user id".to_owned()))?;
        let word = new.content.get("membership").and_then(|word| word.as_str());
        let membership = word
            .and_then(Membership::parse)
            .ok_or_else(|| AppendError::BadContent("there is no such membership".to_owned()))?;
        if membership == Membership::Invite && !self.rooms.is_local(&user) {
            return Err(AppendError::Refused(format!("{user} is on another server, and this one does not speak to others")));
        }
        Ok(Some((user, membership)))
    }

    /// Checks an event against the state at the end of the chain, which is both the state before it and the current state.
    /// Answers the ids of its auth events.
    fn authorize(&self, sender: &Caller, new: &NewEvent) -> Result<Arc<[String]>, AppendError> {
        let is_plain = auth::depends_on_type_only(&new.event_type, new.state_key.as_deref());
        if is_plain && let Some(ids) = self.auth.allowed(sender.user, &new.event_type) {
            return Ok(ids);
        }
        let content = canonical::to_string(&new.content);
        let is_create = new.event_type == "m.room.create";
        let draft = Event::new(event::Parts {
            event_id: None,
            room_id: self.room_id.as_deref().filter(|_| !(is_create && self.version.has_hashed_room_id())).map(RoomId::as_str),
            sender: sender.user_id.as_str(),
            event_type: &new.event_type,
            state_key: new.state_key.as_deref(),
            content: &content,
            origin_server_ts: 0,
            prev_events: &self.tips,
            auth_events: &[],
            rejected: false,
        })?;
        if is_create {
            auth::check_alone(self.version, &draft, |_| None)?;
            return Ok(Arc::from([]));
        }
        let mut known = Vec::new();
        for (event_type, state_key) in auth::needed_state(self.version, &draft)? {
            if let Some(event) = self.state(&event_type, &state_key)? {
                known.push((event_type, state_key, event));
            }
        }
        auth::check(self.version, &draft, |event_type, state_key| {
            known.iter().find(|(t, k, _)| t == event_type && k == state_key).map(|(_, _, event)| Arc::clone(event))
        })?;
        // "The m.room.create event [is] not [...] selected" since version 12.
        let is_selected = |event_type: &str| event_type != "m.room.create" || !self.version.has_hashed_room_id();
        let ids: Arc<[String]> =
            known.iter().filter(|(t, ..)| is_selected(t)).map(|(_, _, event)| event.id().to_string()).collect();
        if is_plain {
            self.auth.allow(sender.user, &new.event_type, Arc::clone(&ids));
        }
        Ok(ids)
    }

    /// What the writer applies; `None` if nothing was pushed.
    pub(crate) fn finish(self) -> Option<Pending> {
        if self.events.is_empty() {
            return None;
        }
        Some(Pending {
            room: self.room,
            room_id: self.room_id,
            room_type: self.room_type,
            version: self.version,
            expected: self.expected,
            auth: self.auth,
            events: self.events,
        })
    }
}

/// A chain ready for the writer.
pub(crate) struct Pending {
    room: Option<Arc<Room>>,
    room_id: Option<OwnedRoomId>,
    room_type: Option<String>,
    version: &'static Version,
    expected: Vec<String>,
    auth: Arc<AuthState>,
    events: Vec<Built>,
}

/// Where a chain came to lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applied {
    pub(crate) room: RoomNum,
    state_group: u64,
}

impl Pending {
    /// Writes the rows of all events.
    pub(crate) fn apply(&self, txn: &mut WriteTxn<'_>) -> Result<Applied, ApplyError> {
        let (num, mut head) = match &self.room {
            Some(room) => (room.num, Head::of(txn, room.num)?.ok_or(ApplyError::Moved)?),
            None => (room::next_num(txn)?, Head::default()),
        };
        if head.extremities != self.expected {
            return Err(ApplyError::Moved);
        }
        let mut create = None;
        for event in &self.events {
            let position = self.apply_event(txn, num, &mut head, event)?;
            create.get_or_insert((position, event.sender_id.clone()));
        }
        head.put(txn, num);
        if let (None, Some((create, creator)), Some(id)) = (&self.room, create, &self.room_id) {
            let room_type = self.room_type.clone();
            room::put(txn, &Room { num, id: id.clone(), version: self.version, create, creator, room_type })?;
        }
        txn.touch(Topic::room(num));
        Ok(Applied { room: num, state_group: head.state_group })
    }

    fn apply_event(&self, txn: &mut WriteTxn<'_>, room: RoomNum, head: &mut Head, event: &Built) -> Result<Position, ApplyError> {
        if let Some(transaction) = &event.transaction
            && transaction.is_done(txn)?
        {
            return Err(ApplyError::Moved);
        }
        let position = txn.next_position();
        let replaces = match &event.state_key {
            Some(state_key) => state::current(txn, room, &event.event_type, state_key)?,
            None => None,
        };
        let row = EventRow {
            flags: Flags::default(),
            room,
            state_group: head.state_group,
            content_key_id: 0,
            origin_server_ts: event.origin_server_ts,
            depth: event.depth,
            replaces,
            redacted_because: None,
            event_id: &event.event_id,
            sender: event.sender_id.as_str(),
            event_type: &event.event_type,
            state_key: event.state_key.as_deref(),
            redacts: event.redacts.as_deref(),
            transaction: event.transaction.as_ref().map(|transaction| (transaction.device, transaction.id.as_str())),
            content: &event.content,
            rest: &event.rest,
        };
        let row = row.encode().map_err(|error| ReadError::Malformed { table: EVENT.name, detail: error.to_string() })?;
        txn.put(EVENT, &position.to_key(), row);
        txn.put(TIMELINE, &timeline_key(room, live_order(position)), Bytes::copy_from_slice(&position.to_key()));
        event_id::put(txn, &event.event_id, position);
        if let Some(transaction) = &event.transaction {
            transaction.put(txn, position);
        }
        if let Some(state_key) = &event.state_key {
            state::put_group(txn, head.state_group, position, &event.event_type, state_key)?;
            state::put_current(txn, room, &event.event_type, state_key, position);
            head.state_group = position.0;
        }
        if let Some((target, membership)) = &event.member {
            let target_num = user::num_or_insert(txn, target)?;
            if *membership == Membership::Invite && !may_reach(event.sender, target_num, Reach::Invite) {
                return Err(ApplyError::NotReachable(target.clone()));
            }
            membership::put(txn, head, room, target_num, *membership, position)?;
            txn.touch(Topic::user(target_num));
        }
        relation::put(txn, room, position, event.sender, &event.event_type, &event.content)?;
        if let Some(target) = &event.redacts {
            redact::erase(txn, room, self.version, target, position)?;
        }
        head.newest = position;
        head.depth = event.depth;
        head.extremities = vec![event.event_id.clone()];
        Ok(position)
    }

    /// Keeps what was parsed for the next event, after the commit.
    pub(crate) fn remember(&self, slot: &Slot, applied: &Applied) {
        if self.events.iter().any(|event| event.redacts.is_some()) {
            slot.forget_auth();
        } else {
            let is_new = self.room.is_none();
            let auth = if is_new { Arc::new(self.auth.now_stored()) } else { Arc::clone(&self.auth) };
            slot.keep_auth(applied.state_group, auth);
        }
    }
}
