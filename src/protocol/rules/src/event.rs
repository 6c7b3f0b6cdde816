//! An event as the authorization rules see it.

use ruma::events::TimelineEventType;
use ruma::{EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId};
use serde_json::value::RawValue;

/// What an [`Event`] is made from.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The event id; a draft has none yet.
    pub event_id: Option<&'a str>,
    /// The room id; create events since version 12 have none.
    pub room_id: Option<&'a str>,
    /// The sender.
    pub sender: &'a str,
    /// The type.
    pub event_type: &'a str,
    /// The state key, of state events.
    pub state_key: Option<&'a str>,
    /// The content, a JSON object.
    pub content: &'a str,
    /// Milliseconds since the Unix epoch.
    pub origin_server_ts: u64,
    /// The events before it. Only the rule for the creator's first join looks at them, and state resolution.
    pub prev_events: &'a [String],
    /// The events that authorize it. Only [`crate::auth::check_alone`] looks at them, and state resolution.
    pub auth_events: &'a [String],
    /// Whether it was rejected when it was received.
    pub rejected: bool,
}

/// A part of an event is not an identifier, or the content is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a malformed event: {0}")]
pub struct Malformed(pub String);

/// An event as the authorization rules see it; made once and shared.
#[derive(Debug)]
pub struct Event {
    id: OwnedEventId,
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    event_type: TimelineEventType,
    content: Box<RawValue>,
    state_key: Option<String>,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    rejected: bool,
}

/// The id of an event that has none yet; no hash looks like it.
const DRAFT_ID: &str = "$draft";

impl Event {
    /// Parses the identifiers; the content is parsed by the rule that needs it.
    pub fn new(parts: Parts<'_>) -> Result<Self, Malformed> {
        let event_id = |id: &str| EventId::parse(id).map_err(|error| Malformed(format!("{id}: {error}")));
        let event_ids = |ids: &[String]| ids.iter().map(|id| event_id(id)).collect::<Result<Vec<_>, _>>();
        let room_id = |id: &str| RoomId::parse(id).map_err(|error| Malformed(format!("{id}: {error}")));
        Ok(Self {
            id: event_id(parts.event_id.unwrap_or(DRAFT_ID))?,
            room_id: parts.room_id.map(room_id).transpose()?,
            sender: UserId::parse(parts.sender).map_err(|error| Malformed(format!("{}: {error}", parts.sender)))?,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::new_saturating(parts.origin_server_ts)),
            event_type: TimelineEventType::from(parts.event_type),
            content: RawValue::from_string(parts.content.to_owned()).map_err(|error| Malformed(error.to_string()))?,
            state_key: parts.state_key.map(ToOwned::to_owned),
            prev_events: event_ids(parts.prev_events)?,
            auth_events: event_ids(parts.auth_events)?,
            rejected: parts.rejected,
        })
    }

    /// The event id.
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// The sender.
    pub fn sender(&self) -> &UserId {
        &self.sender
    }

    /// The content, a JSON object.
    pub fn content(&self) -> &str {
        self.content.get()
    }
}

impl ruma::state_res::Event for Event {
    type Id = OwnedEventId;

    fn event_id(&self) -> &Self::Id {
        &self.id
    }
    fn room_id(&self) -> Option<&RoomId> {
        self.room_id.as_deref()
    }
    fn sender(&self) -> &UserId {
        &self.sender
    }
    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.origin_server_ts
    }
    fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }
    fn content(&self) -> &RawValue {
        &self.content
    }
    fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }
    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &Self::Id> + '_> {
        Box::new(self.prev_events.iter())
    }
    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &Self::Id> + '_> {
        Box::new(self.auth_events.iter())
    }
    fn redacts(&self) -> Option<&Self::Id> {
        // Only the rules of room versions 1 and 2 look at it.
        None
    }
    fn rejected(&self) -> bool {
        self.rejected
    }
}
