//! The rooms in the order of their last activity, and the windows into them.

use super::Scene;
use super::request::{Filters, List};
use lamchat_accounts::account_data::{self, Scope};
use lamchat_base::{Position, RoomNum};
use lamchat_rooms::event::EventRow;
use lamchat_rooms::head::Head;
use lamchat_rooms::membership::Member;
use lamchat_rooms::{Membership, invite_permission, log, state};
use lamchat_store::{Order, Read, ReadError};
use std::collections::HashSet;

/// "the last event that bumps the room": creation, messages, stickers, calls, polls, live locations (MSC4186).
const BUMPING: [&str; 8] = [
    "m.room.create",
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "m.beacon_info",
    "org.matrix.msc3381.poll.start",
];
/// Most events that are looked at to find one that bumps; a busy room without any sorts by what was looked at last.
const LOOKED_AT_MAX: usize = 200;

/// Where a room stands among the others, as of an event of its timeline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    newest: Position,
    bump: Position,
}

/// A room in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sorted {
    pub(crate) room: RoomNum,
    pub(crate) member: Member,
    pub(crate) bump: Position,
    pub(crate) newest: Position,
}

/// All rooms that the user is in, is invited to, asks to come into, or was removed from since the last answer.
pub(crate) fn sorted(scene: &Scene<'_>) -> Result<Vec<Sorted>, ReadError> {
    let mut rooms = Vec::with_capacity(scene.rooms.len());
    let is_invited = scene
        .rooms
        .iter()
        .any(|(_, member)| member.membership == Membership::Invite);
    let takes_invites = !is_invited || !invite_permission::blocks(scene.read, scene.who.user)?;
    for (room, member) in scene.rooms.iter().copied() {
        let sorted = match member.membership {
            Membership::Join => {
                let Some(head) = Head::of(scene.read, room)? else {
                    continue;
                };
                Sorted {
                    room,
                    member,
                    bump: bump(scene, room, head.newest)?,
                    newest: head.newest,
                }
            }
            Membership::Invite if !takes_invites || is_from_ignored(scene, member)? => continue,
            Membership::Invite | Membership::Knock => Sorted {
                room,
                member,
                bump: member.position,
                newest: member.position,
            },
            Membership::Leave | Membership::Ban => {
                let is_new = scene.told.is_some_and(|told| {
                    told.rooms
                        .get(&room)
                        .is_some_and(|known| member.position > known.position)
                });
                if !is_new || member.forgotten {
                    continue;
                }
                Sorted {
                    room,
                    member,
                    bump: member.position,
                    newest: member.position,
                }
            }
        };
        rooms.push(sorted);
    }
    rooms.sort_unstable_by_key(|sorted| std::cmp::Reverse((sorted.bump, sorted.room)));
    Ok(rooms)
}

/// "Servers must not send room invites from ignored users to clients."
fn is_from_ignored(scene: &Scene<'_>, member: Member) -> Result<bool, ReadError> {
    if scene.ignored.is_empty() {
        return Ok(false);
    }
    let bytes = log::known_event(scene.read, member.position)?;
    Ok(scene.ignored.contains(EventRow::decode(&bytes)?.sender))
}

fn bump(scene: &Scene<'_>, room: RoomNum, newest: Position) -> Result<Position, ReadError> {
    let known = scene.syncer.memory.stamps.get(&room);
    if let Some(stamp) = known.filter(|stamp| stamp.newest == newest) {
        return Ok(stamp.bump);
    }
    let mut bump = newest;
    let (mut upto, mut looked_at) = (u64::MAX, 0);
    'search: loop {
        // Mostly the first one is it.
        let places = log::places(
            scene.read,
            room,
            0,
            upto,
            Order::Descending,
            if looked_at == 0 { 1 } else { 16 },
        )?;
        if places.is_empty() || looked_at > LOOKED_AT_MAX {
            break;
        }
        for (order, position) in places {
            if let Some(stamp) = known.filter(|stamp| position <= stamp.newest) {
                bump = stamp.bump;
                break 'search;
            }
            bump = position;
            let bytes = log::known_event(scene.read, position)?;
            if BUMPING.contains(&EventRow::decode(&bytes)?.event_type) {
                break 'search;
            }
            looked_at += 1;
            upto = order.saturating_sub(1);
        }
    }
    scene.syncer.memory.stamps.insert(room, Stamp { newest, bump });
    Ok(bump)
}

