//! Which events relate to which: annotations, replacements, references, threads.
//!
//! The one who appends an event calls [`put`], the one who redacts one calls [`remove`] with what it was before.

use crate::event::EventRow;
use crate::event_id;
use crate::table::{self, RELATION, THREAD, THREAD_LOG};
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_store::{Bytes, Key, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, WriteTxn};
use std::ops::ControlFlow;

/// A kind of relation, by the byte that stands for it in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A type that this exchange has no rules for.
    Other = 0,
    /// `m.annotation`: a reaction.
    Annotation = 1,
    /// `m.replace`: an edit.
    Replace = 2,
    /// `m.reference`.
    Reference = 3,
    /// `m.thread`.
    Thread = 4,
}

impl Kind {
    /// From the word in `rel_type`.
    pub fn parse(word: &str) -> Self {
        match word {
            "m.annotation" => Self::Annotation,
            "m.replace" => Self::Replace,
            "m.reference" => Self::Reference,
            "m.thread" => Self::Thread,
            _ => Self::Other,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Other,
            Self::Annotation,
            Self::Replace,
            Self::Reference,
            Self::Thread,
        ]
        .into_iter()
        .find(|k| *k as u8 == byte)
    }
}

/// One relation: `child` points at `parent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The event that is pointed at.
    pub parent: Position,
    /// The event that points.
    pub child: Position,
    /// How.
    pub kind: Kind,
    /// Who sent the child.
    pub sender: UserNum,
    /// The child's type.
    pub event_type: String,
    /// The `rel_type` of [`Kind::Other`]; empty otherwise.
    pub other: String,
}

impl Relation {
    /// Whether it has the relation type `word`.
    pub fn is(&self, word: &str) -> bool {
        match Kind::parse(word) {
            Kind::Other => self.kind == Kind::Other && self.other == word,
            kind => self.kind == kind,
        }
    }

    fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let mut parts = KeyReader::new(key);
        parts.u32()?;
        let (parent, child) = (Position(parts.u64()?), Position(parts.u64()?));
        let mut parts = KeyReader::new(value);
        let kind = Kind::from_byte(parts.u8()?)?;
        let sender = UserNum(parts.u32()?);
        let (length, rest) = parts.rest().split_first_chunk::<2>()?;
        let (event_type, other) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        Some(Self {
            parent,
            child,
            kind,
            sender,
            event_type: text(event_type)?,
            other: text(other)?,
        })
    }
}

/// What an event says in `m.relates_to`: relation type and parent's event id. Costs no parsing if it says nothing.
pub fn of_content(content: &str) -> Option<(String, String)> {
    #[derive(serde::Deserialize)]
    struct Content {
        #[serde(rename = "m.relates_to")]
        relates_to: RelatesTo,
    }
    #[derive(serde::Deserialize)]
    struct RelatesTo {
        rel_type: String,
        event_id: String,
    }
    if !content.contains("m.relates_to") {
        return None;
    }
    let content: Content = serde_json::from_str(content).ok()?;
    Some((content.relates_to.rel_type, content.relates_to.event_id))
}

/// Enters the relation of a new event, if it has one to an event of the same room that is known here.
pub fn put(
    txn: &mut WriteTxn<'_>,
    room: RoomNum,
    position: Position,
    sender: UserNum,
    event_type: &str,
    content: &str,
) -> Result<(), ReadError> {
    let Some((rel_type, parent_id)) = of_content(content) else {
        return Ok(());
    };
    let Some((parent, bytes)) = event_id::find(txn, &parent_id)? else {
        return Ok(());
    };
    let parent_row = EventRow::decode(&bytes)?;
    let Ok(type_length) = u16::try_from(event_type.len()) else {
        return Ok(());
    };
    if parent_row.room != room || parent >= position {
        return Ok(());
    }
    let kind = Kind::parse(&rel_type);
    // "It is not possible to create a thread from an event which itself is the child of an event relationship"
    // (Matrix 1.16, section 11.28): such a relation would make a root that no client shows.
    if kind == Kind::Thread && of_content(parent_row.content).is_some() {
        return Ok(());
    }
    let mut value = vec![kind as u8];
    value.extend_from_slice(&sender.to_key());
    value.extend_from_slice(&type_length.to_be_bytes());
    value.extend_from_slice(event_type.as_bytes());
    if kind == Kind::Other {
        value.extend_from_slice(rel_type.as_bytes());
    }
    txn.put(RELATION, &key(room, parent, position), value);
    if kind == Kind::Thread {
        put_newest(txn, room, parent, Some(position))?;
    }
    Ok(())
}

/// Removes the relation of an event that is being redacted; `content` is what it was before.
pub fn remove(txn: &mut WriteTxn<'_>, room: RoomNum, position: Position, content: &str) -> Result<(), ReadError> {
    let Some((rel_type, parent_id)) = of_content(content) else {
        return Ok(());
    };
    let Some((parent, _)) = event_id::find(txn, &parent_id)? else {
        return Ok(());
    };
    let row = key(room, parent, position);
    if txn.get(RELATION, &row)?.is_none() {
        return Ok(());
    }
    txn.delete(RELATION, &row);
    if Kind::parse(&rel_type) == Kind::Thread {
        let newest = children(txn, room, parent)?
            .into_iter()
            .rev()
            .find(|relation| relation.kind == Kind::Thread);
        put_newest(txn, room, parent, newest.map(|relation| relation.child))?;
    }
    Ok(())
}

