//! The state of a room: now (a table of its own), and at any event (state groups).
//!
//! A state group is the state after one state event and has that event's position as its number; 0 is the empty state.
//! Messages make no groups: they refer to the one of the last state event. A group keeps its difference to an earlier group
//! of its chain. The `n`-th group of a room refers to the one at `n` with its lowest set bit cleared, so that a chain has at
//! most as many links as `n` has bits set (`log2 n`), and a group keeps `log2(n) / 2 + 1` entries on average. Above
//! [`DIFFERENCE_MAX`] groups a link covers that many, so that no group takes long to make.
//!
//! Layout of a group, numbers big-endian: version of the layout (1), index `n` (4), parent group (8), then per entry the
//! lengths of type and state key (2 each), type, state key, position (8).

use crate::table::{CURRENT, STATE_GROUP, current_key};
use lamchat_base::{Position, RoomNum};
use lamchat_store::{Bytes, Key, KeyRange, KeyReader, Order, Read, ReadError, WriteTxn};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const LAYOUT: u8 = 1;
/// Most groups that one difference covers; a power of two.
const DIFFERENCE_MAX: u32 = 1024;

/// The type of the event that makes a room encrypted.
const ENCRYPTION: &str = "m.room.encryption";

/// (type, state key) -> position of the event.
pub type StateMap = BTreeMap<(String, String), Position>;

/// The event of the current state of `room` under a type and state key.
pub fn current(
    read: &dyn Read,
    room: RoomNum,
    event_type: &str,
    state_key: &str,
) -> Result<Option<Position>, ReadError> {
    match read.get(CURRENT, &current_key(room, event_type, state_key))? {
        Some(bytes) => parse_position(&bytes).map(Some),
        None => Ok(None),
    }
}

/// The whole current state of `room`.
pub fn current_all(read: &dyn Read, room: RoomNum) -> Result<StateMap, ReadError> {
    scan_current(read, &Key::new().u32(room.0))
}

/// Whether the room is encrypted. What `m.room.encryption` says does not matter, and nothing takes it back.
pub fn is_encrypted(read: &dyn Read, room: RoomNum) -> Result<bool, ReadError> {
    Ok(current(read, room, ENCRYPTION, "")?.is_some())
}

/// Whether the room was encrypted when everything up to and including `at` had happened.
pub fn was_encrypted(read: &dyn Read, room: RoomNum, at: Position) -> Result<bool, ReadError> {
    match current(read, room, ENCRYPTION, "")? {
        Some(position) => Ok(crate::log::replaced_until(read, position, at)?.is_some()),
        None => Ok(false),
    }
}

/// The events of one type in the current state of `room`, by state key.
pub fn current_of_type(
    read: &dyn Read,
    room: RoomNum,
    event_type: &str,
) -> Result<BTreeMap<String, Position>, ReadError> {
    let rows = scan_current(read, &Key::new().u32(room.0).str(event_type))?;
    Ok(rows
        .into_iter()
        .map(|((_, state_key), position)| (state_key, position))
        .collect())
}

fn scan_current(read: &dyn Read, prefix: &[u8]) -> Result<StateMap, ReadError> {
    let mut state = StateMap::new();
    let mut damaged = false;
    read.scan(
        CURRENT,
        &KeyRange::prefix(prefix),
        Order::Ascending,
        &mut |key, value| {
            let mut parts = KeyReader::new(key);
            let event_type = parts.u32().and_then(|_| parts.str());
            let state_key = String::from_utf8(parts.rest().to_vec());
            match (event_type, state_key, parse_position(value)) {
                (Some(event_type), Ok(state_key), Ok(position)) => {
                    state.insert((event_type, state_key), position);
                    ControlFlow::Continue(())
                }
                _ => {
                    damaged = true;
                    ControlFlow::Break(())
                }
            }
        },
    )?;
    if damaged {
        Err(malformed(CURRENT.name))
    } else {
        Ok(state)
    }
}

/// The event under a type and state key in the state that `group` stands for.
pub fn at(read: &dyn Read, group: u64, event_type: &str, state_key: &str) -> Result<Option<Position>, ReadError> {
    let mut next = group;
    while next != 0 {
        let bytes = group_bytes(read, next)?;
        let group = Group::decode(&bytes)?;
        for entry in group.entries() {
            let entry = entry?;
            if entry.event_type == event_type && entry.state_key == state_key {
                return Ok(Some(entry.position));
            }
        }
        next = group.parent;
    }
    Ok(None)
}

/// The whole state that `group` stands for.
pub fn all_at(read: &dyn Read, group: u64) -> Result<StateMap, ReadError> {
    collect(read, group, 0).map(|(_, state)| state)
}

