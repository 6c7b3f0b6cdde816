//! What was parsed of a room's state for authorization, and which kinds of messages it was found to allow.

use crate::event::{EventRow, Flags};
use crate::log::known_event;
use crate::room::Room;
use crate::state;
use lamchat_base::{Position, UserNum};
use lamchat_rules::{Event, Version, event};
use lamchat_store::{Read, ReadError};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Most events of one room's state that are kept parsed.
const EVENTS_MAX: usize = 128;
/// Most bytes that the parsed events of one room's state take, about.
const EVENTS_BYTES_MAX: usize = 1024 * 1024;
/// Most senders, and types of one sender, whose permission is remembered for one room's state.
const SENDS_MAX: usize = 256;
/// What a parsed event takes beside its content: identifiers, the key and the place under which it is kept.
const EVENT_OVERHEAD: usize = 600;
/// What a remembered permission takes: the type and the list of ids, which others share.
const SEND_OVERHEAD: usize = 200;

/// (type, state key) -> the event; `None`: known not to be there.
type Events = HashMap<(String, String), Option<Arc<Event>>>;
/// The ids of the auth events of a message, by sender and type.
type Sends = HashMap<UserNum, Vec<(String, Arc<[String]>)>>;

/// The parsed part of one state of one room.
pub(crate) struct AuthState {
    /// Whether `events` is all there is: the state of a room that is not stored yet.
    is_whole: bool,
    events: Mutex<Events>,
    sends: Mutex<Sends>,
}

impl AuthState {
    /// Of a stored room; events are loaded when they are asked for.
    pub(crate) fn stored() -> Self {
        Self {
            is_whole: false,
            events: Mutex::default(),
            sends: Mutex::default(),
        }
    }

    /// Of a room that does not exist yet.
    pub(crate) fn empty() -> Self {
        Self {
            is_whole: true,
            events: Mutex::default(),
            sends: Mutex::default(),
        }
    }

    /// About how many bytes this takes.
    pub(crate) fn bytes(&self) -> usize {
        let sends: usize = self
            .sends
            .lock()
            .values()
            .map(|types| types.len() * SEND_OVERHEAD)
            .sum();
        sends + events_bytes(&self.events.lock())
    }

    /// The event under a type and state key. `read` is a snapshot in which this is the current state of `room`.
    pub(crate) fn event(
        &self,
        read: &dyn Read,
        room: Option<&Room>,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Arc<Event>>, ReadError> {
        let key = (event_type.to_owned(), state_key.to_owned());
        if let Some(event) = self.events.lock().get(&key) {
            return Ok(event.clone());
        }
        let (Some(room), false) = (room, self.is_whole) else {
            return Ok(None);
        };
        let event = match state::current(read, room.num, event_type, state_key)? {
            Some(position) => Some(Arc::new(load(read, room.version, room.id.as_str(), position)?)),
            None => None,
        };
        let mut events = self.events.lock();
        if is_full(&events) {
            events.clear();
        }
        events.insert(key, event.clone());
        Ok(event)
    }

    /// The state after `event`, which has this type and state key.
    pub(crate) fn with(&self, event_type: &str, state_key: &str, event: Arc<Event>) -> Self {
        let mut events = self.events.lock().clone();
        if !self.is_whole && is_full(&events) {
            events.clear();
        }
        events.insert((event_type.to_owned(), state_key.to_owned()), Some(event));
        // Whether a message is allowed depends on the create event, the power levels and the sender's membership.
        let sends = match event_type {
            "m.room.create" | "m.room.power_levels" | "m.room.member" => Sends::new(),
            _ => self.sends.lock().clone(),
        };
        Self {
            is_whole: self.is_whole,
            events: Mutex::new(events),
            sends: Mutex::new(sends),
        }
    }

    /// Like [`AuthState::with`] for the membership of `member`: what others may send stays as it was.
    pub(crate) fn with_member(&self, member: UserNum, state_key: &str, event: Arc<Event>) -> Self {
        let after = self.with("m.room.member", state_key, event);
        let mut sends = self.sends.lock().clone();
        sends.remove(&member);
        *after.sends.lock() = sends;
        after
    }

    /// The same for a room that is stored by now.
    pub(crate) fn now_stored(&self) -> Self {
        Self {
            is_whole: false,
            events: Mutex::new(self.events.lock().clone()),
            sends: Mutex::new(self.sends.lock().clone()),
        }
    }

    /// The auth events of a message, if the same sender has sent one of the same type in this state before.
    pub(crate) fn allowed(&self, sender: UserNum, event_type: &str) -> Option<Arc<[String]>> {
        let sends = self.sends.lock();
        sends
            .get(&sender)?
            .iter()
            .find(|(allowed, _)| allowed == event_type)
            .map(|(_, ids)| Arc::clone(ids))
    }

    pub(crate) fn allow(&self, sender: UserNum, event_type: &str, auth_events: Arc<[String]>) {
        let mut sends = self.sends.lock();
        if sends.len() >= SENDS_MAX || sends.get(&sender).is_some_and(|types| types.len() >= SENDS_MAX) {
            sends.clear();
        }
        sends
            .entry(sender)
            .or_default()
            .push((event_type.to_owned(), auth_events));
    }
}

fn events_bytes(events: &Events) -> usize {
    let content = |event: &Arc<Event>| event.content().len() + EVENT_OVERHEAD;
    events
        .values()
        .map(|event| event.as_ref().map_or(EVENT_OVERHEAD / 2, content))
        .sum()
}

fn is_full(events: &Events) -> bool {
    events.len() >= EVENTS_MAX || events_bytes(events) >= EVENTS_BYTES_MAX
}

/// Parses a stored event for the authorization rules. Its own prev and auth events are left out: no rule about a state asks
/// for them.
fn load(read: &dyn Read, version: &Version, room_id: &str, position: Position) -> Result<Event, ReadError> {
    let bytes = known_event(read, position)?;
    let row = EventRow::decode(&bytes)?;
    let is_create = row.event_type == "m.room.create";
    Event::new(event::Parts {
        event_id: Some(row.event_id),
        room_id: (!(is_create && version.has_hashed_room_id())).then_some(room_id),
        sender: row.sender,
        event_type: row.event_type,
        state_key: row.state_key,
        content: row.content,
        origin_server_ts: row.origin_server_ts,
        prev_events: &[],
        auth_events: &[],
        rejected: row.flags.contains(Flags::REJECTED),
    })
    .map_err(|error| ReadError::Malformed {
        table: crate::table::EVENT.name,
        detail: error.to_string(),
    })
}
