//! Receipts: how far who has read, per thread, and the stream of their changes for sync.
//!
//! Row of `rooms.receipt`: position of the receipt (8), position of the event (8), milliseconds (8), event id.

use crate::event::{EventRow, Flags, write_number, write_string};
use crate::event_id;
use crate::table::{self, RECEIPT, RECEIPT_LOG};
use crate::thread;
use lamchat_accounts::user;
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_store::{Key, KeyRange, KeyReader, Order, Read, ReadError, Topic, WriteTxn};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

/// The main timeline as a thread.
const MAIN: &str = "main";
/// Most receipts of one user in one room: one per thread and kind. Beyond it the oldest is dropped.
const THREADS_MAX: usize = 1_000;

/// What a receipt says to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// `m.read`: to everybody.
    Read = 1,
    /// `m.read.private`: to nobody else.
    ReadPrivate = 2,
}

impl Kind {
    /// The word in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "m.read",
            Self::ReadPrivate => "m.read.private",
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Read, Self::ReadPrivate]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Who has read.
    pub user: UserNum,
    /// To whom it is said.
    pub kind: Kind,
    /// The thread: `None` for all of the room, `main`, or a root's event id.
    pub thread: Option<String>,
    /// When it changed.
    pub position: Position,
    /// The event up to which was read.
    pub event: Position,
    /// That event's id.
    pub event_id: String,
    /// Milliseconds since the Unix epoch.
    pub ts: u64,
}

