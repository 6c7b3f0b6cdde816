//! Tags of rooms, kept as the room account data `m.tag` (Matrix 1.16, "Room tagging").

use crate::account_data::{self, PutAccountDataError, Scope};
use lamchat_base::{RoomNum, UserNum};
use lamchat_store::{Read, ReadError, WriteTxn};
use serde_json::{Map, Value};

/// The type under which tags are kept.
pub const TAG_TYPE: &str = "m.tag";
/// "The maximum length of a tag is 255 bytes" (Matrix 1.16).
pub const TAG_BYTES_MAX: usize = 255;
/// Most tags on one room.
pub const TAGS_MAX: usize = 100;

/// Why a tag was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetTagError {
    /// The name is too long: `M_INVALID_PARAM`.
    #[error("a tag has at most {TAG_BYTES_MAX} bytes")]
    TooLong,
    /// The room has [`TAGS_MAX`] tags: `M_TOO_LARGE`.
    #[error("a room has at most {TAGS_MAX} tags")]
    TooMany,
    /// The account data could not be kept.
    #[error(transparent)]
    Put(#[from] PutAccountDataError),
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The tags that a user gave a room: name → what is said about it (such as `order`).
pub fn all(read: &dyn Read, user: UserNum, room: RoomNum) -> Result<Map<String, Value>, ReadError> {
    let Some(content) = account_data::content(read, user, Scope::Room(room), TAG_TYPE)? else {
        return Ok(Map::new());
    };
    // Clients can also set `m.tag` as account data, in any form; what is no map of tags counts as none.
    Ok(match serde_json::from_slice(&content) {
        Ok(Value::Object(mut content)) => match content.remove("tags") {
            Some(Value::Object(tags)) => tags,
            _ => Map::new(),
        },
        _ => Map::new(),
    })
}

/// Sets a tag, replacing what was said about it.
pub fn set(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    room: RoomNum,
    tag: &str,
    info: Map<String, Value>,
) -> Result<(), SetTagError> {
    if tag.len() > TAG_BYTES_MAX {
        return Err(SetTagError::TooLong);
    }
    let mut tags = all(txn, user, room)?;
    if !tags.contains_key(tag) && tags.len() >= TAGS_MAX {
        return Err(SetTagError::TooMany);
    }
    tags.insert(tag.to_owned(), Value::Object(info));
    store(txn, user, room, tags)
}

/// Removes a tag; nothing happens if it was not set.
pub fn remove(txn: &mut WriteTxn<'_>, user: UserNum, room: RoomNum, tag: &str) -> Result<(), SetTagError> {
    let mut tags = all(txn, user, room)?;
    if tags.remove(tag).is_some() {
        store(txn, user, room, tags)?;
    }
    Ok(())
}

fn store(txn: &mut WriteTxn<'_>, user: UserNum, room: RoomNum, tags: Map<String, Value>) -> Result<(), SetTagError> {
    let content = serde_json::json!({ "tags": tags }).to_string();
    account_data::put(txn, user, Scope::Room(room), TAG_TYPE, content.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests;
