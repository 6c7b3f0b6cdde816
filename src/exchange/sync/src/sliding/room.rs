//! One room in an answer.

use super::list::{Sorted, direct, text_of};
use super::request::{RoomConfig, TIMELINE_MAX};
use super::{Scene, ToldRoom};
use crate::answer::comma;
use crate::invited::write_stripped;
use lamchat_accounts::user;
use lamchat_base::{Position, RoomNum};
use lamchat_rooms::event::{EventRow, write_number, write_string};
use lamchat_rooms::filter::EventFilter;
use lamchat_rooms::head::Head;
use lamchat_rooms::timeline::{self, Page, PageRequest, Point};
use lamchat_rooms::view::{Reader, View};
use lamchat_rooms::visibility::{LookError, Standing};
use lamchat_rooms::{Membership, log, state, summary};
use lamchat_store::{Key, KeyRange, Order, ReadError};
use std::collections::BTreeSet;

const MEMBER: &str = "m.room.member";

/// Appends `"!room":{…}` if there is anything to tell of it; answers whether there was.
pub(crate) fn write(
    scene: &Scene<'_>,
    out: &mut Vec<u8>,
    sorted: &Sorted,
    config: &RoomConfig,
) -> Result<bool, ReadError> {
    let known = scene.told.and_then(|told| told.rooms.get(&sorted.room));
    let widened = known.is_some_and(|known| *known.config != *config);
    let moved = known.is_none_or(|known| sorted.newest > known.position || sorted.member.position > known.position);
    if !moved && !widened {
        return Ok(false);
    }
    let room = scene.syncer.room(scene.read, sorted.room)?;
    write_string(out, room.id.as_str());
    out.extend_from_slice(b":{\"bump_stamp\":");
    write_number(out, sorted.bump.0);
    // Coming in anew, the user is told all of the room again.
    let known = scene.known(sorted.room, sorted.member)?;
    if known.is_none() {
        out.extend_from_slice(b",\"initial\":true");
    }
    out.extend_from_slice(b",\"membership\":");
    write_string(out, sorted.member.membership.as_str());
    match sorted.member.membership {
        Membership::Invite | Membership::Knock => write_invited(scene, out, sorted)?,
        _ => write_joined(scene, out, sorted, config, known)?,
    }
    out.push(b'}');
    Ok(true)
}

fn write_invited(scene: &Scene<'_>, out: &mut Vec<u8>, sorted: &Sorted) -> Result<(), ReadError> {
    let own = log::known_event(scene.read, sorted.member.position)?;
    let own = EventRow::decode(&own)?;
    let request = super::as_request(scene);
    let shared = shared_scene(scene, &request);
    out.extend_from_slice(b",\"invite_state\":[");
    write_stripped(&shared, out, sorted.room, &own)?;
    out.push(b']');
    write_names(scene, out, sorted.room)
}

fn write_joined(
    scene: &Scene<'_>,
    out: &mut Vec<u8>,
    sorted: &Sorted,
    config: &RoomConfig,
    known: Option<&ToldRoom>,
) -> Result<(), ReadError> {
    let read = scene.read;
    let reader = Reader {
        user: scene.who.user,
        user_id: &scene.who.user_id,
        device: scene.who.device,
        now_ms: scene.now_ms,
        ignored: &scene.ignored,
    };
    let standing = Standing::of(read, scene.who.user, sorted.room)?;
    let mut view = View::new(read, sorted.room, None, reader, standing);
    // A longer timeline than before is told as a whole: the client throws the short one away.
    let is_longer = known.is_some_and(|known| config.timeline_limit > known.config.timeline_limit);
    let since = known.filter(|_| !is_longer).map(|known| known.position);
    let filter = EventFilter::default();
    let request = PageRequest {
        from: None,
        to: since.map(Point::after),
        direction: Order::Descending,
        limit: config.timeline_limit.min(TIMELINE_MAX),
        filter: &filter,
    };
    let mut page = match timeline::page(read, sorted.room, &standing, &mut view, &request) {
        Ok(page) => page,
        Err(LookError::NotMember) => Page::default(),
        Err(LookError::Read(error)) => return Err(error),
    };
    page.entries.reverse();
    let limited = page.end.is_some();
    if is_longer {
        out.extend_from_slice(b",\"unstable_expanded_timeline\":true");
    }
    out.extend_from_slice(b",\"timeline\":");
    timeline::write_events(out, &mut view, &page.entries)?;
    out.extend_from_slice(if limited {
        b",\"limited\":true"
    } else {
        b",\"limited\":false"
    });
    let live = scene.told.map_or(0, |told| {
        page.entries
            .iter()
            .filter(|entry| entry.position > told.position)
            .count()
    });
    out.extend_from_slice(b",\"num_live\":");
    write_number(out, live as u64);
    if let Some(first) = page.entries.first() {
        out.extend_from_slice(b",\"prev_batch\":");
        write_string(out, &Point::before(first.order).token(scene.syncer.store().epoch()));
    }
    let required = required(scene, sorted.room, config, known, &page)?;
    if !required.is_empty() {
        out.extend_from_slice(b",\"required_state\":[");
        for (index, position) in required.into_iter().enumerate() {
            comma(out, index);
            let bytes = log::known_event(read, position)?;
            view.write(out, position, &EventRow::decode(&bytes)?)?;
        }
        out.push(b']');
    }
    if sorted.member.membership == Membership::Join {
        let counts = scene
            .syncer
            .unread
            .counts(read, scene.who.user, &scene.who.user_id, sorted.room)?
            .total();
        out.extend_from_slice(b",\"notification_count\":");
        write_number(out, counts.notification);
        out.extend_from_slice(b",\"highlight_count\":");
        write_number(out, counts.highlight);
        if let Some(head) = Head::of(read, sorted.room)? {
            out.extend_from_slice(b",\"joined_count\":");
            write_number(out, u64::from(head.joined));
            out.extend_from_slice(b",\"invited_count\":");
            write_number(out, u64::from(head.invited));
        }
    }
    write_names(scene, out, sorted.room)
}

