//! One answer, written piece by piece into one buffer.

use crate::device_lists::Meetings;
use crate::syncer::{Request, Syncer, Who};
use crate::token::Token;
use crate::{device_lists, invited, joined, left, presence};
use lamchat_accounts::account_data::{self, Item, Scope};
use lamchat_base::{Position, RoomNum};
use lamchat_keys::{one_time, to_device};
use lamchat_rooms::event::{write_number, write_string};
use lamchat_rooms::filter::EventFilter;
use lamchat_rooms::membership;
use lamchat_rooms::view::{Ignored, Reader};
use lamchat_rooms::{Membership, log};
use lamchat_store::{Epoch, Read, ReadError};
use std::collections::{HashMap, HashSet};

/// Most messages to a device in one answer.
const TO_DEVICE_MAX: usize = 100;
/// Memory that a room of an initial answer is likely to need, and the most that is set aside in advance.
const ROOM_BYTES_LIKELY: usize = 8 * 1024;
const RESERVED_BYTES_MAX: usize = 4 * 1024 * 1024;
const PUSH_RULES: &str = "m.push_rules";

/// Everything that an answer depends on.
pub(crate) struct Scene<'a> {
    pub(crate) syncer: &'a Syncer,
    pub(crate) read: &'a dyn Read,
    pub(crate) who: &'a Who,
    pub(crate) request: &'a Request,
    pub(crate) ephemeral: u64,
    pub(crate) now_ms: u64,
    pub(crate) epoch: Epoch,
}

impl<'a> Scene<'a> {
    /// The position from which changes are told; `None`: all is told.
    pub(crate) fn since(&self) -> Option<Position> {
        self.request.since.map(|since| since.position)
    }

