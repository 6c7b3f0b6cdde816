//! Whose devices changed when: the `device_lists.changed` of `/sync` and `/keys/changes`.
//! Knows nothing of rooms; who shares one with whom is asked by the caller.

use crate::row::malformed_row;
use lamchat_base::{Position, UserNum};
use lamchat_store::{Key, KeyRange, KeyReader, Order, Read, ReadError, Table, Topic, WriteTxn};
use std::ops::ControlFlow;

/// Position -> user (u32), audience (u32; `EVERYONE` or the one user who sees a difference). Only the newest per pair.
pub(crate) const CHANGE: Table = Table::new(49, "keys.list_change");
/// (User, audience) -> position of its row in `CHANGE`; the empty key -> the newest position of all.
pub(crate) const NEWEST: Table = Table::new(50, "keys.list_newest");

/// The audience of a change that all see who share a room with the user.
const EVERYONE: u32 = u32::MAX;

/// Notes that the devices, their names, or the cross-signing keys of `user` changed, and wakes whoever waits for `user`.
///
/// The caller's commit should also touch `Topic::room` of every room that `user` is joined to, so that those who
/// share one wake as well. Everything that [`crate::query`] shows must be marked: its cache relies on it.
pub fn mark_changed(txn: &mut WriteTxn<'_>, user: UserNum) -> Result<Position, ReadError> {
    mark(txn, user, EVERYONE)
}

/// Notes that `viewer`, and nobody else, sees the keys of `user` differently: `viewer` signed the master key of `user`.
pub fn mark_changed_for(txn: &mut WriteTxn<'_>, user: UserNum, viewer: UserNum) -> Result<Position, ReadError> {
    txn.touch(Topic::user(viewer));
    mark(txn, user, viewer.0)
}

fn mark(txn: &mut WriteTxn<'_>, user: UserNum, audience: u32) -> Result<Position, ReadError> {
    let newest_key = Key::new().u32(user.0).u32(audience);
    if let Some(old) = txn.get(NEWEST, &newest_key)? {
        txn.delete(CHANGE, &old);
    }
    let position = txn.next_position();
    txn.put(
        CHANGE,
        &position.to_key(),
        Key::new().u32(user.0).u32(audience).to_vec(),
    );
    txn.put(NEWEST, &newest_key, position.to_key().to_vec());
    txn.put(NEWEST, &[], position.to_key().to_vec());
    if audience == EVERYONE {
        txn.touch(Topic::user(user));
    }
    Ok(position)
}

/// The users whose devices changed after `from` up to `to`, as far as `viewer` may see a difference; each once,
/// in the order of the changes. `viewer` itself is among them after changes of its own.
///
/// The caller keeps those that share a room with `viewer`, and `viewer` itself. A user that changed again after `to`
/// is missing here and is found from `to` on. With nothing new this costs one look-up.
pub fn changed_since(
    read: &dyn Read,
    viewer: UserNum,
    from: Position,
    to: Position,
) -> Result<Vec<UserNum>, ReadError> {
    let mut users = Vec::new();
    let mut seen = std::collections::HashSet::new();
    if from >= to || newest(read)? <= from {
        return Ok(users);
    }
    let range = KeyRange::between(
        &Position(from.0 + 1).to_key(),
        &Position(to.0.saturating_add(1)).to_key(),
    );
    let mut malformed = false;
    read.scan(CHANGE, &range, Order::Ascending, &mut |_, value| {
        let mut parts = KeyReader::new(value);
        match (parts.u32(), parts.u32()) {
            (Some(user), Some(audience)) => {
                let user = UserNum(user);
                if (audience == EVERYONE || audience == viewer.0) && seen.insert(user) {
                    users.push(user);
                }
                ControlFlow::Continue(())
            }
            _ => {
                malformed = true;
                ControlFlow::Break(())
            }
        }
    })?;
    if malformed {
        Err(malformed_row(CHANGE))
    } else {
        Ok(users)
    }
}

/// The position of the newest change of anybody's devices; 0 before the first.
pub fn newest(read: &dyn Read) -> Result<Position, ReadError> {
    position_under(read, &[])
}

/// The position of the newest change of the devices of `user` that everyone sees; 0 before the first.
pub fn newest_of(read: &dyn Read, user: UserNum) -> Result<Position, ReadError> {
    position_under(read, &Key::new().u32(user.0).u32(EVERYONE))
}

fn position_under(read: &dyn Read, key: &[u8]) -> Result<Position, ReadError> {
    match read.get(NEWEST, key)? {
        None => Ok(Position(0)),
        Some(bytes) => KeyReader::new(&bytes)
            .u64()
            .map(Position)
            .ok_or_else(|| malformed_row(NEWEST)),
    }
}
