//! Who may see a summary of a room without being in it: in a space's hierarchy, or before joining or knocking.

use crate::event::EventRow;
use crate::log;
use crate::membership::{self, Membership};
use crate::room::{self, Room};
use crate::state;
use crate::visibility::History;
use lamchat_base::UserNum;
use lamchat_store::{Read, ReadError};
use ruma::{OwnedRoomId, RoomId};

/// Most rooms of a join rule's `allow` that are looked at.
const ALLOWED_MAX: usize = 100;

/// What a room asks of who wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinRule {
    /// Nothing.
    Public,
    /// To be invited. Also stands for `private`, for what this exchange does not know, and for no rule at all.
    Invite,
    /// To be invited, which one may ask for.
    Knock,
    /// To be in one of these rooms.
    Restricted(Vec<OwnedRoomId>),
    /// To be in one of these rooms, or to ask.
    KnockRestricted(Vec<OwnedRoomId>),
}

impl JoinRule {
    /// The rule now, as the room's version understands it.
    pub fn of(read: &dyn Read, room: &Room) -> Result<Self, ReadError> {
        let Some(position) = state::current(read, room.num, "m.room.join_rules", "")? else {
            return Ok(Self::Invite);
        };
        let bytes = log::known_event(read, position)?;
        let content: serde_json::Value = serde_json::from_str(EventRow::decode(&bytes)?.content).unwrap_or_default();
        Ok(match content.get("join_rule").and_then(|rule| rule.as_str()) {
            Some("public") => Self::Public,
            Some("knock") if room.version.has_knocking() => Self::Knock,
            Some("restricted") if room.version.has_restricted() => Self::Restricted(allowed(&content)),
            Some("knock_restricted") if room.version.has_knock_restricted() => Self::KnockRestricted(allowed(&content)),
            _ => Self::Invite,
        })
    }
}

/// The rooms whose members may join.
fn allowed(content: &serde_json::Value) -> Vec<OwnedRoomId> {
    let conditions = content.get("allow").and_then(|allow| allow.as_array());
    let text = |condition: &serde_json::Value, name| Some(condition.get(name)?.as_str()?.to_owned());
    let rooms = conditions
        .into_iter()
        .flatten()
        .filter(|condition| text(condition, "type").as_deref() == Some("m.room_membership"))
        .filter_map(|condition| RoomId::parse(text(condition, "room_id")?).ok());
    rooms.take(ALLOWED_MAX).collect()
}

/// Whether `user` may see the room's summary.
///
/// "The server should return any rooms where at least one of the following conditions is true: * The requesting user is
/// currently a member (their room membership is `join`). * The requesting user already has permission to join, i.e. one of
/// the following: * The user's room membership is `invite`. * The room's join rules are set to `public`. * The room's join
/// rules are set to `restricted`, provided the user meets one of the specified conditions. * The room is "knockable" (the
/// room's join rules are set to `knock`, or `knock_restricted`, in a room version that supports those settings). * The
/// room's `m.room.history_visibility` is set to `world_readable`." (Matrix 1.16, `GET /rooms/{roomId}/hierarchy`)
pub fn may_see(read: &dyn Read, user: UserNum, room: &Room) -> Result<bool, ReadError> {
    let member = membership::of(read, user, room.num)?.map(|member| member.membership);
    let may_come = match member {
        Some(Membership::Join | Membership::Invite) => true,
        // No rule lets in who is banned.
        Some(Membership::Ban) => false,
        _ => match JoinRule::of(read, room)? {
            JoinRule::Public | JoinRule::Knock | JoinRule::KnockRestricted(_) => true,
            JoinRule::Invite => false,
            JoinRule::Restricted(rooms) => is_in_one_of(read, user, &rooms)?,
        },
    };
    Ok(may_come || History::now(read, room.num)? == History::WorldReadable)
}

fn is_in_one_of(read: &dyn Read, user: UserNum, rooms: &[OwnedRoomId]) -> Result<bool, ReadError> {
    for id in rooms {
        if let Some(num) = room::num(read, id)?
            && membership::is_joined(read, user, num)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
