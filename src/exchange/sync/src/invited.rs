//! A room that the user is invited to, or asks to come into: what they may know of it.

use crate::answer::{Scene, comma, open_room};
use lamchat_base::RoomNum;
use lamchat_rooms::event::EventRow;
use lamchat_rooms::membership::Member;
use lamchat_rooms::view::Ignored;
use lamchat_rooms::{Membership, invite_permission, log, state};
use lamchat_store::ReadError;

/// "the following state events SHOULD be included: m.room.create, m.room.name, m.room.avatar, m.room.topic, m.room.join_rules,
/// m.room.canonical_alias, m.room.encryption" (Matrix 1.16, "Stripped state").
const STRIPPED: [&str; 7] = [
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
];

/// Appends the room with its stripped state under `name`, unless it comes from somebody whom the user ignores.
pub(crate) fn write(
    scene: &Scene<'_>,
    section: &mut Vec<u8>,
    room: RoomNum,
    member: Member,
    name: &str,
    ignored: &Ignored,
) -> Result<(), ReadError> {
    let own = log::known_event(scene.read, member.position)?;
    let own = EventRow::decode(&own)?;
    // "the server MUST NOT send room invites from ignored users to clients."
    if own.sender != scene.who.user_id.as_str() && ignored.contains(own.sender) {
        return Ok(());
    }
    // "invite events for this user already in the database (…) MUST NOT be served over client synchronisation endpoints"
    if member.membership == Membership::Invite && invite_permission::blocks(scene.read, scene.who.user)? {
        return Ok(());
    }
    open_room(scene, section, room)?;
    section.push(b'"');
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(b"\":{\"events\":[");
    write_stripped(scene, section, room, &own)?;
    section.extend_from_slice(b"]}}");
    Ok(())
}

/// Appends the stripped state that goes with the membership event `own`, without brackets.
pub(crate) fn write_stripped(
    scene: &Scene<'_>,
    out: &mut Vec<u8>,
    room: RoomNum,
    own: &EventRow<'_>,
) -> Result<(), ReadError> {
    own.write_stripped(out);
    let inviter = (own.sender != scene.who.user_id.as_str()).then_some(("m.room.member", own.sender));
    for (event_type, state_key) in STRIPPED.into_iter().map(|event_type| (event_type, "")).chain(inviter) {
        if let Some(position) = state::current(scene.read, room, event_type, state_key)? {
            comma(out, 1);
            let bytes = log::known_event(scene.read, position)?;
            EventRow::decode(&bytes)?.write_stripped(out);
        }
    }
    Ok(())
}
