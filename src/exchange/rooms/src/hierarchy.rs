//! The rooms of a space, and of the spaces in it: depth first, each once, as far as the reader may see them.
//!
//! A page walks again from the root and leaves out what earlier pages showed, so that nothing is kept between them. The
//! walk has limits on rooms and on child events, so its time is bounded whatever the spaces look like. Rooms that this
//! exchange does not know are left out: nothing is fetched.

use crate::event::{EventRow, write_number};
use crate::log;
use crate::preview;
use crate::room::{self, Room};
use crate::state;
use lamchat_base::UserNum;
use lamchat_store::{Read, ReadError};
use ruma::RoomId;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

/// Most rooms of one page.
pub const PAGE_MAX: usize = 50;
/// Deepest level below the root that is looked at.
pub const DEPTH_MAX: u32 = 20;
/// Most rooms that one walk visits, shown or not.
const ROOMS_MAX: usize = 2_000;
/// Most child events that one walk reads.
const CHILD_EVENTS_MAX: usize = 20_000;
/// Most children of one space.
const CHILDREN_MAX: usize = 500;
/// Largest content of a child event in bytes; real ones have a tenth of it.
const CHILD_BYTES_MAX: usize = 8 << 10;
/// A page ends after the room with which its child events have this many bytes.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// "Must consist of ASCII characters within the range `\x20` (space) and `\x7E` (`~`), inclusive. Must not exceed 50
/// characters. `order` values with the wrong type, or otherwise invalid contents, are to be treated as though the `order`
/// key was not provided." (Matrix 1.16, `m.space.child`)
const ORDER_CHARS_MAX: usize = 50;

/// Which part of the tree.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    /// Only children that are marked as suggested.
    pub suggested_only: bool,
    /// Levels below the root; 0: the root alone.
    pub max_depth: u32,
    /// Rooms that earlier pages have shown.
    pub skip: usize,
    /// Most rooms of this page.
    pub limit: usize,
}

/// A room of the tree.
#[derive(Debug, Clone)]
pub struct Found {
    /// The room.
    pub room: Arc<Room>,
    /// Its `m.space.child` events: stripped state with `origin_server_ts`, as JSON. Empty for what is no space.
    pub children: Vec<String>,
}

/// A page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The rooms.
    pub rooms: Vec<Found>,
    /// What the next page skips; `None` at the end.
    pub next: Option<usize>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The reader may not see the root: `M_FORBIDDEN`. Also given for rooms that do not exist.
    #[error("you may not view this room, or there is no such room")]
    NotVisible,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A page of the tree under `root`.
pub fn page(read: &dyn Read, user: UserNum, root: Arc<Room>, walk: &Walk) -> Result<Page, WalkError> {
    if !preview::may_see(read, user, &root)? {
        return Err(WalkError::NotVisible);
    }
    let limit = walk.limit.clamp(1, PAGE_MAX);
    let (mut page, mut bytes, mut shown) = (Page::default(), 0, 0);
    let (mut visited, mut budget) = (HashSet::new(), CHILD_EVENTS_MAX);
    // The next room is on top: depth first.
    let mut open = vec![(0, root)];
    while let Some((depth, room)) = open.pop() {
        // A room that waits twice counts where it was reached first.
        if visited.contains(&room.num) {
            continue;
        }
        if shown >= walk.skip && (page.rooms.len() == limit || bytes >= PAGE_BYTES_MAX) {
            page.next = Some(shown);
            break;
        }
        visited.insert(room.num);
        if visited.len() > ROOMS_MAX {
            break;
        }
        let children = match room.room_type.as_deref() {
            Some("m.space") => children(read, &room, walk.suggested_only, &mut budget)?,
            _ => Vec::new(),
        };
        if depth < walk.max_depth.min(DEPTH_MAX) {
            for child in children.iter().rev() {
                if let Some(child) = room::by_id(read, &child.id)?
                    && !visited.contains(&child.num)
                    && preview::may_see(read, user, &child)?
                {
                    open.push((depth + 1, child));
                }
            }
        }
        if shown >= walk.skip {
            bytes += children.iter().map(|child| child.json.len()).sum::<usize>();
            page.rooms.push(Found {
                room,
                children: children.into_iter().map(|child| child.json).collect(),
            });
        }
        shown += 1;
    }
    Ok(page)
}

/// A valid child event.
struct Child {
    id: ruma::OwnedRoomId,
    order: Option<String>,
    time_ms: u64,
    json: String,
}

impl Child {
    /// "first order the children with a valid `order` key lexicographically by Unicode code-points (…). Then, take the
    /// remaining children and order them by the `origin_server_ts` of their `m.space.child` event in ascending numeric
    /// order, placing them after the children with a valid `order` key in the resulting set. In cases where the `order`
    /// values are the same, the children are ordered by their timestamps. If the timestamps are the same, the children are
    /// ordered lexicographically by their room IDs (state keys) in ascending order." (Matrix 1.16, "Ordering of children
    /// within a space")
    fn cmp(&self, other: &Self) -> Ordering {
        let last = (self.order.is_none(), &self.order);
        last.cmp(&(other.order.is_none(), &other.order))
            .then_with(|| self.time_ms.cmp(&other.time_ms))
            .then_with(|| self.id.cmp(&other.id))
    }
}

/// The children of a space in their order. Each event that is read costs one of `budget`.
fn children(read: &dyn Read, room: &Room, suggested_only: bool, budget: &mut usize) -> Result<Vec<Child>, ReadError> {
    let mut children = Vec::new();
    for (state_key, position) in state::current_of_type(read, room.num, "m.space.child")? {
        let Some(left) = budget.checked_sub(1) else { break };
        *budget = left;
        let bytes = log::known_event(read, position)?;
        if let Some(child) = child(&state_key, &EventRow::decode(&bytes)?, suggested_only) {
            children.push(child);
        }
    }
    children.sort_by(Child::cmp);
    children.truncate(CHILDREN_MAX);
    Ok(children)
}

/// Reads a child event; `None` if it names no child.
fn child(state_key: &str, row: &EventRow<'_>, suggested_only: bool) -> Option<Child> {
    if row.content.len() > CHILD_BYTES_MAX {
        return None;
    }
    let content: serde_json::Value = serde_json::from_str(row.content).ok()?;
    // A child without a list of servers in `via` has been taken out of the space.
    content.get("via")?.as_array()?;
    let is_suggested = content.get("suggested").and_then(|suggested| suggested.as_bool()) == Some(true);
    if suggested_only && !is_suggested {
        return None;
    }
    let order = content.get("order").and_then(|order| order.as_str());
    let order = order.filter(|order| {
        (1..=ORDER_CHARS_MAX).contains(&order.len())
            && order.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    });
    let mut json = Vec::with_capacity(row.content.len() + 256);
    row.write_stripped(&mut json);
    json.pop();
    json.extend_from_slice(b",\"origin_server_ts\":");
    write_number(&mut json, row.origin_server_ts);
    json.push(b'}');
    Some(Child {
        id: RoomId::parse(state_key).ok()?,
        order: order.map(str::to_owned),
        time_ms: row.origin_server_ts,
        json: String::from_utf8(json).ok()?,
    })
}