fn put_newest(
    txn: &mut WriteTxn<'_>,
    room: RoomNum,
    root: Position,
    newest: Option<Position>,
) -> Result<(), ReadError> {
    let row = Key::new().u32(room.0).u64(root.0);
    if let Some(old) = txn.get(THREAD, &row)? {
        txn.delete(THREAD_LOG, &Key::new().u32(room.0).raw(&old));
    }
    match newest {
        Some(newest) => {
            txn.put(THREAD, &row, Bytes::copy_from_slice(&newest.to_key()));
            txn.put(
                THREAD_LOG,
                &Key::new().u32(room.0).u64(newest.0),
                Bytes::copy_from_slice(&root.to_key()),
            );
        }
        None => txn.delete(THREAD, &row),
    }
    Ok(())
}

/// All relations to one event, oldest child first.
pub fn children(read: &dyn Read, room: RoomNum, parent: Position) -> Result<Vec<Relation>, ReadError> {
    between(read, room, parent, parent)
}

/// The relations to one event that were made after `after`, oldest child first.
pub(crate) fn children_after(
    read: &dyn Read,
    room: RoomNum,
    parent: Position,
    after: Position,
) -> Result<Vec<Relation>, ReadError> {
    let start = key(room, parent, Position(after.0.saturating_add(1)));
    in_range(read, &start, &key(room, parent, Position(u64::MAX)))
}

/// All relations to events from `first` to `last`, by parent, then by child.
pub fn between(read: &dyn Read, room: RoomNum, first: Position, last: Position) -> Result<Vec<Relation>, ReadError> {
    let start = Key::new().u32(room.0).u64(first.0);
    in_range(read, &start, &key(room, last, Position(u64::MAX)))
}

fn in_range(read: &dyn Read, start: &[u8], end: &[u8]) -> Result<Vec<Relation>, ReadError> {
    let mut relations = Vec::new();
    let mut damaged = false;
    read.scan(
        RELATION,
        &KeyRange::between(start, end),
        Order::Ascending,
        &mut |key, value| {
            match Relation::decode(key, value) {
                Some(relation) => relations.push(relation),
                None => damaged = true,
            }
            if damaged {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    )?;
    if damaged {
        Err(table::malformed(RELATION))
    } else {
        Ok(relations)
    }
}

/// The threads of a room whose newest event is before `before`, latest first, at most `limit`: (newest event, root).
pub fn threads(
    read: &dyn Read,
    room: RoomNum,
    before: Position,
    limit: usize,
) -> Result<Vec<(Position, Position)>, ReadError> {
    let range = KeyRange::between(&Key::new().u32(room.0), &Key::new().u32(room.0).u64(before.0));
    let rows = read.rows(THREAD_LOG, &range, Order::Descending, limit)?;
    let parse = |key: &[u8], value: &[u8]| {
        let mut parts = KeyReader::new(key);
        parts.u32()?;
        Some((Position(parts.u64()?), Position(KeyReader::new(value).u64()?)))
    };
    rows.iter()
        .map(|(key, value)| parse(key, value).ok_or_else(|| table::malformed(THREAD_LOG)))
        .collect()
}

/// The events that relate to one event, directly or (`recurse`) through others up to `depth_max` steps, by position.
pub fn descendants(
    read: &dyn Read,
    room: RoomNum,
    parent: Position,
    depth_max: u32,
) -> Result<Vec<Relation>, ReadError> {
    let mut found = Vec::new();
    let mut level = vec![parent];
    for _ in 0..depth_max {
        let mut next = Vec::new();
        for parent in level {
            for relation in children(read, room, parent)? {
                next.push(relation.child);
                found.push(relation);
            }
            if found.len() > DESCENDANTS_MAX {
                break;
            }
        }
        level = next;
    }
    found.sort_by_key(|relation| relation.child);
    found.dedup_by_key(|relation| relation.child);
    Ok(found)
}

/// How many steps `recurse` follows. "The server may choose... at least a depth of 3" (Matrix 1.16, `/relations`).
pub const RECURSION_DEPTH_MAX: u32 = 3;
/// Most related events that one request looks at.
const DESCENDANTS_MAX: usize = 50_000;

fn key(room: RoomNum, parent: Position, child: Position) -> Key {
    Key::new().u32(room.0).u64(parent.0).u64(child.0)
}

#[cfg(test)]
mod tests {
    use super::of_content;

    #[test]
    fn relations_are_read_from_well_formed_content_only() {
        let content = r#"{"m.relates_to":{"rel_type":"m.thread","event_id":"$a","m.in_reply_to":{}}}"#;
        assert_eq!(of_content(content), Some(("m.thread".to_owned(), "$a".to_owned())));
        assert_eq!(
            of_content(r#"{"m.relates_to":{"m.in_reply_to":{"event_id":"$a"}}}"#),
            None
        );
        assert_eq!(of_content(r#"{"m.relates_to":7}"#), None);
        assert_eq!(of_content(r#"{"body":"m.relates_to"}"#), None);
    }
}