    pub(crate) fn reader<'r>(&'r self, ignored: &'r Ignored) -> Reader<'r> {
        Reader {
            user: self.who.user,
            user_id: &self.who.user_id,
            device: self.who.device,
            now_ms: self.now_ms,
            ignored,
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// JSON.
    pub(crate) body: Vec<u8>,
    /// Whether it tells anything.
    pub(crate) is_news: bool,
    /// The snapshot's position.
    pub(crate) position: Position,
    /// The number of the newest change of typing.
    pub(crate) ephemeral: u64,
}

/// Writes the whole answer.
pub(crate) fn write(scene: &Scene<'_>) -> Result<Answer, ReadError> {
    let (read, who) = (scene.read, scene.who);
    let now = read.position();
    let since = scene.request.since;
    let is_still = since
        .is_some_and(|since| since.position == now && since.ephemeral == scene.ephemeral && since.to_device.is_none());
    let mut is_news = since.is_none() || scene.request.full_state;
    let messages = match since {
        _ if is_still => Vec::new(),
        Some(since) => to_device::since(read, who.device, since.to_device(), now, TO_DEVICE_MAX)?,
        None => to_device::since(read, who.device, Position(0), now, TO_DEVICE_MAX)?,
    };
    let is_cut = messages.len() == TO_DEVICE_MAX;
    let next = Token {
        epoch: scene.epoch,
        position: now,
        ephemeral: scene.ephemeral,
        to_device: messages.last().filter(|_| is_cut).map(|(position, _)| *position),
    };
    let mut out = Vec::with_capacity(if is_still { 192 } else { 4096 });
    out.extend_from_slice(b"{\"next_batch\":\"");
    out.extend_from_slice(next.to_string().as_bytes());
    out.push(b'"');
    if !is_still || scene.request.full_state {
        is_news |= write_news(scene, &mut out)?;
    }
    if !messages.is_empty() {
        is_news = true;
        out.extend_from_slice(b",\"to_device\":{\"events\":[");
        for (index, (_, message)) in messages.iter().enumerate() {
            comma(&mut out, index);
            out.extend_from_slice(message);
        }
        out.extend_from_slice(b"]}");
    }
    write_key_counts(scene, &mut out)?;
    out.push(b'}');
    Ok(Answer {
        body: out,
        is_news,
        position: now,
        ephemeral: scene.ephemeral,
    })
}

/// Writes account data, rooms and device lists; answers whether there was anything.
fn write_news(scene: &Scene<'_>, out: &mut Vec<u8>) -> Result<bool, ReadError> {
    let (read, who) = (scene.read, scene.who);
    let start = out.len();
    let items = match scene.since() {
        Some(since) => account_data::changed_since(read, who.user, since, read.position())?,
        None => account_data::everything(read, who.user)?,
    };
    let mut global: Vec<&Item> = Vec::new();
    let mut of_rooms: HashMap<RoomNum, Vec<&Item>> = HashMap::new();
    for item in &items {
        match item.scope {
            Scope::Global => global.push(item),
            Scope::Room(room) => of_rooms.entry(room).or_default().push(item),
        }
    }
    write_global(scene, out, &global)?;
    let ignored = Ignored::of(read, who.user)?;
    let reader = scene.reader(&ignored);
    let mut meetings = Meetings::default();
    let filter = &scene.request.filter;
    let rooms = membership::rooms_of(read, who.user)?;
    if scene.since().is_none() {
        out.reserve(rooms.len().saturating_mul(ROOM_BYTES_LIKELY).min(RESERVED_BYTES_MAX));
    }
    let joined_rooms: HashSet<RoomNum> = rooms
        .iter()
        .filter(|(_, member)| member.membership == Membership::Join)
        .map(|(room, _)| *room)
        .collect();
    let mut sections = Sections::begin(out);
    for (room, member) in rooms {
        if !filter.rooms.is_all() && !filter.rooms.allows(scene.syncer.room(read, room)?.id.as_str()) {
            continue;
        }
        let moved = scene.since().is_none_or(|since| member.position > since);
        match member.membership {
            Membership::Join => {
                let items = of_rooms.get(&room).map(Vec::as_slice).unwrap_or_default();
                joined::write(scene, sections.join, room, member, items, &reader, &mut meetings)?;
            }
            Membership::Invite if moved => {
                invited::write(scene, &mut sections.invite, room, member, "invite_state", &ignored)?
            }
            Membership::Knock if moved => {
                invited::write(scene, &mut sections.knock, room, member, "knock_state", &ignored)?
            }
            Membership::Leave | Membership::Ban if moved && !member.forgotten => {
                left::write(scene, &mut sections.leave, room, member, &reader, &mut meetings)?;
            }
            _ => {}
        }
    }
    sections.end();
    presence::write(scene, out, &joined_rooms, &meetings)?;
    if let Some(since) = scene.since() {
        device_lists::write(scene, out, since, &meetings)?;
    }
    Ok(out.len() != start)
}

fn write_global(scene: &Scene<'_>, out: &mut Vec<u8>, items: &[&Item]) -> Result<(), ReadError> {
    let (read, who, filter) = (scene.read, scene.who, &scene.request.filter.account_data);
    let mut written = 0;
    let mut begin = |out: &mut Vec<u8>| {
        out.extend_from_slice(if written == 0 {
            b",\"account_data\":{\"events\":["
        } else {
            b","
        });
        written += 1;
    };
    for item in items {
        if allows_item(filter, &item.event_type, who.user_id.as_str()) {
            begin(out);
            write_item(out, &item.event_type, &item.content);
        }
    }
    let has_rules = items.iter().any(|item| item.event_type == PUSH_RULES);
    if scene.request.since.is_none() && !has_rules && allows_item(filter, PUSH_RULES, who.user_id.as_str()) {
        begin(out);
        let content = lamchat_push::rules::account_data_content(read, who.user, &who.user_id)?;
        write_item(out, PUSH_RULES, &content);
    }
    if written > 0 {
        out.extend_from_slice(b"]}");
    }
    Ok(())
}

fn allows_item(filter: &EventFilter, event_type: &str, user_id: &str) -> bool {
    filter.types.allows(event_type) && filter.senders.allows(user_id)
}

/// Appends account data of a room: `,"account_data":{…}`, or nothing.
pub(crate) fn write_room_items(scene: &Scene<'_>, out: &mut Vec<u8>, items: &[&Item]) {
    let filter = &scene.request.filter.room_account_data;
    let mut written = 0;
    for item in items.iter().filter(|item| filter.types.allows(&item.event_type)) {
        out.extend_from_slice(if written == 0 {
            b",\"account_data\":{\"events\":["
        } else {
            b","
        });
        written += 1;
        write_item(out, &item.event_type, &item.content);
    }
    if written > 0 {
        out.extend_from_slice(b"]}");
    }
}

pub(crate) fn write_item(out: &mut Vec<u8>, event_type: &str, content: &[u8]) {
    out.extend_from_slice(b"{\"content\":");
    out.extend_from_slice(content);
    out.extend_from_slice(b",\"type\":");
    write_string(out, event_type);
    out.push(b'}');
}

/// Both are in every answer: a client takes an absent count for zero and uploads keys.
pub(crate) fn write_key_counts(scene: &Scene<'_>, out: &mut Vec<u8>) -> Result<(), ReadError> {
    let counts = one_time::counts(scene.read, scene.who.device)?;
    out.extend_from_slice(b",\"device_one_time_keys_count\":{");
    for (index, (algorithm, count)) in counts.one_time.iter().enumerate() {
        comma(out, index);
        write_string(out, algorithm);
        out.push(b':');
        write_number(out, u64::from(*count));
    }
    out.extend_from_slice(b"},\"device_unused_fallback_key_types\":[");
    for (index, algorithm) in counts.unused_fallback.iter().enumerate() {
        comma(out, index);
        write_string(out, algorithm);
    }
    out.push(b']');
    Ok(())
}

/// The rooms by what the user is to them.
struct Sections<'o> {
    /// The answer itself: the rooms that the user is in make up most of it, so they are written in their place.
    join: &'o mut Vec<u8>,
    start: usize,
    invite: Vec<u8>,
    knock: Vec<u8>,
    leave: Vec<u8>,
}

impl<'o> Sections<'o> {
    const HEAD: &'static [u8] = b",\"rooms\":{\"join\":{";