/// Why a receipt was not kept.
#[derive(Debug, thiserror::Error)]
pub enum SetReceiptError {
    /// There is no such event in the room: `M_NOT_FOUND`.
    #[error("there is no such event in this room")]
    NoEvent,
    /// The event is not in the thread: `M_INVALID_PARAM`.
    #[error("this event does not belong to that thread")]
    OtherThread,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit.
    #[error(transparent)]
    Commit(#[from] lamchat_store::CommitError),
}

/// Notes that `user` has read `room` (or one thread of it) up to `event_id`. Receipts only move forwards: an older event
/// than the one before changes nothing. Answers the event's position and whether something changed.
pub fn set(
    txn: &mut WriteTxn<'_>,
    room: RoomNum,
    user: UserNum,
    kind: Kind,
    thread: Option<&str>,
    event_id: &str,
    now_ms: u64,
) -> Result<(Position, bool), SetReceiptError> {
    let (event, bytes) = event_id::find(txn, event_id)?.ok_or(SetReceiptError::NoEvent)?;
    let row = EventRow::decode(&bytes)?;
    if row.room != room {
        return Err(SetReceiptError::NoEvent);
    }
    if let Some(thread) = thread
        && !belongs(txn, &row, thread)?
    {
        return Err(SetReceiptError::OtherThread);
    }
    let tail = tail(user, kind, thread);
    let key = Key::new().u32(room.0).raw(&tail);
    match txn.get(RECEIPT, &key)? {
        Some(old) => {
            let mut parts = KeyReader::new(&old);
            let (Some(position), Some(old_event)) = (parts.u64(), parts.u64()) else {
                return Err(table::malformed(RECEIPT).into());
            };
            if old_event >= event.0 {
                return Ok((event, false));
            }
            txn.delete(RECEIPT_LOG, &Key::new().u32(room.0).u64(position));
        }
        None => drop_oldest(txn, room, user)?,
    }
    let position = txn.next_position();
    txn.put(
        RECEIPT,
        &key,
        Key::new()
            .u64(position.0)
            .u64(event.0)
            .u64(now_ms)
            .raw(event_id.as_bytes())
            .to_vec(),
    );
    txn.put(RECEIPT_LOG, &Key::new().u32(room.0).u64(position.0), tail.to_vec());
    txn.touch(if kind == Kind::Read {
        Topic::room(room)
    } else {
        Topic::user(user)
    });
    Ok((event, true))
}

/// Whether an event may be read in `thread`. "400: The `event_id` is not related to the `thread_id`." A root is in the main
/// timeline, and clients that show it above its thread read it there too. What a redaction has taken the relation from
/// passes: who has seen the event before still knows where it was.
fn belongs(read: &dyn Read, row: &EventRow<'_>, thread: &str) -> Result<bool, ReadError> {
    if row.flags.contains(Flags::REDACTED) {
        return Ok(true);
    }
    let root = thread::root_of(read, row.room, row)?;
    Ok(match root.as_deref() {
        Some(root) => root == thread,
        None => thread == MAIN || row.event_id == thread,
    })
}

fn drop_oldest(txn: &mut WriteTxn<'_>, room: RoomNum, user: UserNum) -> Result<(), ReadError> {
    let receipts = of_user(txn, room, user)?;
    if receipts.len() >= THREADS_MAX
        && let Some(oldest) = receipts.iter().min_by_key(|receipt| receipt.position)
    {
        txn.delete(RECEIPT_LOG, &Key::new().u32(room.0).u64(oldest.position.0));
        txn.delete(
            RECEIPT,
            &Key::new()
                .u32(room.0)
                .raw(&tail(user, oldest.kind, oldest.thread.as_deref())),
        );
    }
    Ok(())
}

/// All receipts of one user in a room.
pub fn of_user(read: &dyn Read, room: RoomNum, user: UserNum) -> Result<Vec<Receipt>, ReadError> {
    under(read, &Key::new().u32(room.0).u32(user.0))
}

/// All receipts of a room, those of others that are private included.
pub fn of_room(read: &dyn Read, room: RoomNum) -> Result<Vec<Receipt>, ReadError> {
    under(read, &Key::new().u32(room.0))
}

fn under(read: &dyn Read, prefix: &[u8]) -> Result<Vec<Receipt>, ReadError> {
    let mut receipts = Vec::new();
    let mut damaged = false;
    read.scan(
        RECEIPT,
        &KeyRange::prefix(prefix),
        Order::Ascending,
        &mut |key, value| {
            match key.get(4..).and_then(|tail| decode(tail, value)) {
                Some(receipt) => receipts.push(receipt),
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
        Err(table::malformed(RECEIPT))
    } else {
        Ok(receipts)
    }
}

/// The receipts of a room that changed after `from`, by the order of their changes.
pub fn changed_since(read: &dyn Read, room: RoomNum, from: Position) -> Result<Vec<Receipt>, ReadError> {
    let range = KeyRange {
        start: Key::new().u32(room.0).u64(from.0.saturating_add(1)).to_vec(),
        end: Some(Key::new().u32(room.0).u64(u64::MAX).to_vec()),
    };
    let mut tails = Vec::new();
    read.scan(RECEIPT_LOG, &range, Order::Ascending, &mut |_, tail| {
        tails.push(tail.to_vec());
        ControlFlow::Continue(())
    })?;
    let mut receipts = Vec::with_capacity(tails.len());
    for tail in tails {
        let value = read.get(RECEIPT, &Key::new().u32(room.0).raw(&tail))?;
        let receipt = value
            .and_then(|value| decode(&tail, &value))
            .ok_or_else(|| table::malformed(RECEIPT_LOG))?;
        receipts.push(receipt);
    }
    Ok(receipts)
}

/// The newest event that `user` has read in `thread` (`None`: by receipts for the whole room), of either kind.
pub fn read_up_to(
    read: &dyn Read,
    room: RoomNum,
    user: UserNum,
    thread: Option<&str>,
) -> Result<Option<Position>, ReadError> {
    let receipts = of_user(read, room, user)?;
    Ok(receipts
        .into_iter()
        .filter(|receipt| receipt.thread.as_deref() == thread)
        .map(|receipt| receipt.event)
        .max())
}

/// Appends `m.receipt` events with those of `receipts` that `reader` may see, a comma between two; nothing if there are none.
/// Answers whether it wrote any.
///
/// The format has room for one receipt of a kind of one user at one event. "receipts SHOULD be batched into one event per room
/// and thread" (Matrix 1.16): who has read one event in two threads needs two.
pub fn write_events(
    out: &mut Vec<u8>,
    read: &dyn Read,
    reader: UserNum,
    receipts: &[Receipt],
) -> Result<bool, ReadError> {
    let mut left = shown_to(reader, receipts);
    let is_any = !left.is_empty();
    let mut index = 0;
    while !left.is_empty() {
        comma(out, index);
        index += 1;
        left = write_one(out, read, left)?;
    }
    Ok(is_any)
}

/// Like [`write_events`], for where there is room for one event: of what collides, the newest is told.
pub fn write_event(
    out: &mut Vec<u8>,
    read: &dyn Read,
    reader: UserNum,
    receipts: &[Receipt],
) -> Result<bool, ReadError> {
    let shown = shown_to(reader, receipts);
    if shown.is_empty() {
        return Ok(false);
    }
    write_one(out, read, shown)?;
    Ok(true)
}

/// "m.read.private (…) the homeserver MUST NOT send (it) to other users".
fn shown_to(reader: UserNum, receipts: &[Receipt]) -> Vec<&Receipt> {
    let is_shown = |receipt: &&Receipt| receipt.kind == Kind::Read || receipt.user == reader;
    receipts.iter().filter(is_shown).collect()
}

/// Appends one event with as many receipts as fit, and answers those that did not.
fn write_one<'r>(
    out: &mut Vec<u8>,
    read: &dyn Read,
    receipts: Vec<&'r Receipt>,
) -> Result<Vec<&'r Receipt>, ReadError> {
    let mut events: BTreeMap<&str, BTreeMap<Kind, BTreeMap<UserNum, &Receipt>>> = BTreeMap::new();
    let mut left = Vec::new();
    for receipt in receipts {
        let users = events
            .entry(&receipt.event_id)
            .or_default()
            .entry(receipt.kind)
            .or_default();
        match users.entry(receipt.user) {
            Entry::Vacant(place) => drop(place.insert(receipt)),
            Entry::Occupied(mut place) if place.get().position < receipt.position => left.push(place.insert(receipt)),
            Entry::Occupied(_) => left.push(receipt),
        }
    }
    out.extend_from_slice(b"{\"content\":{");
    for (index, (event_id, kinds)) in events.into_iter().enumerate() {
        comma(out, index);
        write_string(out, event_id);
        out.extend_from_slice(b":{");
        for (index, (kind, users)) in kinds.into_iter().enumerate() {
            comma(out, index);
            write_string(out, kind.as_str());
            out.extend_from_slice(b":{");
            for (index, (user, receipt)) in users.into_iter().enumerate() {
                comma(out, index);
                write_string(out, user::known_id(read, user)?.as_str());
                if let Some(thread) = &receipt.thread {
                    out.extend_from_slice(b":{\"thread_id\":");
                    write_string(out, thread);
                    out.extend_from_slice(b",\"ts\":");
                } else {
                    out.extend_from_slice(b":{\"ts\":");
                }
                write_number(out, receipt.ts);
                out.push(b'}');
            }
            out.push(b'}');
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"},\"type\":\"m.receipt\"}");
    Ok(left)
}

fn comma(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

fn tail(user: UserNum, kind: Kind, thread: Option<&str>) -> Key {
    Key::new().u32(user.0).u8(kind as u8).str(thread.unwrap_or(""))
}

fn decode(tail: &[u8], value: &[u8]) -> Option<Receipt> {
    let mut key = KeyReader::new(tail);
    let mut value = KeyReader::new(value);
    Some(Receipt {
        user: UserNum(key.u32()?),
        kind: Kind::from_byte(key.u8()?)?,
        thread: Some(key.str()?).filter(|thread| !thread.is_empty()),
        position: Position(value.u64()?),
        event: Position(value.u64()?),
        ts: value.u64()?,
        event_id: std::str::from_utf8(value.rest()).ok()?.to_owned(),
    })
}
