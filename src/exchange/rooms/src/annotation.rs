//! Annotations: one of each kind from each user to each event.

use crate::event::EventRow;
use crate::event_id;
use crate::log;
use crate::relation::{self, Kind};
use lamchat_base::{RoomNum, UserNum};
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

    /// Whether `sender` has annotated so before.
    ///
    /// "Homeservers should prevent users from sending a second annotation for a given event with identical event `type` and
    /// annotation `key` (unless the first event has been redacted)." (Matrix 1.16) Redacted events relate to nothing.
    ///
    /// It is asked on a snapshot before the room's lock is taken: two at once pass, as two over federation would, and clients
    /// count them once.
    pub(crate) fn is_there(
        &self,
        read: &dyn Read,
        room: RoomNum,
        sender: UserNum,
        event_type: &str,
    ) -> Result<bool, ReadError> {
        let Some((parent, _)) = event_id::find(read, self.target)? else {
            return Ok(false);
        };
        for relation in relation::children(read, room, parent)? {
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

/// The key of an annotation that is stored.
fn key_of(content: &str) -> Option<String> {
    let content: serde_json::Value = serde_json::from_str(content).ok()?;
    Some(content.get("m.relates_to")?.get("key")?.as_str()?.to_owned())
}
