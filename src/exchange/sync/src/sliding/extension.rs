//! What is told beside rooms.

use super::room::shared_scene;
use super::{Scene, ToldRoom, Wanted};
use crate::answer::{comma, write_item, write_key_counts};
use crate::device_lists::{self, Meetings};
use crate::state;
use crate::timeline::Timeline;
use lamchat_accounts::account_data::{self, Item, Scope};
use lamchat_base::{Position, RoomNum};
use lamchat_keys::{one_time, to_device};
use lamchat_rooms::event::write_string;
use lamchat_rooms::head::Head;
use lamchat_rooms::{Membership, log, receipt};
use lamchat_store::{Read, ReadError};
use std::collections::{BTreeMap, BTreeSet};

/// Most messages to a device in one answer.
const TO_DEVICE_MAX: usize = 100;
const PUSH_RULES: &str = "m.push_rules";

/// Appends the extensions that are on, without the braces around them; answers whether there is news in them.
pub(super) fn write(scene: &Scene<'_>, out: &mut Vec<u8>, wanted: &Wanted<'_>) -> Result<bool, ReadError> {
    let asked = &scene.body.extensions;
    let mut is_news = false;
    let mut index = 0;
    let mut next = |out: &mut Vec<u8>, name: &str| {
        comma(out, index);
        index += 1;
        write_string(out, name);
        out.push(b':');
    };
    if asked.to_device.enabled {
        next(out, "to_device");
        is_news |= write_to_device(scene, out)?;
    }
    if asked.e2ee.enabled {
        next(out, "e2ee");
        is_news |= write_e2ee(scene, out)?;
    }
    if asked.account_data.enabled {
        next(out, "account_data");
        is_news |= write_account_data(scene, out, &wanted.of(&asked.account_data))?;
    }
    if asked.receipts.enabled {
        next(out, "receipts");
        is_news |= write_by_room(scene, out, &wanted.of(&asked.receipts), |event, room, known| {
            let receipts = match known {
                Some(known) => receipt::changed_since(scene.read, room, known.position)?,
                None => receipt::of_room(scene.read, room)?,
            };
            receipt::write_event(event, scene.read, scene.who.user, &receipts)
        })?;
    }
    if asked.typing.enabled {
        next(out, "typing");
        is_news |= write_by_room(scene, out, &wanted.of(&asked.typing), |event, room, known| {
            let since = known.map(|known| known.ephemeral);
            Ok(scene.syncer.typing.write_event(event, room, since))
        })?;
    }
    Ok(is_news)
}

fn write_to_device(scene: &Scene<'_>, out: &mut Vec<u8>) -> Result<bool, ReadError> {
    let asked = &scene.body.extensions.to_device;
    let now = scene.read.position();
    let from = asked
        .since
        .as_deref()
        .and_then(|since| since.parse().ok())
        .map_or(Position(0), Position);
    let limit = asked.limit.unwrap_or(TO_DEVICE_MAX).clamp(1, TO_DEVICE_MAX);
    let messages = to_device::since(scene.read, scene.who.device, from, now, limit)?;
    let next = messages
        .last()
        .filter(|_| messages.len() == limit)
        .map_or(now, |(position, _)| *position);
    out.extend_from_slice(format!("{{\"next_batch\":\"{next}\",\"events\":[").as_bytes());
    for (index, (_, message)) in messages.iter().enumerate() {
        comma(out, index);
        out.extend_from_slice(message);
    }
    out.extend_from_slice(b"]}");
    Ok(!messages.is_empty())
}

fn write_e2ee(scene: &Scene<'_>, out: &mut Vec<u8>) -> Result<bool, ReadError> {
    let request = super::as_request(scene);
    let shared = shared_scene(scene, &request);
    let mut inner = Vec::new();
    let mut is_news = false;
    if let Some(told) = scene.told {
        device_lists::write(
            &shared,
            &mut inner,
            told.position,
            &meetings(scene, &shared, told.position)?,
        )?;
        is_news = !inner.is_empty() || one_time::counts(scene.read, scene.who.device)?.changed_at > told.position;
    }
    write_key_counts(&shared, &mut inner)?;
    out.push(b'{');
    // Each part begins with a comma.
    out.extend_from_slice(inner.get(1..).unwrap_or_default());
    out.push(b'}');
    Ok(is_news)
}