    fn begin(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(Self::HEAD);
        Self {
            join: out,
            start,
            invite: Vec::new(),
            knock: Vec::new(),
            leave: Vec::new(),
        }
    }

    /// Appends the other sections; an empty one is left out.
    fn end(self) {
        let out = self.join;
        let mut written = 0;
        if out.len() == self.start + Self::HEAD.len() {
            out.truncate(self.start);
        } else {
            out.push(b'}');
            written = 1;
        }
        let sections = [("invite", &self.invite), ("knock", &self.knock), ("leave", &self.leave)];
        for (name, section) in sections.into_iter().filter(|(_, section)| !section.is_empty()) {
            out.extend_from_slice(if written == 0 { b",\"rooms\":{\"" } else { b",\"" });
            written += 1;
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":{");
            out.extend_from_slice(section);
            out.push(b'}');
        }
        if written > 0 {
            out.push(b'}');
        }
    }
}

/// Begins a room in its section.
pub(crate) fn open_room(scene: &Scene<'_>, section: &mut Vec<u8>, room: RoomNum) -> Result<(), ReadError> {
    // A section is either a buffer of its own or the end of one, behind its brace.
    comma(section, usize::from(!matches!(section.last(), None | Some(b'{'))));
    write_string(section, scene.syncer.room(scene.read, room)?.id.as_str());
    section.extend_from_slice(b":{");
    Ok(())
}

pub(crate) fn comma(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

/// What the user was to a room at `since`.
pub(crate) fn membership_at(
    scene: &Scene<'_>,
    room: RoomNum,
    since: Position,
) -> Result<Option<Membership>, ReadError> {
    Ok(log::member_at(scene.read, scene.who.user, room, since)?.map(|(membership, _)| membership))
}
