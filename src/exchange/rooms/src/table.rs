//! The tables of this crate and the shape of their keys and values. Numbers in keys are big-endian.
//! Ids 80–109 are written by the use cases that send events, 110–127 by receipts and markers.

use crate::event;
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_store::{Key, ReadError, Table};

/// Position -> [`crate::event::EventRow`]. Kept: the events of one room lie among those of all others.
pub const EVENT: Table = Table::kept(80, "rooms.event", event::head_length);
/// First 16 bytes of the SHA-256 hash that the event id is (room versions 6–12) -> Position (8 bytes). See `event_id.rs`.
pub const EVENT_BY_ID: Table = Table::hashed(81, "rooms.event_by_id");
/// (RoomNum, order u64) -> Position (8 bytes). Order of live events: [`LIVE`] + position. Gathered: each room has an end
/// of its own, where its next row goes.
pub const TIMELINE: Table = Table::gathered(83, "rooms.timeline");
/// (RoomNum, parent Position, child Position) -> kind of relation (1 byte, [`crate::relation::Kind`]), sender's UserNum (4),
/// length of the event type (2), event type, relation type if it is none of the known ones.
pub const RELATION: Table = Table::new(84, "rooms.relation");
/// RoomNum -> the room's head, see [`crate::head::Head`].
pub const HEAD: Table = Table::new(85, "rooms.head");
/// (RoomNum, type str, state key raw) -> Position (8 bytes).
pub const CURRENT: Table = Table::new(86, "rooms.current");
/// (UserNum, RoomNum) -> membership byte, Position (8 bytes) of the membership event, flags byte.
pub const MEMBER: Table = Table::new(87, "rooms.member");
/// (RoomNum, membership byte, UserNum) -> nothing.
pub const MEMBER_OF: Table = Table::new(88, "rooms.member_of");
/// RoomNum -> what never changes about a room, as JSON ([`crate::room::Room`]).
pub const ROOM: Table = Table::new(89, "rooms.room");
/// Room id -> RoomNum (4 bytes).
pub const ROOM_BY_ID: Table = Table::new(90, "rooms.room_by_id");
/// Name of a counter -> the last number handed out (4 bytes).
pub const COUNTER: Table = Table::new(91, "rooms.counter");
/// State group (u64) -> its difference to an earlier group, see `state.rs`.
pub const STATE_GROUP: Table = Table::new(92, "rooms.state_group");
/// (DeviceNum, hash of endpoint and transaction id) -> Position of the event, see `transaction.rs`.
pub const TRANSACTION: Table = Table::hashed(93, "rooms.transaction");
/// Alias -> the room and who made it, as JSON ([`crate::alias::Alias`]).
pub const ALIAS: Table = Table::new(94, "rooms.alias");
/// (RoomNum, alias raw) -> nothing.
pub const ALIAS_OF: Table = Table::new(95, "rooms.alias_of");
/// RoomNum -> nothing: the rooms in the public directory.
pub const PUBLISHED: Table = Table::new(96, "rooms.published");

/// Position -> day (u32, since the Unix epoch): the newest days on which the server ran, see `transaction.rs`.
pub const TRANSACTION_DAY: Table = Table::new(97, "rooms.transaction_day");

/// Id of a delayed event -> [`crate::delayed::Delayed`] as JSON.
pub const DELAYED: Table = Table::new(98, "rooms.delayed");

/// (RoomNum, UserNum, kind byte, thread str) -> the newest receipt of its kind, see `receipt.rs`.
pub const RECEIPT: Table = Table::new(110, "rooms.receipt");
/// (RoomNum, Position of the receipt) -> UserNum (4), kind byte, thread str: one row for each of [`RECEIPT`].
pub const RECEIPT_LOG: Table = Table::new(111, "rooms.receipt_log");
/// (RoomNum, root Position) -> Position of the thread's newest event.
pub const THREAD: Table = Table::new(112, "rooms.thread");
/// (RoomNum, Position of the newest event) -> root Position: one row for each of [`THREAD`].
pub const THREAD_LOG: Table = Table::new(113, "rooms.thread_log");

/// The order of the first live event; what is fetched from before it lies below.
pub const LIVE: u64 = 1 << 62;

/// The key of a place in a room's timeline.
pub fn timeline_key(room: RoomNum, order: u64) -> Key {
    Key::new().u32(room.0).u64(order)
}

/// The key of a row in [`CURRENT`].
pub fn current_key(room: RoomNum, event_type: &str, state_key: &str) -> Key {
    Key::new().u32(room.0).str(event_type).raw(state_key.as_bytes())
}

/// The key of a row in [`MEMBER`].
pub fn member_key(user: UserNum, room: RoomNum) -> Key {
    Key::new().u32(user.0).u32(room.0)
}

/// The order of a live event.
pub fn live_order(position: Position) -> u64 {
    LIVE + position.0
}

/// A row that does not have its shape.
pub(crate) fn malformed(table: Table) -> ReadError {
    ReadError::Malformed {
        table: table.name,
        detail: "too short or of an unknown version".to_owned(),
    }
}

/// All of them, for the store.
pub const TABLES: &[Table] = &[
    EVENT,
    EVENT_BY_ID,
    TIMELINE,
    RELATION,
    HEAD,
    CURRENT,
    MEMBER,
    MEMBER_OF,
    ROOM,
    ROOM_BY_ID,
    COUNTER,
    STATE_GROUP,
    TRANSACTION,
    TRANSACTION_DAY,
    ALIAS,
    ALIAS_OF,
    PUBLISHED,
    DELAYED,
    RECEIPT,
    RECEIPT_LOG,
    THREAD,
    THREAD_LOG,
];
