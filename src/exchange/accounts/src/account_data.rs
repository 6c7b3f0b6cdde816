//! Account data: what clients keep for a user, for all rooms or for one, and the stream of its changes for sync.
//!
//! Every item has one row and one change row; a change moves the latter to the newest position, so the stream of a
//! user never grows beyond the number of items.

use crate::row::{malformed, parse_text};
use crate::tables::{ACCOUNT_DATA, ACCOUNT_DATA_CHANGE};
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_store::{Bytes, Key, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, Topic, WriteTxn};
use std::ops::ControlFlow;

/// Most types that one user can have in one scope.
pub const TYPES_MAX: usize = 1_000;
/// Longest type.
pub const TYPE_BYTES_MAX: usize = lamchat_base::limits::ID_BYTES_MAX;

/// What sync shows in place of a content that was deleted.
const DELETED: &[u8] = b"{}";

/// Types that the exchange keeps itself: clients cannot set or delete them as account data.
///
/// "Servers MUST reject clients trying to set `m.push_rules` / `m.fully_read`: `M_BAD_JSON`, 405" (Matrix 1.16,
/// "Server Behaviour" of client config).
pub fn is_reserved(event_type: &str) -> bool {
    matches!(event_type, "m.push_rules" | "m.fully_read")
}

/// For all rooms or for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// For all rooms.
    Global,
    /// For one room.
    Room(RoomNum),
}

/// An item of account data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it belongs.
    pub scope: Scope,
    /// Its type.
    pub event_type: String,
    /// Its content, a JSON object; `{}` in a stream of changes if it was deleted.
    pub content: Bytes,
    /// When it changed.
    pub position: Position,
}