fn meetings(scene: &Scene<'_>, shared: &crate::answer::Scene<'_>, since: Position) -> Result<Meetings, ReadError> {
    let mut meetings = Meetings::default();
    for (room, member) in scene.rooms.iter().copied() {
        let was_in = if member.position > since {
            log::member_at(scene.read, scene.who.user, room, since)?.is_some_and(|(was, _)| was == Membership::Join)
        } else {
            member.membership == Membership::Join
        };
        match (was_in, member.membership == Membership::Join) {
            (false, true) => meetings.joined.push(room),
            (true, false) => meetings.left.push(room),
            (true, true) if Head::of(scene.read, room)?.is_some_and(|head| head.newest > since) => {
                let changed = state::changed_members(shared, room, since, &Timeline::unread())?;
                meetings.note_room(shared, room, since, &changed)?;
            }
            _ => {}
        }
    }
    Ok(meetings)
}

fn write_account_data(scene: &Scene<'_>, out: &mut Vec<u8>, wanted: &BTreeSet<RoomNum>) -> Result<bool, ReadError> {
    let (read, user) = (scene.read, scene.who.user);
    let mut rooms: BTreeMap<RoomNum, Vec<Item>> = BTreeMap::new();
    // A room that was out of the windows for a while is told from where it was told last.
    let mut known = BTreeMap::new();
    for (room, member) in wanted.iter().filter_map(|room| Some((*room, scene.member(*room)?))) {
        match scene.known(room, member)? {
            Some(told) => drop(known.insert(room, told.position)),
            None => drop(rooms.insert(room, account_data::all(read, user, Scope::Room(room))?)),
        }
    }
    let items = match scene.told {
        Some(told) => {
            let since = known.values().copied().fold(told.position, Position::min);
            account_data::changed_since(read, user, since, read.position())?
        }
        None => account_data::all(read, user, Scope::Global)?,
    };
    let mut global = Vec::new();
    for item in items {
        match item.scope {
            Scope::Global if scene.told.is_none_or(|told| item.position > told.position) => global.push(item),
            Scope::Room(room) if known.get(&room).is_some_and(|told| item.position > *told) => {
                rooms.entry(room).or_default().push(item);
            }
            Scope::Global | Scope::Room(_) => {}
        }
    }
    rooms.retain(|_, items| !items.is_empty());
    out.extend_from_slice(b"{\"global\":[");
    let mut written = 0;
    for item in &global {
        comma(out, written);
        written += 1;
        write_item(out, &item.event_type, &item.content);
    }
    if scene.told.is_none() && !global.iter().any(|item| item.event_type == PUSH_RULES) {
        comma(out, written);
        written += 1;
        write_item(
            out,
            PUSH_RULES,
            &lamchat_push::rules::account_data_content(read, user, &scene.who.user_id)?,
        );
    }
    out.extend_from_slice(b"],\"rooms\":{");
    for (index, (room, items)) in rooms.iter().enumerate() {
        comma(out, index);
        write_string(out, scene.syncer.room(read, *room)?.id.as_str());
        out.extend_from_slice(b":[");
        for (index, item) in items.iter().enumerate() {
            comma(out, index);
            write_item(out, &item.event_type, &item.content);
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}}");
    Ok(written > 0 || !rooms.is_empty())
}

fn write_by_room(
    scene: &Scene<'_>,
    out: &mut Vec<u8>,
    wanted: &BTreeSet<RoomNum>,
    write: impl Fn(&mut Vec<u8>, RoomNum, Option<&ToldRoom>) -> Result<bool, ReadError>,
) -> Result<bool, ReadError> {
    out.extend_from_slice(b"{\"rooms\":{");
    let mut written = 0;
    for room in wanted {
        let Some(member) = scene
            .member(*room)
            .filter(|member| member.membership == Membership::Join)
        else {
            continue;
        };
        let mut event = Vec::new();
        if write(&mut event, *room, scene.known(*room, member)?)? {
            comma(out, written);
            written += 1;
            write_string(out, scene.syncer.room(scene.read, *room)?.id.as_str());
            out.push(b':');
            out.extend_from_slice(&event);
        }
    }
    out.extend_from_slice(b"}}");
    Ok(written > 0)
}
