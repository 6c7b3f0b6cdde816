//! What a client needs to name a room and to say how many are in it.

use crate::event::{EventRow, write_number, write_string};
use crate::head::Head;
use crate::log;
use crate::membership::{self, Membership};
use crate::state;
use lamchat_accounts::user;
use lamchat_base::{RoomNum, UserNum};
use lamchat_store::{Read, ReadError};

/// "the first 5 members of the room, ordered by stream ordering, which are joined or invited" (Matrix 1.16, `m.heroes`).
const HEROES_MAX: usize = 5;

/// The heroes of a room: whom to name it after. Empty if it has a name or an alias of its own.
///
/// Ordered by the user's number, which is the order in which this exchange first heard of them.
pub fn heroes(read: &dyn Read, room: RoomNum, reader: UserNum) -> Result<Option<Vec<UserNum>>, ReadError> {
    if is_told(read, room, "m.room.name", "name")? || is_told(read, room, "m.room.canonical_alias", "alias")? {
        return Ok(None);
    }
    // "If no joined or invited members are available, this consists of the banned and left users."
    for kinds in [
        [Membership::Join, Membership::Invite],
        [Membership::Leave, Membership::Ban],
    ] {
        let mut users = Vec::new();
        for kind in kinds {
            users.extend(membership::members(read, room, kind, HEROES_MAX + 1)?);
        }
        users.retain(|user| *user != reader);
        users.sort_unstable();
        users.truncate(HEROES_MAX);
        if !users.is_empty() {
            return Ok(Some(users));
        }
    }
    Ok(Some(Vec::new()))
}

/// "Required if the room's `m.room.name` or `m.room.canonical_alias` state events are unset or empty."
fn is_told(read: &dyn Read, room: RoomNum, event_type: &str, field: &str) -> Result<bool, ReadError> {
    let Some(position) = state::current(read, room, event_type, "")? else {
        return Ok(false);
    };
    let bytes = log::known_event(read, position)?;
    let content: serde_json::Value = serde_json::from_str(EventRow::decode(&bytes)?.content).unwrap_or_default();
    let text = content.get(field).and_then(|text| text.as_str());
    Ok(text.is_some_and(|text| !text.is_empty()))
}

/// Appends the `summary` object of `/sync`.
pub fn write(out: &mut Vec<u8>, read: &dyn Read, head: &Head, heroes: Option<&[UserNum]>) -> Result<(), ReadError> {
    out.push(b'{');
    if let Some(heroes) = heroes {
        out.extend_from_slice(b"\"m.heroes\":[");
        for (index, hero) in heroes.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(out, user::known_id(read, *hero)?.as_str());
        }
        out.extend_from_slice(b"],");
    }
    out.extend_from_slice(b"\"m.invited_member_count\":");
    write_number(out, u64::from(head.invited));
    out.extend_from_slice(b",\"m.joined_member_count\":");
    write_number(out, u64::from(head.joined));
    out.push(b'}');
    Ok(())
}