/// Name, avatar, heroes, and whether it is a direct chat.
fn write_names(scene: &Scene<'_>, out: &mut Vec<u8>, room: RoomNum) -> Result<(), ReadError> {
    let id = scene.syncer.room(scene.read, room)?;
    if direct(scene)?.contains(id.id.as_str()) {
        out.extend_from_slice(b",\"is_dm\":true");
    }
    let name = match text_of(scene.read, room, "m.room.name", "name")? {
        Some(name) => Some(name),
        None => text_of(scene.read, room, "m.room.canonical_alias", "alias")?,
    };
    if let Some(name) = name {
        out.extend_from_slice(b",\"name\":");
        write_string(out, &name);
    }
    match text_of(scene.read, room, "m.room.avatar", "url")? {
        Some(avatar) => {
            out.extend_from_slice(b",\"avatar\":");
            write_string(out, &avatar);
        }
        // What is left out has not changed: a client would go on showing an avatar that was taken away.
        None => out.extend_from_slice(b",\"avatar\":null"),
    }
    let Some(heroes) = summary::heroes(scene.read, room, scene.who.user)? else {
        return Ok(());
    };
    out.extend_from_slice(b",\"heroes\":[");
    for (index, hero) in heroes.into_iter().enumerate() {
        comma(out, index);
        let user_id = user::known_id(scene.read, hero)?;
        out.extend_from_slice(b"{\"user_id\":");
        write_string(out, user_id.as_str());
        if let Some(position) = state::current(scene.read, room, MEMBER, user_id.as_str())? {
            let bytes = log::known_event(scene.read, position)?;
            let content: Option<serde_json::Value> = serde_json::from_str(EventRow::decode(&bytes)?.content).ok();
            for field in ["displayname", "avatar_url"] {
                if let Some(text) = content.as_ref().and_then(|content| content.get(field)?.as_str()) {
                    out.push(b',');
                    write_string(out, field);
                    out.push(b':');
                    write_string(out, text);
                }
            }
        }
        out.push(b'}');
    }
    out.push(b']');
    Ok(())
}

/// The state events that were asked for and that the client does not have.
fn required(
    scene: &Scene<'_>,
    room: RoomNum,
    config: &RoomConfig,
    known: Option<&ToldRoom>,
    page: &Page,
) -> Result<BTreeSet<Position>, ReadError> {
    let me = scene.who.user_id.as_str();
    let mut found = BTreeSet::new();
    for pair in &config.required_state {
        // What was asked for before is told as far as it changed.
        let since = known
            .filter(|known| known.config.required_state.contains(pair))
            .map(|known| known.position);
        let mut add = |position: Position| {
            if since.is_none_or(|since| position > since) {
                found.insert(position);
            }
        };
        let room_key = Key::new().u32(room.0);
        match (pair.0.as_str(), pair.1.as_str()) {
            ("*", "*") => log::each_current(scene.read, &KeyRange::prefix(&room_key), &mut |_, _, position| {
                add(position)
            })?,
            ("*", key) => {
                let key = if key == "$ME" { me } else { key };
                log::each_current(
                    scene.read,
                    &KeyRange::prefix(&room_key),
                    &mut |_, state_key, position| {
                        if state_key == key {
                            add(position);
                        }
                    },
                )?;
            }
            (event_type, "*") => {
                let range = KeyRange::prefix(&room_key.str(event_type));
                log::each_current(scene.read, &range, &mut |_, _, position| add(position))?;
            }
            (MEMBER, "$LAZY") => {
                // Whoever came or went in a gap sent nothing that the client gets: it would take who left for a member.
                if let Some(since) = since.filter(|_| page.end.is_some()) {
                    let range = KeyRange::prefix(&room_key.str(MEMBER));
                    log::each_current(scene.read, &range, &mut |_, _, position| {
                        if position > since {
                            found.insert(position);
                        }
                    })?;
                }
                for entry in &page.entries {
                    if let Some(position) = state::current(scene.read, room, MEMBER, entry.row()?.sender)? {
                        found.insert(position);
                    }
                }
            }
            (event_type, key) => {
                let key = if key == "$ME" { me } else { key };
                if let Some(position) = state::current(scene.read, room, event_type, key)? {
                    add(position);
                }
            }
        }
    }
    Ok(found)
}

/// The same scene as `/sync` sees it.
pub(super) fn shared_scene<'s>(scene: &'s Scene<'_>, request: &'s crate::Request) -> crate::answer::Scene<'s> {
    crate::answer::Scene {
        syncer: scene.syncer,
        read: scene.read,
        who: scene.who,
        request,
        ephemeral: scene.ephemeral,
        now_ms: scene.now_ms,
        epoch: scene.syncer.store().epoch(),
    }
}
