//! Which events a client wants (Matrix 1.16, "Filtering"), compiled once so that matching costs little.

use crate::event::EventRow;
use ruma::RoomId;
use ruma::api::client::filter::{Filter as Wish, LazyLoadOptions, RoomEventFilter as RoomWish, UrlFilter};

/// A text with wildcards: "A '*' can be used as a wildcard to match any sequence of characters."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    head: String,
    parts: Vec<String>,
    tail: Option<String>,
}

impl Pattern {
    /// Compiles a pattern.
    pub fn new(text: &str) -> Self {
        let mut pieces = text.split('*').map(str::to_owned);
        let head = pieces.next().unwrap_or_default();
        let mut parts: Vec<String> = pieces.collect();
        let tail = parts.pop();
        Self { head, parts, tail }
    }

    /// Whether all of `text` fits.
    pub fn matches(&self, text: &str) -> bool {
        let Some(tail) = &self.tail else {
            return text == self.head;
        };
        let Some(mut rest) = text.strip_prefix(self.head.as_str()) else {
            return false;
        };
        for part in &self.parts {
            match rest.find(part.as_str()) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or(""),
                None => return false,
            }
        }
        rest.ends_with(tail.as_str())
    }
}

/// A list of what is wanted (`None`: all) and one of what is not, which wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    only: Option<Vec<Pattern>>,
    not: Vec<Pattern>,
}

impl Choice {
    /// Compiles the two lists. "If this list is absent then all are included"; "takes precedence over" for the second.
    pub fn new<A: AsRef<str>, B: AsRef<str>>(only: Option<&[A]>, not: &[B]) -> Self {
        Self {
            only: only.map(|list| list.iter().map(|text| Pattern::new(text.as_ref())).collect()),
            not: not.iter().map(|text| Pattern::new(text.as_ref())).collect(),
        }
    }

    /// Whether `text` is wanted.
    pub fn allows(&self, text: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| only.iter().any(|pattern| pattern.matches(text)))
            && !self.not.iter().any(|pattern| pattern.matches(text))
    }

    /// Whether everything is wanted.
    pub fn is_all(&self) -> bool {
        self.only.is_none() && self.not.is_empty()
    }
}

/// Which events, of which rooms, and how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Most events.
    pub limit: Option<usize>,
    /// Types.
    pub types: Choice,
    /// Senders.
    pub senders: Choice,
    /// Room ids.
    pub rooms: Choice,
    /// Whether `content.url` must, or must not, be there.
    pub has_url: Option<bool>,
    /// Whether only the members who matter to the events are sent.
    pub lazy_load_members: bool,
    /// Whether members that the client should know already are sent again.
    pub include_redundant_members: bool,
    /// Whether unread counts are given per thread.
    pub unread_thread_notifications: bool,
}

impl EventFilter {
    /// Compiles a filter for events in rooms.
    pub fn of_room(wish: &RoomWish) -> Self {
        let (lazy_load_members, include_redundant_members) = match wish.lazy_load_options {
            LazyLoadOptions::Enabled {
                include_redundant_members,
            } => (true, include_redundant_members),
            LazyLoadOptions::Disabled => (false, false),
        };
        Self {
            limit: wish.limit.and_then(|limit| usize::try_from(u64::from(limit)).ok()),
            types: Choice::new(wish.types.as_deref(), &wish.not_types),
            senders: Choice::new(wish.senders.as_deref(), &wish.not_senders),
            rooms: Choice::new(wish.rooms.as_deref(), &wish.not_rooms),
            has_url: wish
                .url_filter
                .as_ref()
                .map(|url| matches!(url, UrlFilter::EventsWithUrl)),
            lazy_load_members,
            include_redundant_members,
            unread_thread_notifications: wish.unread_thread_notifications,
        }
    }

    /// Compiles a filter for events outside of rooms.
    pub fn of_events(wish: &Wish) -> Self {
        Self {
            limit: wish.limit.and_then(|limit| usize::try_from(u64::from(limit)).ok()),
            types: Choice::new(wish.types.as_deref(), &wish.not_types),
            senders: Choice::new(wish.senders.as_deref(), &wish.not_senders),
            ..Self::default()
        }
    }

    /// Whether every event is wanted.
    pub fn is_all(&self) -> bool {
        self.types.is_all() && self.senders.is_all() && self.has_url.is_none()
    }

    /// Whether events of this room are wanted.
    pub fn allows_room(&self, room_id: &RoomId) -> bool {
        self.rooms.allows(room_id.as_str())
    }

    /// Whether the event is wanted, its room aside.
    pub fn allows(&self, row: &EventRow<'_>) -> bool {
        self.types.allows(row.event_type)
            && self.senders.allows(row.sender)
            && self.has_url.is_none_or(|wanted| has_url(row.content) == wanted)
    }
}

fn has_url(content: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Content {
        #[serde(default)]
        url: Option<serde::de::IgnoredAny>,
    }
    content.contains("\"url\"") && serde_json::from_str::<Content>(content).is_ok_and(|content| content.url.is_some())
}

#[cfg(test)]
mod tests {
    use super::{Choice, Pattern, has_url};

    #[test]
    fn wildcards() {
        for (pattern, text, fits) in [
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("m.room.*", "m.room.", true),
            ("m.room.*", "m.room", false),
            ("*", "", true),
            ("*.b", "a.b", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn an_empty_list_wants_nothing_and_not_wins() {
        let nothing: [&str; 0] = [];
        assert!(!Choice::new(Some(&nothing), &nothing).allows("a"));
        assert!(Choice::new(None::<&[&str]>, &nothing).allows("a"));
        assert!(!Choice::new(Some(&["a*"]), &["ab"]).allows("ab"));
    }

    #[test]
    fn urls_at_the_top_only() {
        assert!(has_url(r#"{"url":"mxc://a/b"}"#));
        assert!(!has_url(r#"{"info":{"url":"x"}}"#));
        assert!(!has_url(r#"{"body":"\"url\""}"#));
    }
}
