//! The newest end of a room's graph. One row per room, rewritten with every event.
//!
//! Layout, numbers big-endian: version of the layout (1), newest position (8), current state group (8), depth (8),
//! joined members (4), invited members (4), then per extremity its length (1) and the event id.

use crate::table::HEAD;
use lamchat_base::{Position, RoomNum};
use lamchat_store::{Read, ReadError, WriteTxn};

const LAYOUT: u8 = 1;

/// The head of a room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Position of the newest event of the room's timeline.
    pub newest: Position,
    /// The state group after that event: the current state. 0: empty.
    pub state_group: u64,
    /// The greatest depth of an event in the room.
    pub depth: u64,
    /// How many users have joined.
    pub joined: u32,
    /// How many users are invited.
    pub invited: u32,
    /// The events that no other event of the room follows, at most 20.
    pub extremities: Vec<String>,
}

impl Head {
    /// The head of `room`; `None` if there is no such room.
    pub fn of(read: &dyn Read, room: RoomNum) -> Result<Option<Self>, ReadError> {
        let Some(bytes) = read.get(HEAD, &room.to_key())? else {
            return Ok(None);
        };
        Self::decode(&bytes).map(Some).ok_or_else(|| ReadError::Malformed {
            table: HEAD.name,
            detail: format!("not a row of layout {LAYOUT}"),
        })
    }

    pub(crate) fn put(&self, txn: &mut WriteTxn<'_>, room: RoomNum) {
        txn.put(HEAD, &room.to_key(), self.encode());
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40 + self.extremities.iter().map(|id| id.len() + 1).sum::<usize>());
        bytes.push(LAYOUT);
        bytes.extend_from_slice(&self.newest.to_key());
        bytes.extend_from_slice(&self.state_group.to_be_bytes());
        bytes.extend_from_slice(&self.depth.to_be_bytes());
        bytes.extend_from_slice(&self.joined.to_be_bytes());
        bytes.extend_from_slice(&self.invited.to_be_bytes());
        for id in &self.extremities {
            // Event ids have at most 255 bytes ("Size limits"); a longer one was refused before it came here.
            if let Ok(length) = u8::try_from(id.len()) {
                bytes.push(length);
                bytes.extend_from_slice(id.as_bytes());
            }
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[LAYOUT])?;
        let newest = Position(number(&mut rest)?);
        let state_group = number(&mut rest)?;
        let depth = number(&mut rest)?;
        let counts = number(&mut rest)?;
        let mut extremities = Vec::new();
        while let Some((length, tail)) = rest.split_first() {
            let (id, tail) = tail.split_at_checked(usize::from(*length))?;
            extremities.push(String::from_utf8(id.to_vec()).ok()?);
            rest = tail;
        }
        let joined = u32::try_from(counts >> 32).ok()?;
        let invited = u32::try_from(counts & u64::from(u32::MAX)).ok()?;
        Some(Self {
            newest,
            state_group,
            depth,
            joined,
            invited,
            extremities,
        })
    }
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (head, tail) = bytes.split_first_chunk::<8>()?;
    *bytes = tail;
    Some(u64::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back() {
        let head = Head {
            newest: Position(9),
            state_group: 8,
            depth: 7,
            joined: 6,
            invited: 5,
            extremities: vec!["$a".to_owned(), "$bc".to_owned()],
        };
        assert_eq!(Head::decode(&head.encode()), Some(head));
        assert_eq!(Head::decode(b"\x01abc"), None);
    }
}