/// Why an item was not kept.
#[derive(Debug, thiserror::Error)]
pub enum PutAccountDataError {
    /// The user has [`TYPES_MAX`] types there: `M_TOO_LARGE`.
    #[error("too many types of account data")]
    TooMany,
    /// The type is empty or longer than [`TYPE_BYTES_MAX`]: `M_INVALID_PARAM`.
    #[error("a type has between 1 and {TYPE_BYTES_MAX} bytes")]
    Type,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Sets an item; `content` is a JSON object. Wakes the user's syncs.
pub fn put(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    scope: Scope,
    event_type: &str,
    content: &[u8],
) -> Result<Position, PutAccountDataError> {
    if event_type.is_empty() || event_type.len() > TYPE_BYTES_MAX {
        return Err(PutAccountDataError::Type);
    }
    let key = item_key(user, scope, event_type);
    if txn.get(ACCOUNT_DATA, &key)?.is_none() && count(txn, user, scope)? >= TYPES_MAX {
        return Err(PutAccountDataError::TooMany);
    }
    Ok(write(txn, user, scope, event_type, &key, content)?)
}

/// Deletes an item; answers whether it was there. Syncs see it as `{}` once.
pub fn delete(txn: &mut WriteTxn<'_>, user: UserNum, scope: Scope, event_type: &str) -> Result<bool, ReadError> {
    let key = item_key(user, scope, event_type);
    let was_there = txn.get(ACCOUNT_DATA, &key)?.is_some_and(|row| row.len() > 8);
    if was_there {
        write(txn, user, scope, event_type, &key, b"")?;
    }
    Ok(was_there)
}

/// The content of an item.
pub fn content(read: &dyn Read, user: UserNum, scope: Scope, event_type: &str) -> Result<Option<Bytes>, ReadError> {
    let Some(row) = read.get(ACCOUNT_DATA, &item_key(user, scope, event_type))? else {
        return Ok(None);
    };
    let (_, content) = parse_row(&row)?;
    Ok((!content.is_empty()).then_some(content))
}

/// All items of one scope.
pub fn all(read: &dyn Read, user: UserNum, scope: Scope) -> Result<Vec<Item>, ReadError> {
    items(read, &scope_key(user, scope))
}

/// All items of a user, global ones first, then room by room: for an initial sync.
pub fn everything(read: &dyn Read, user: UserNum) -> Result<Vec<Item>, ReadError> {
    items(read, &Key::new().u32(user.0))
}

/// What changed after `from` up to and including `to`, in order; a deleted item has the content `{}`.
pub fn changed_since(read: &dyn Read, user: UserNum, from: Position, to: Position) -> Result<Vec<Item>, ReadError> {
    if from >= to {
        return Ok(Vec::new());
    }
    let range = KeyRange::between(
        &Key::new().u32(user.0).u64(from.0.saturating_add(1)),
        &Key::new().u32(user.0).u64(to.0.saturating_add(1)),
    );
    let mut changed = Vec::new();
    for (key, value) in read.rows(ACCOUNT_DATA_CHANGE, &range, Order::Ascending, usize::MAX)? {
        let mut reader = KeyReader::new(&key);
        let position = reader.u32().and_then(|_| reader.u64());
        let position = position.ok_or_else(|| malformed(ACCOUNT_DATA_CHANGE, "a key without a position"))?;
        let (scope, event_type) = parse_change(&value)?;
        let content = content(read, user, scope, &event_type)?.unwrap_or(Bytes::from_static(DELETED));
        changed.push(Item {
            scope,
            event_type,
            content,
            position: Position(position),
        });
    }
    Ok(changed)
}

/// Removes all that a user keeps for a room: when they forget it.
pub fn forget_room(txn: &mut WriteTxn<'_>, user: UserNum, room: RoomNum) -> Result<(), ReadError> {
    let prefix = scope_key(user, Scope::Room(room));
    for (_, row) in txn.rows(ACCOUNT_DATA, &KeyRange::prefix(&prefix), Order::Ascending, usize::MAX)? {
        let (position, _) = parse_row(&row)?;
        txn.delete(ACCOUNT_DATA_CHANGE, &change_key(user, position));
    }
    txn.delete_range(ACCOUNT_DATA, &KeyRange::prefix(&prefix))?;
    Ok(())
}

/// Removes all account data of a user.
pub fn forget(txn: &mut WriteTxn<'_>, user: UserNum) -> Result<(), ReadError> {
    let range = KeyRange::prefix(&Key::new().u32(user.0));
    txn.delete_range(ACCOUNT_DATA, &range)?;
    txn.delete_range(ACCOUNT_DATA_CHANGE, &range)?;
    Ok(())
}

fn write(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    scope: Scope,
    event_type: &str,
    key: &Key,
    content: &[u8],
) -> Result<Position, ReadError> {
    if let Some(old) = txn.get(ACCOUNT_DATA, key)? {
        let (position, _) = parse_row(&old)?;
        txn.delete(ACCOUNT_DATA_CHANGE, &change_key(user, position));
    }
    let position = txn.next_position();
    let mut row = position.to_key().to_vec();
    row.extend_from_slice(content);
    txn.put(ACCOUNT_DATA, key, Bytes::from(row));
    let change = scope_part(Key::new(), scope).raw(event_type.as_bytes());
    txn.put(
        ACCOUNT_DATA_CHANGE,
        &change_key(user, position),
        Bytes::copy_from_slice(&change),
    );
    txn.touch(Topic::user(user));
    Ok(position)
}

fn items(read: &dyn Read, prefix: &[u8]) -> Result<Vec<Item>, ReadError> {
    let mut items = Vec::new();
    for (key, row) in read.rows(ACCOUNT_DATA, &KeyRange::prefix(prefix), Order::Ascending, usize::MAX)? {
        let (position, content) = parse_row(&row)?;
        if !content.is_empty() {
            let mut reader = KeyReader::new(&key);
            reader.u32();
            let scope = parse_scope(&mut reader);
            let (scope, event_type) = scope
                .zip(reader.str())
                .ok_or_else(|| malformed(ACCOUNT_DATA, "a key without scope or type"))?;
            items.push(Item {
                scope,
                event_type,
                content,
                position,
            });
        }
    }
    Ok(items)
}

fn count(read: &dyn Read, user: UserNum, scope: Scope) -> Result<usize, ReadError> {
    let mut count = 0;
    read.scan(
        ACCOUNT_DATA,
        &KeyRange::prefix(&scope_key(user, scope)),
        Order::Ascending,
        &mut |_, _| {
            count += 1;
            if count < TYPES_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    )?;
    Ok(count)
}

fn scope_part(key: Key, scope: Scope) -> Key {
    match scope {
        Scope::Global => key.u8(0),
        Scope::Room(room) => key.u8(1).u32(room.0),
    }
}

fn parse_scope(reader: &mut KeyReader<'_>) -> Option<Scope> {
    match reader.u8()? {
        0 => Some(Scope::Global),
        1 => Some(Scope::Room(RoomNum(reader.u32()?))),
        _ => None,
    }
}

fn scope_key(user: UserNum, scope: Scope) -> Key {
    scope_part(Key::new().u32(user.0), scope)
}

fn item_key(user: UserNum, scope: Scope, event_type: &str) -> Key {
    scope_key(user, scope).str(event_type)
}

fn change_key(user: UserNum, position: Position) -> Key {
    Key::new().u32(user.0).u64(position.0)
}

fn parse_row(row: &Bytes) -> Result<(Position, Bytes), ReadError> {
    let (position, _) = row
        .split_first_chunk::<8>()
        .ok_or_else(|| malformed(ACCOUNT_DATA, "no position"))?;
    Ok((Position(u64::from_be_bytes(*position)), row.slice(8..)))
}

fn parse_change(value: &[u8]) -> Result<(Scope, String), ReadError> {
    let mut reader = KeyReader::new(value);
    let scope = parse_scope(&mut reader).ok_or_else(|| malformed(ACCOUNT_DATA_CHANGE, "no scope"))?;
    Ok((scope, parse_text(ACCOUNT_DATA_CHANGE, reader.rest())?.to_owned()))
}

#[cfg(test)]
mod tests;
