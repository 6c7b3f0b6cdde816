//! Whose devices a client must look at again, and whose it need not follow any more.

use crate::answer::{Scene, comma};
use lamchat_accounts::user;
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_keys::device_list;
use lamchat_rooms::event::write_string;
use lamchat_rooms::{Membership, log, membership, state};
use lamchat_store::ReadError;
use ruma::UserId;
use std::collections::BTreeSet;

/// Who met whom since the token.
#[derive(Debug, Default)]
pub(crate) struct Meetings {
    /// Rooms that the user came into.
    pub(crate) joined: Vec<RoomNum>,
    /// Rooms that the user left.
    pub(crate) left: Vec<RoomNum>,
    /// Rooms of the user that became encrypted.
    encrypted: Vec<RoomNum>,
    /// Who came into any room of the user.
    pub(crate) met: BTreeSet<UserNum>,
    /// Who came into an encrypted room of the user, and who left one.
    came: BTreeSet<UserNum>,
    went: BTreeSet<UserNum>,
}

impl Meetings {
    /// Notes what happened in a room that the user has been in all along: who of `changed` came and who left, and whether
    /// it became encrypted.
    pub(crate) fn note_room(
        &mut self,
        scene: &Scene<'_>,
        room: RoomNum,
        since: Position,
        changed: &[(String, Position)],
    ) -> Result<(), ReadError> {
        let is_encrypted = state::is_encrypted(scene.read, room)?;
        if is_encrypted && !state::was_encrypted(scene.read, room, since)? {
            self.encrypted.push(room);
        }
        for (user_id, _) in changed {
            let Ok(user_id) = UserId::parse(user_id) else { continue };
            let Some(other) = user::num(scene.read, &user_id)?.filter(|other| *other != scene.who.user) else {
                continue;
            };
            let is_in = membership::is_joined(scene.read, other, room)?;
            let was_in =
                log::member_at(scene.read, other, room, since)?.is_some_and(|(was, _)| was == Membership::Join);
            match (was_in, is_in) {
                (false, true) => {
                    self.met.insert(other);
                    if is_encrypted {
                        self.came.insert(other);
                    }
                }
                (true, false) if is_encrypted => drop(self.went.insert(other)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Appends `,"device_lists":{…}`; nothing if nothing changed.
pub(crate) fn write(
    scene: &Scene<'_>,
    out: &mut Vec<u8>,
    since: Position,
    meetings: &Meetings,
) -> Result<(), ReadError> {
    let (read, me) = (scene.read, scene.who.user);
    let (mut changed, mut went) = (meetings.came.clone(), meetings.went.clone());
    for room in meetings.joined.iter().chain(&meetings.encrypted).copied() {
        if state::is_encrypted(read, room)? {
            changed.extend(membership::members(read, room, Membership::Join, usize::MAX)?);
        }
    }
    for room in meetings.left.iter().copied() {
        if state::is_encrypted(read, room)? {
            went.extend(membership::members(read, room, Membership::Join, usize::MAX)?);
            went.extend(gone_with_me(scene, room, since)?);
        }
    }
    changed.remove(&me);
    // "changed: List of users who have updated their device identity or cross-signing keys, or who now share an encrypted room
    // with the client since the previous sync response." The first part names no kind of room, and `/keys/changes` asks for
    // any that is shared.
    for user in device_list::changed_since(read, me, since, read.position())? {
        if user == me || membership::share_room(read, me, user)? {
            changed.insert(user);
        }
    }
    // "left: List of users with whom we do not share any encrypted rooms anymore since the previous sync response."
    let mut gone = Vec::new();
    for user in went {
        if user != me && !changed.contains(&user) && !membership::share_encrypted_room(read, me, user)? {
            gone.push(user);
        }
    }
    if changed.is_empty() && gone.is_empty() {
        return Ok(());
    }
    out.extend_from_slice(b",\"device_lists\":{\"changed\":[");
    write_users(scene, out, changed)?;
    out.extend_from_slice(b"],\"left\":[");
    write_users(scene, out, gone)?;
    out.extend_from_slice(b"]}");
    Ok(())
}

/// Who left a room after the token, which the user has left as well.
fn gone_with_me(scene: &Scene<'_>, room: RoomNum, since: Position) -> Result<Vec<UserNum>, ReadError> {
    let mut users = Vec::new();
    for kind in [Membership::Leave, Membership::Ban] {
        for user in membership::members(scene.read, room, kind, usize::MAX)? {
            let moved = membership::of(scene.read, user, room)?.is_some_and(|member| member.position > since);
            if moved {
                users.push(user);
            }
        }
    }
    Ok(users)
}

fn write_users(
    scene: &Scene<'_>,
    out: &mut Vec<u8>,
    users: impl IntoIterator<Item = UserNum>,
) -> Result<(), ReadError> {
    for (index, user) in users.into_iter().enumerate() {
        comma(out, index);
        write_string(out, user::known_id(scene.read, user)?.as_str());
    }
    Ok(())
}