/// Makes the group after the state event at `position`, which follows `before`: the state of `before` with `changes` in it.
pub(crate) fn put_group(
    txn: &mut WriteTxn<'_>,
    before: u64,
    position: Position,
    event_type: &str,
    state_key: &str,
) -> Result<(), ReadError> {
    let index = if before == 0 {
        1
    } else {
        Group::decode(&group_bytes(txn, before)?)?.index + 1
    };
    let lowest_bit = 1 << index.trailing_zeros().min(DIFFERENCE_MAX.trailing_zeros());
    // The groups from there to here are part of the chain of `before`.
    let (parent, mut entries) = collect(txn, before, index - lowest_bit)?;
    entries.insert((event_type.to_owned(), state_key.to_owned()), position);
    let mut bytes = vec![LAYOUT];
    bytes.extend_from_slice(&index.to_be_bytes());
    bytes.extend_from_slice(&parent.to_be_bytes());
    for ((event_type, state_key), position) in &entries {
        for part in [event_type, state_key] {
            let length = u16::try_from(part.len()).map_err(|_| malformed(STATE_GROUP.name))?;
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        bytes.extend_from_slice(event_type.as_bytes());
        bytes.extend_from_slice(state_key.as_bytes());
        bytes.extend_from_slice(&position.to_key());
    }
    txn.put(STATE_GROUP, &position.to_key(), bytes);
    Ok(())
}

/// Puts an event into the current state.
pub(crate) fn put_current(
    txn: &mut WriteTxn<'_>,
    room: RoomNum,
    event_type: &str,
    state_key: &str,
    position: Position,
) {
    txn.put(
        CURRENT,
        &current_key(room, event_type, state_key),
        Bytes::copy_from_slice(&position.to_key()),
    );
}

/// What `group` adds to its ancestor with an index of at most `until`, and that ancestor (0: the empty state).
fn collect(read: &dyn Read, group: u64, until: u32) -> Result<(u64, StateMap), ReadError> {
    let mut state = StateMap::new();
    let mut next = group;
    while next != 0 {
        let bytes = group_bytes(read, next)?;
        let group = Group::decode(&bytes)?;
        if group.index <= until {
            break;
        }
        for entry in group.entries() {
            let entry = entry?;
            let key = (entry.event_type.to_owned(), entry.state_key.to_owned());
            state.entry(key).or_insert(entry.position);
        }
        next = group.parent;
    }
    Ok((next, state))
}

fn group_bytes(read: &dyn Read, group: u64) -> Result<Bytes, ReadError> {
    read.get(STATE_GROUP, &group.to_be_bytes())?
        .ok_or_else(|| malformed(STATE_GROUP.name))
}

struct Group<'a> {
    index: u32,
    parent: u64,
    entries: &'a [u8],
}

struct Entry<'a> {
    event_type: &'a str,
    state_key: &'a str,
    position: Position,
}

impl<'a> Group<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let parse = || {
            let rest = bytes.strip_prefix(&[LAYOUT])?;
            let (index, rest) = rest.split_first_chunk::<4>()?;
            let (parent, entries) = rest.split_first_chunk::<8>()?;
            Some(Self {
                index: u32::from_be_bytes(*index),
                parent: u64::from_be_bytes(*parent),
                entries,
            })
        };
        parse().ok_or_else(|| malformed(STATE_GROUP.name))
    }

    fn entries(&self) -> impl Iterator<Item = Result<Entry<'a>, ReadError>> + use<'a> {
        let mut rest = self.entries;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let entry = Entry::take(&mut rest);
            if entry.is_none() {
                rest = &[];
            }
            Some(entry.ok_or_else(|| malformed(STATE_GROUP.name)))
        })
    }
}

impl<'a> Entry<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let (type_length, tail) = rest.split_first_chunk::<2>()?;
        let (key_length, tail) = tail.split_first_chunk::<2>()?;
        let (event_type, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*type_length)))?;
        let (state_key, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*key_length)))?;
        let (position, tail) = tail.split_first_chunk::<8>()?;
        *rest = tail;
        Some(Self {
            event_type: std::str::from_utf8(event_type).ok()?,
            state_key: std::str::from_utf8(state_key).ok()?,
            position: Position(u64::from_be_bytes(*position)),
        })
    }
}

pub(crate) fn parse_position(bytes: &[u8]) -> Result<Position, ReadError> {
    let bytes: [u8; 8] = bytes.try_into().map_err(|_| malformed("rooms"))?;
    Ok(Position(u64::from_be_bytes(bytes)))
}

fn malformed(table: &'static str) -> ReadError {
    ReadError::Malformed {
        table,
        detail: "not a row of this layout, or one that another refers to is missing".to_owned(),
    }
}
