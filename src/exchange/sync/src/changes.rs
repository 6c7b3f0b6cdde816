//! `/keys/changes`: whose devices changed since a token, and with whom no encrypted room is shared any more.

use lamchat_accounts::user;
use lamchat_base::{Position, UserNum};
use lamchat_keys::device_list;
use lamchat_rooms::{Membership, log, membership, state};
use lamchat_store::{Read, ReadError};
use ruma::OwnedUserId;
use std::collections::BTreeSet;

/// Lists of users, as the endpoint answers them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Whose devices have to be looked at again.
    pub changed: Vec<OwnedUserId>,
    /// With whom `me` shares no encrypted room any more.
    pub left: Vec<OwnedUserId>,
}

/// What changed for `me` after `since` up to the snapshot.
pub fn since(read: &dyn Read, me: UserNum, since: Position) -> Result<Changes, ReadError> {
    let mut changed = BTreeSet::new();
    let mut went = BTreeSet::new();
    for (room, member) in membership::rooms_of(read, me)? {
        // Only who is met in an encrypted room has devices that matter.
        if !state::is_encrypted(read, room)? {
            continue;
        }
        let was_in = is_joined_at(read, me, room, since)? && state::was_encrypted(read, room, since)?;
        let is_in = member.membership == Membership::Join;
        for other in membership::members(read, room, Membership::Join, usize::MAX)? {
            match (was_in, is_in) {
                (true, true) if is_joined_at(read, other, room, since)? => {}
                (_, true) => drop(changed.insert(other)),
                (true, false) => drop(went.insert(other)),
                (false, false) => {}
            }
        }
        if was_in {
            for kind in [Membership::Leave, Membership::Ban] {
                for other in membership::members(read, room, kind, usize::MAX)? {
                    let moved = membership::of(read, other, room)?.is_some_and(|member| member.position > since);
                    if moved && is_joined_at(read, other, room, since)? {
                        went.insert(other);
                    }
                }
            }
        }
    }
    changed.remove(&me);
    // "currently share a room with the calling user (…); and added new device identity keys or removed an existing device
    // with identity keys, between `from` and `to`."
    for user in device_list::changed_since(read, me, since, read.position())? {
        if user == me || membership::share_room(read, me, user)? {
            changed.insert(user);
        }
    }
    let mut left = Vec::new();
    for user in went {
        // "left: The Matrix User IDs of all users who may have left all the end-to-end encrypted rooms they previously shared
        // with the user."
        if user != me && !changed.contains(&user) && !membership::share_encrypted_room(read, me, user)? {
            left.push(user::known_id(read, user)?);
        }
    }
    let changed = changed
        .into_iter()
        .map(|user| user::known_id(read, user))
        .collect::<Result<_, _>>()?;
    Ok(Changes { changed, left })
}

fn is_joined_at(read: &dyn Read, user: UserNum, room: lamchat_base::RoomNum, at: Position) -> Result<bool, ReadError> {
    Ok(log::member_at(read, user, room, at)?.is_some_and(|(was, _)| was == Membership::Join))
}