/// How many rooms a list has, and which of them are in its ranges.
pub(crate) fn window(scene: &Scene<'_>, sorted: &[Sorted], list: &List) -> Result<(usize, Vec<RoomNum>), ReadError> {
    let ranges: Vec<(usize, usize)> = list.ranges.iter().copied().chain(list.range).collect();
    let mut passing = None;
    if let Some(filters) = &list.filters {
        let direct = if filters.is_dm.is_some() {
            direct(scene)?
        } else {
            HashSet::new()
        };
        let mut rooms = Vec::new();
        for room in sorted {
            if passes(scene, filters, room, &direct)? {
                rooms.push(room.room);
            }
        }
        passing = Some(rooms);
    }
    let count = passing.as_ref().map_or(sorted.len(), Vec::len);
    let place = |index: usize| match &passing {
        Some(rooms) => rooms.get(index).copied(),
        None => sorted.get(index).map(|sorted| sorted.room),
    };
    let mut window = Vec::new();
    for (first, last) in ranges {
        window.extend((first..=last.min(count)).map_while(place));
    }
    Ok((count, window))
}

fn passes(scene: &Scene<'_>, filters: &Filters, sorted: &Sorted, direct: &HashSet<String>) -> Result<bool, ReadError> {
    let room = scene.syncer.room(scene.read, sorted.room)?;
    if filters
        .is_invite
        .is_some_and(|wanted| wanted != (sorted.member.membership == Membership::Invite))
    {
        return Ok(false);
    }
    if filters
        .is_dm
        .is_some_and(|wanted| wanted != direct.contains(room.id.as_str()))
    {
        return Ok(false);
    }
    if filters
        .room_types
        .as_ref()
        .is_some_and(|types| !types.contains(&room.room_type))
        || filters.not_room_types.contains(&room.room_type)
    {
        return Ok(false);
    }
    if let Some(wanted) = filters.is_encrypted
        && state::current(scene.read, sorted.room, "m.room.encryption", "")?.is_some() != wanted
    {
        return Ok(false);
    }
    if let Some(part) = &filters.room_name_like {
        let name = text_of(scene.read, sorted.room, "m.room.name", "name")?.unwrap_or_default();
        return Ok(name.to_lowercase().contains(&part.to_lowercase()));
    }
    Ok(true)
}

/// The room ids in the user's `m.direct`.
pub(crate) fn direct(scene: &Scene<'_>) -> Result<HashSet<String>, ReadError> {
    let content = account_data::content(scene.read, scene.who.user, Scope::Global, "m.direct")?;
    let rooms = content
        .and_then(|content| serde_json::from_slice::<std::collections::HashMap<String, Vec<String>>>(&content).ok());
    Ok(rooms
        .map(|rooms| rooms.into_values().flatten().collect())
        .unwrap_or_default())
}

/// A text in the content of a state event with an empty state key.
pub(crate) fn text_of(
    read: &dyn Read,
    room: RoomNum,
    event_type: &str,
    field: &str,
) -> Result<Option<String>, ReadError> {
    let Some(position) = state::current(read, room, event_type, "")? else {
        return Ok(None);
    };
    let bytes = log::known_event(read, position)?;
    let content: Option<serde_json::Value> = serde_json::from_str(EventRow::decode(&bytes)?.content).ok();
    let text = content.and_then(|content| {
        content
            .get(field)
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
    });
    Ok(text.filter(|text| !text.is_empty()))
}
