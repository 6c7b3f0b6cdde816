//! What a new event may not relate to: annotations are one of each kind from each user to each event, and threads begin at
//! events that relate to none.

use crate::event::EventRow;
use crate::event_id;
use crate::log;
use crate::relation::{self, Kind};
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_rules::Object;
use lamchat_store::{Read, ReadError};

/// What a content annotates with what.
pub(crate) struct Annotation<'c> {
    target: &'c str,
    key: &'c str,
}

impl<'c> Annotation<'c> {
    /// What a new event's content says; `None` for everything but annotations.
    pub(crate) fn of(content: &'c Object) -> Option<Self> {
        let relates_to = content.get("m.relates_to")?.as_object()?;
        let text = |name: &str| relates_to.get(name)?.as_str();
        (text("rel_type")? == "m.annotation").then_some(())?;
        Some(Self {
            target: text("event_id")?,
            key: text("key")?,
        })
    }

    /// Whether `sender` has annotated so before, by an event after `after`.
    ///
    /// "Homeservers should prevent users from sending a second annotation for a given event with identical event `type` and
    /// annotation `key` (unless the first event has been redacted)." (Matrix 1.16) Redacted events relate to nothing.
    pub(crate) fn is_there(
        &self,
        read: &dyn Read,
        room: RoomNum,
        sender: UserNum,
        event_type: &str,
        after: Position,
    ) -> Result<bool, ReadError> {
        let Some((parent, _)) = event_id::find(read, self.target)? else {
            return Ok(false);
        };
        for relation in relation::children_after(read, room, parent, after)? {
            if relation.kind != Kind::Annotation || relation.sender != sender || relation.event_type != event_type {
                continue;
            }
            let bytes = log::known_event(read, relation.child)?;
            if key_of(EventRow::decode(&bytes)?.content).as_deref() == Some(self.key) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a content would begin a thread at an event that is a child itself.
///
/// "Servers SHOULD reject client requests which attempt to start a thread off an event with an `m.relates_to` property."
/// (Matrix 1.16) Such a relation would make a root that no client shows. A reply, which has no `rel_type`, may begin one.
pub(crate) fn is_nested_thread(read: &dyn Read, content: &Object) -> Result<bool, ReadError> {
    let Some(relates_to) = content.get("m.relates_to").and_then(|value| value.as_object()) else {
        return Ok(false);
    };
    let text = |name: &str| relates_to.get(name).and_then(|value| value.as_str());
    let (Some("m.thread"), Some(root)) = (text("rel_type"), text("event_id")) else {
        return Ok(false);
    };
    Ok(match event_id::find(read, root)? {
        Some((_, bytes)) => relation::of_content(EventRow::decode(&bytes)?.content).is_some(),
        None => false,
    })
}

/// The key of an annotation that is stored.
fn key_of(content: &str) -> Option<String> {
    let content: serde_json::Value = serde_json::from_str(content).ok()?;
    Some(content.get("m.relates_to")?.get("key")?.as_str()?.to_owned())
}
