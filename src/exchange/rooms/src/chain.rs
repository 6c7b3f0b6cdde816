//! Making events: each is authorized against the state after the one before, then built and signed, outside the writer.

use crate::append::{AppendError, Built, Pending};
use crate::authorize::AuthState;
use crate::head::Head;
use crate::invite_permission;
use crate::membership::Membership;
use crate::room::Room;
use crate::rooms::{Caller, Rooms, Slot};
use crate::transaction::Transaction;
use lamchat_accounts::user;
use lamchat_base::RoomNum;
use lamchat_rules::{Draft, Event, Level, Object, Power, Version, auth, canonical, event, pdu};
use lamchat_store::{ReadError, ReadTxn};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use std::sync::Arc;

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
        Self {
            event_type: event_type.to_owned(),
            state_key: Some(state_key.to_owned()),
            content,
            ..Self::default()
        }
    }
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
        Ok(event
            .and_then(|event| canonical::parse_object(event.content().as_bytes()).ok())
            .unwrap_or_default())
    }

    /// The membership of a user at the end of the chain.
    pub(crate) fn membership(&self, user: &UserId) -> Result<Option<Membership>, ReadError> {
        let content = self.state_content("m.room.member", user.as_str())?;
        Ok(content
            .get("membership")
            .and_then(|word| Membership::parse(word.as_str()?)))
    }

    /// The power levels at the end of the chain.
    pub(crate) fn power(&self) -> Result<Power, AppendError> {
        let create = self.state("m.room.create", "")?.ok_or(AppendError::NoSuchRoom)?;
        Ok(Power::new(
            self.version,
            &create,
            self.state("m.room.power_levels", "")?,
        )?)
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
        // "the user's homeserver MUST respond (…) with an HTTP 403 status code, with the Matrix error code `M_INVITE_BLOCKED`"
        if let Some((invited, Membership::Invite)) = &member
            && let Some(num) = user::num(&self.read, invited)?
            && invite_permission::blocks(&self.read, num)?
        {
            return Err(AppendError::InviteBlocked(invited.clone()));
        }
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
                redacts: new
                    .redacts
                    .as_deref()
                    .filter(|_| !self.version.has_redacts_in_content()),
                prev_events: &self.tips,
                auth_events: &auth_events,
                depth,
                origin_server_ts,
            },
            self.rooms.server_name().as_str(),
            &self.rooms.signing_key(),
        )?;
        if is_create {
            if !has_room_id {
                // "The room ID is the event ID of the room's create event, with the sigil replaced" (room version 12).
                let id = pdu.event_id.replacen('$', "!", 1);
                self.room_id = Some(RoomId::parse(id).map_err(|error| AppendError::BadContent(error.to_string()))?);
            }
            self.room_type = new
                .content
                .get("type")
                .and_then(|kind| kind.as_str())
                .map(str::to_owned);
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
            self.auth = Arc::new(
                match user::num(&self.read, member.as_ref().map_or(&sender.user_id, |(user, _)| user))? {
                    Some(target) if member.is_some() => self.auth.with_member(target, state_key, event),
                    _ => self.auth.with(&new.event_type, state_key, event),
                },
            );
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
        let (Some(state_key), "m.room.member") = (&new.state_key, new.event_type.as_str()) else {
            return Ok(None);
        };
        let user = UserId::parse(state_key)
            .map_err(|_| AppendError::BadContent("the state key is not a user id".to_owned()))?;
        let word = new.content.get("membership").and_then(|word| word.as_str());
        let membership = word
            .and_then(Membership::parse)
            .ok_or_else(|| AppendError::BadContent("there is no such membership".to_owned()))?;
        if membership == Membership::Invite && !self.rooms.is_local(&user) {
            return Err(AppendError::Refused(format!(
                "{user} is on another server, and this one does not speak to others"
            )));
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
            room_id: self
                .room_id
                .as_deref()
                .filter(|_| !(is_create && self.version.has_hashed_room_id()))
                .map(RoomId::as_str),
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
            known
                .iter()
                .find(|(t, k, _)| t == event_type && k == state_key)
                .map(|(_, _, event)| Arc::clone(event))
        })?;
        // "The m.room.create event [is] not [...] selected" since version 12.
        let is_selected = |event_type: &str| event_type != "m.room.create" || !self.version.has_hashed_room_id();
        let ids: Arc<[String]> = known
            .iter()
            .filter(|(t, ..)| is_selected(t))
            .map(|(_, _, event)| event.id().to_string())
            .collect();
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
