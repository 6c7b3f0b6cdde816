//! A room that the user has left, or was removed from: its timeline ends there.

use crate::answer::{Scene, membership_at, open_room};
use crate::device_lists::Meetings;
use crate::state::{self, Delta, End};
use crate::timeline::Timeline;
use lamchat_base::RoomNum;
use lamchat_rooms::event::EventRow;
use lamchat_rooms::membership::Member;
use lamchat_rooms::view::{Reader, View};
use lamchat_rooms::visibility::Standing;
use lamchat_rooms::{Membership, context, log};
use lamchat_store::ReadError;
use std::collections::BTreeSet;

/// Appends the room.
pub(crate) fn write(
    scene: &Scene<'_>,
    section: &mut Vec<u8>,
    room: RoomNum,
    member: Member,
    reader: &Reader<'_>,
    meetings: &mut Meetings,
) -> Result<(), ReadError> {
    let read = scene.read;
    let standing = Standing::of(read, scene.who.user, room)?;
    let since = match scene.since() {
        // "include_leave: Include rooms that the user has left in the sync, default false"; who was removed otherwise hears of
        // it in the next incremental sync only.
        None if !scene.request.filter.include_leave || standing.last_join.is_none() => return Ok(()),
        None => None,
        Some(since) => match membership_at(scene, room, since)? {
            Some(Membership::Join) => {
                meetings.left.push(room);
                Some(since)
            }
            // Came and went since the token: all of it is new.
            _ if standing.last_join.is_some_and(|join| join > since) => None,
            Some(Membership::Invite | Membership::Knock) => Some(since),
            _ if is_rejection(scene, member)? => Some(since),
            // Left before, and a ban or its lifting changes nothing that the client shows.
            _ if standing.last_join.is_some() => Some(since),
            _ => return Ok(()),
        },
    };
    open_room(scene, section, room)?;
    let mut view = View::new(read, room, None, *reader, standing).as_pdus(scene.request.filter.as_pdus);
    let timeline = Timeline::read(scene, &mut view, room, since, member.position)?;
    timeline.write(scene, section, &mut view)?;
    if standing.last_join.is_some() {
        let then = context::state_at(read, room, member.position)?;
        let also = BTreeSet::from([scene.who.user_id.to_string()]);
        let delta = Delta {
            room,
            since,
            timeline: &timeline,
            end: End::Then(&then),
            also,
        };
        let positions = delta.positions(scene)?;
        state::write(scene, section, &mut view, &positions)?;
    } else {
        // "Required if `use_state_after` was set to `true` in the request, even if it is empty."
        state::write(scene, section, &mut view, &[])?;
    }
    section.push(b'}');
    Ok(())
}

/// Invited and refused, both since the token: the client may have heard of the invite in a request that it gave up.
fn is_rejection(scene: &Scene<'_>, member: Member) -> Result<bool, ReadError> {
    let bytes = log::known_event(scene.read, member.position)?;
    Ok(EventRow::decode(&bytes)?.replaces.is_some())
}
