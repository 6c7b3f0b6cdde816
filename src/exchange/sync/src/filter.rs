//! The filter of a sync, compiled (Matrix 1.16, "Filtering").

use lamchat_rooms::filter::{Choice, EventFilter};
use ruma::api::client::filter::{EventFormat, FilterDefinition};
use serde_json::Value;

/// Most events of one room's timeline in one answer.
pub const TIMELINE_MAX: usize = 100;
/// And how many if the client does not say. "The server's default" is 10 with everybody.
pub const TIMELINE_DEFAULT: usize = 10;

/// What a client wants to hear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncFilter {
    /// Which rooms.
    pub rooms: Choice,
    /// Whether rooms that the user left are listed in an initial sync.
    pub include_leave: bool,
    /// Events of timelines.
    pub timeline: EventFilter,
    /// State events.
    pub state: EventFilter,
    /// Typing and receipts.
    pub ephemeral: EventFilter,
    /// Account data of rooms.
    pub room_account_data: EventFilter,
    /// Account data of all rooms.
    pub account_data: EventFilter,
    /// Presence of others.
    pub presence: EventFilter,
    /// Which members of events; `None`: all.
    pub event_fields: Option<EventFields>,
    /// "event_format: (…) `federation` will return the raw event as received over federation."
    pub as_pdus: bool,
}

/// A filter that is not one: `M_BAD_JSON`.
#[derive(Debug, thiserror::Error)]
#[error("the filter is malformed: {0}")]
pub struct BadFilter(#[from] serde_json::Error);

impl SyncFilter {
    /// Compiles a filter's JSON.
    pub fn parse(json: &[u8]) -> Result<Self, BadFilter> {
        let wish: FilterDefinition = serde_json::from_slice(json)?;
        Ok(Self {
            rooms: Choice::new(wish.room.rooms.as_deref(), &wish.room.not_rooms),
            include_leave: wish.room.include_leave,
            timeline: EventFilter::of_room(&wish.room.timeline),
            state: EventFilter::of_room(&wish.room.state),
            ephemeral: EventFilter::of_room(&wish.room.ephemeral),
            room_account_data: EventFilter::of_room(&wish.room.account_data),
            account_data: EventFilter::of_events(&wish.account_data),
            presence: EventFilter::of_events(&wish.presence),
            event_fields: wish.event_fields.map(|fields| EventFields::new(&fields)),
            as_pdus: wish.event_format == EventFormat::Federation,
        })
    }

    /// Most events of a room's timeline.
    pub fn timeline_limit(&self) -> usize {
        self.timeline.limit.unwrap_or(TIMELINE_DEFAULT).min(TIMELINE_MAX)
    }

    /// Whether members are loaded lazily: asked for with the state or with the timeline.
    pub fn is_lazy(&self) -> bool {
        self.state.lazy_load_members || self.timeline.lazy_load_members
    }

    /// Whether members that were given before are given again.
    pub fn is_redundant(&self) -> bool {
        self.state.include_redundant_members || self.timeline.include_redundant_members
    }
}

/// Paths of the members of events that a client wants: `content.body`; `\.` is a dot inside a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFields(Vec<Vec<String>>);

impl EventFields {
    fn new(fields: &[String]) -> Self {
        Self(fields.iter().map(|field| split(field)).collect())
    }

    /// Keeps only what is wanted of an event.
    pub fn prune(&self, event: &Value) -> Value {
        let mut kept = Value::Object(serde_json::Map::new());
        for path in &self.0 {
            copy(event, &mut kept, path);
        }
        kept
    }
}

fn split(field: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut letters = field.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if matches!(letters.peek(), Some('.' | '\\')) => {
                if let (Some(name), Some(escaped)) = (names.last_mut(), letters.next()) {
                    name.push(escaped);
                }
            }
            '.' => names.push(String::new()),
            letter => {
                if let Some(name) = names.last_mut() {
                    name.push(letter);
                }
            }
        }
    }
    names
}

fn copy(from: &Value, to: &mut Value, path: &[String]) {
    let Some((name, rest)) = path.split_first() else { return };
    let (Some(value), Value::Object(target)) = (from.get(name), to) else {
        return;
    };
    if rest.is_empty() {
        target.insert(name.clone(), value.clone());
    } else if value.is_object() {
        let inner = target
            .entry(name.clone())
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        copy(value, inner, rest);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{EventFields, SyncFilter, TIMELINE_DEFAULT, TIMELINE_MAX};
    use serde_json::json;

    #[test]
    fn limits_have_a_default_and_a_maximum() {
        assert_eq!(SyncFilter::parse(b"{}").unwrap().timeline_limit(), TIMELINE_DEFAULT);
        assert_eq!(
            SyncFilter::parse(br#"{"room":{"timeline":{"limit":5000}}}"#)
                .unwrap()
                .timeline_limit(),
            TIMELINE_MAX
        );
        assert_eq!(
            SyncFilter::parse(br#"{"room":{"timeline":{"limit":0}}}"#)
                .unwrap()
                .timeline_limit(),
            0
        );
        assert!(SyncFilter::parse(br#"{"room":7}"#).is_err());
    }

    #[test]
    fn lazy_loading_is_recognized() {
        let filter = SyncFilter::parse(br#"{"room":{"state":{"lazy_load_members":true}}}"#).unwrap();
        assert!(filter.is_lazy() && !filter.is_redundant());
    }

    #[test]
    fn fields_are_paths_with_escaped_dots() {
        let fields = EventFields::new(&[
            "content.body".to_owned(),
            r"content.m\.relates_to".to_owned(),
            "type".to_owned(),
            "x.y".to_owned(),
        ]);
        let event = json!({"type": "t", "sender": "s", "content": {"body": "b", "m.relates_to": 1, "z": 2}});
        assert_eq!(
            fields.prune(&event),
            json!({"type": "t", "content": {"body": "b", "m.relates_to": 1}})
        );
    }
}
