//! The rooms that this exchange knows, by number and by id.

use crate::table::{COUNTER, ROOM, ROOM_BY_ID};
use lamchat_base::{Position, RoomNum};
use lamchat_rules::Version;
use lamchat_store::{Bytes, Read, ReadError, ReadExt, WriteTxn};
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use std::sync::Arc;

/// What never changes about a room.
#[derive(Debug, Clone)]
pub struct Room {
    /// Its number inside the store.
    pub num: RoomNum,
    /// Its room id.
    pub id: OwnedRoomId,
    /// The rules that it follows.
    pub version: &'static Version,
    /// The position of its `m.room.create` event.
    pub create: Position,
    /// Who sent that event.
    pub creator: OwnedUserId,
    /// Its type (`content.type` of the create event), such as `m.space`.
    pub room_type: Option<String>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct RoomRow {
    id: OwnedRoomId,
    version: String,
    create: Position,
    creator: OwnedUserId,
    #[serde(default)]
    room_type: Option<String>,
}

/// The number of a room id; `None` if this exchange does not know the room.
pub fn num(read: &dyn Read, id: &RoomId) -> Result<Option<RoomNum>, ReadError> {
    let Some(bytes) = read.get(ROOM_BY_ID, id.as_bytes())? else {
        return Ok(None);
    };
    let bytes: [u8; 4] = bytes.as_ref().try_into().map_err(|_| malformed("not a room number"))?;
    Ok(Some(RoomNum(u32::from_be_bytes(bytes))))
}

/// The room with a number that another row refers to; a missing one is damage. [`crate::Rooms::room`] remembers them.
pub fn by_num(read: &dyn Read, num: RoomNum) -> Result<Arc<Room>, ReadError> {
    let row: RoomRow = read
        .get_json(ROOM, &num.to_key())?
        .ok_or_else(|| malformed("a number without a room"))?;
    let version = Version::find(&row.version).ok_or_else(|| malformed("an unknown room version"))?;
    Ok(Arc::new(Room {
        num,
        id: row.id,
        version,
        create: row.create,
        creator: row.creator,
        room_type: row.room_type,
    }))
}

/// The room with an id; `None` if this exchange does not know it.
pub fn by_id(read: &dyn Read, id: &RoomId) -> Result<Option<Arc<Room>>, ReadError> {
    num(read, id)?.map(|num| by_num(read, num)).transpose()
}

/// Every room, by number.
pub fn all(read: &dyn Read) -> Result<Vec<RoomNum>, ReadError> {
    let rows = read.rows(
        ROOM,
        &lamchat_store::KeyRange::all(),
        lamchat_store::Order::Ascending,
        usize::MAX,
    )?;
    Ok(rows
        .iter()
        .filter_map(|(key, _)| key.first_chunk::<4>().map(|b| RoomNum(u32::from_be_bytes(*b))))
        .collect())
}

/// Hands out the number of a new room.
pub(crate) fn next_num(txn: &mut WriteTxn<'_>) -> Result<RoomNum, ReadError> {
    let last = match txn.get(COUNTER, b"room")? {
        Some(bytes) => u32::from_be_bytes(bytes.as_ref().try_into().map_err(|_| malformed("not a counter"))?),
        None => 0,
    };
    let num = RoomNum(last + 1);
    txn.put(COUNTER, b"room", Bytes::copy_from_slice(&num.to_key()));
    Ok(num)
}

/// Enters a new room.
pub(crate) fn put(txn: &mut WriteTxn<'_>, room: &Room) -> Result<(), ReadError> {
    let row = RoomRow {
        id: room.id.clone(),
        version: room.version.id().to_owned(),
        create: room.create,
        creator: room.creator.clone(),
        room_type: room.room_type.clone(),
    };
    txn.put_json(ROOM, &room.num.to_key(), &row)?;
    txn.put(
        ROOM_BY_ID,
        room.id.as_bytes(),
        Bytes::copy_from_slice(&room.num.to_key()),
    );
    Ok(())
}

fn malformed(detail: &str) -> ReadError {
    ReadError::Malformed {
        table: ROOM.name,
        detail: detail.to_owned(),
    }
}
