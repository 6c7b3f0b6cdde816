//! A room that the user is in.

use crate::answer::{Scene, membership_at, open_room, write_room_items};
use crate::device_lists::Meetings;
use crate::state::{self, Delta, End};
use crate::timeline::Timeline;
use lamchat_accounts::account_data::{self, Item, Scope};
use lamchat_base::{Position, RoomNum};
use lamchat_push::unread::Count;
use lamchat_rooms::event::{write_number, write_string};
use lamchat_rooms::head::Head;
use lamchat_rooms::membership::Member;
use lamchat_rooms::view::{Reader, View};
use lamchat_rooms::visibility::Standing;
use lamchat_rooms::{Membership, receipt, summary};
use lamchat_store::ReadError;
use std::collections::BTreeSet;

/// Appends the room if there is anything to tell of it.
pub(crate) fn write(
    scene: &Scene<'_>,
    section: &mut Vec<u8>,
    room: RoomNum,
    member: Member,
    items: &[&Item],
    reader: &Reader<'_>,
    meetings: &mut Meetings,
) -> Result<(), ReadError> {
    let read = scene.read;
    let Some(head) = Head::of(read, room)? else {
        return Ok(());
    };
    // "newly joined": who was not in the room at the token is told all of it, from before the join.
    let since = match scene.since() {
        Some(since) if member.position > since && membership_at(scene, room, since)? != Some(Membership::Join) => None,
        since => since,
    };
    let is_new = since.is_none();
    if is_new && scene.since().is_some() {
        meetings.joined.push(room);
    }
    let mut ephemeral = Vec::new();
    write_ephemeral(scene, &mut ephemeral, room, since)?;
    let is_full = is_new || scene.request.full_state;
    let moved = since.is_none_or(|since| head.newest > since);
    if !moved && !is_full && ephemeral.is_empty() && items.is_empty() && !own_receipt_moved(scene, room, since)? {
        return Ok(());
    }
    open_room(scene, section, room)?;
    let standing = Standing {
        member: Some(member),
        last_join: Some(member.position),
    };
    let mut view = View::new(read, room, None, *reader, standing).as_pdus(scene.request.filter.as_pdus);
    let timeline = if moved || is_full {
        Timeline::read(scene, &mut view, room, since, read.position())?
    } else {
        Timeline::read(scene, &mut view, room, Some(read.position()), read.position())?
    };
    timeline.write(scene, section, &mut view)?;
    let mut members_moved = is_full;
    if let Some(since) = since.filter(|_| moved) {
        let changed = state::changed_members(scene, room, since, &timeline)?;
        members_moved |= !changed.is_empty();
        meetings.note_room(scene, room, since, &changed)?;
    }
    let heroes = if members_moved || timeline_names(&timeline)? {
        summary::heroes(read, room, scene.who.user)?
    } else {
        None
    };
    let mut also = BTreeSet::new();
    if is_full {
        also.insert(scene.who.user_id.to_string());
    }
    if let Some(heroes) = &heroes {
        also.extend(state::user_ids(scene, heroes)?);
    }
    let delta = Delta {
        room,
        since: since.filter(|_| !scene.request.full_state),
        timeline: &timeline,
        end: End::Now,
        also,
    };
    let positions = delta.positions(scene)?;
    state::write(scene, section, &mut view, &positions)?;
    if members_moved || heroes.is_some() {
        section.extend_from_slice(b",\"summary\":");
        summary::write(section, read, &head, heroes.as_deref())?;
    }
    if !ephemeral.is_empty() {
        section.extend_from_slice(b",\"ephemeral\":{\"events\":[");
        section.extend_from_slice(&ephemeral);
        section.extend_from_slice(b"]}");
    }
    if is_new && scene.since().is_some() {
        let all = account_data::all(read, scene.who.user, Scope::Room(room))?;
        write_room_items(scene, section, &all.iter().collect::<Vec<_>>());
    } else {
        write_room_items(scene, section, items);
    }
    write_unread(scene, section, room)?;
    section.push(b'}');
    Ok(())
}

/// Whether the timeline holds an event that gives the room a name or takes it away.
fn timeline_names(timeline: &Timeline) -> Result<bool, ReadError> {
    for entry in &timeline.entries {
        if matches!(entry.row()?.event_type, "m.room.name" | "m.room.canonical_alias") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the user read something on another device that only the unread counts tell of.
fn own_receipt_moved(scene: &Scene<'_>, room: RoomNum, since: Option<Position>) -> Result<bool, ReadError> {
    let Some(since) = since else { return Ok(true) };
    if scene.request.filter.ephemeral.is_all() {
        // Then it is among the ephemeral events already.
        return Ok(false);
    }
    let changed = receipt::changed_since(scene.read, room, since)?;
    Ok(changed.iter().any(|receipt| receipt.user == scene.who.user))
}

fn write_ephemeral(
    scene: &Scene<'_>,
    out: &mut Vec<u8>,
    room: RoomNum,
    since: Option<Position>,
) -> Result<(), ReadError> {
    let filter = &scene.request.filter.ephemeral;
    if !filter.rooms.is_all() && !filter.rooms.allows(scene.syncer.room(scene.read, room)?.id.as_str()) {
        return Ok(());
    }
    if filter.types.allows("m.typing") {
        let after = since.and(scene.request.since).map(|since| since.ephemeral);
        scene.syncer.typing.write_event(out, room, after);
    }
    if filter.types.allows("m.receipt") {
        let receipts = match since {
            Some(since) => receipt::changed_since(scene.read, room, since)?,
            None => receipt::of_room(scene.read, room)?,
        };
        if !receipts.is_empty() {
            let mut event = Vec::new();
            if receipt::write_events(&mut event, scene.read, scene.who.user, &receipts)? {
                if !out.is_empty() {
                    out.push(b',');
                }
                out.append(&mut event);
            }
        }
    }
    Ok(())
}

fn write_unread(scene: &Scene<'_>, out: &mut Vec<u8>, room: RoomNum) -> Result<(), ReadError> {
    let counts = scene
        .syncer
        .unread
        .counts(scene.read, scene.who.user, &scene.who.user_id, room)?;
    // "If unread_thread_notifications was set to true on the RoomEventFilter, these values will only be for the unthreaded
    // events in this room." (Matrix 1.4)
    let by_thread = scene.request.filter.timeline.unread_thread_notifications;
    out.extend_from_slice(b",\"unread_notifications\":");
    write_count(out, if by_thread { counts.main } else { counts.total() });
    if by_thread && !counts.threads.is_empty() {
        out.extend_from_slice(b",\"unread_thread_notifications\":{");
        for (index, (root, count)) in counts.threads.iter().enumerate() {
            crate::answer::comma(out, index);
            write_string(out, root);
            out.push(b':');
            write_count(out, *count);
        }
        out.push(b'}');
    }
    Ok(())
}

fn write_count(out: &mut Vec<u8>, count: Count) {
    out.extend_from_slice(b"{\"highlight_count\":");
    write_number(out, count.highlight);
    out.extend_from_slice(b",\"notification_count\":");
    write_number(out, count.notification);
    out.push(b'}');
}
