//! The threads of a room.

use crate::event::EventRow;
use crate::event_id;
use crate::log;
use crate::relation::{self, Kind};
use crate::table::live_order;
use crate::timeline::Entry;
use crate::view::View;
use crate::visibility::{LookError, Standing};
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_store::{Read, ReadError};
use ruma::UserId;

/// Threads read at a time.
const BATCH: usize = 64;

/// How many relations are followed to find out which thread an event belongs to.
const THREAD_HOPS: usize = 3;

/// The event id of the root of the thread that an event of `room` belongs to; `None` for the main timeline, in which the
/// roots are too.
///
/// "An event is considered to be "in a thread" if: it has a `rel_type` of `m.thread`, or following the event
/// relationships, it has a parent event which references the thread root with a `rel_type` of `m.thread`. Implementations
/// should not recurse infinitely, though: a maximum of 3 hops is recommended."
pub fn root_of(read: &dyn Read, room: RoomNum, row: &EventRow<'_>) -> Result<Option<String>, ReadError> {
    let Some((mut rel_type, mut parent)) = relation::of_content(row.content) else {
        return Ok(None);
    };
    for _ in 0..THREAD_HOPS {
        if rel_type == "m.thread" {
            return Ok(Some(parent));
        }
        let Some((_, bytes)) = event_id::find(read, &parent)? else {
            return Ok(None);
        };
        let row = EventRow::decode(&bytes)?;
        match relation::of_content(row.content) {
            Some(next) if row.room == room => (rel_type, parent) = next,
            _ => return Ok(None),
        }
    }
    Ok((rel_type == "m.thread").then_some(parent))
}

/// A page of threads.
#[derive(Debug, Default)]
pub struct Threads {
    /// The roots, that with the newest answer first.
    pub roots: Vec<Entry>,
    /// The position before which the next page starts; `None` at the end.
    pub next: Option<Position>,
}

/// Which threads.
#[derive(Debug, Clone, Copy)]
pub struct ThreadRequest<'a> {
    /// Only those with a newest event before this position.
    pub before: Position,
    /// Most threads.
    pub limit: usize,
    /// Only those in which this user sent something.
    pub participated: Option<(UserNum, &'a UserId)>,
}

/// The threads of a room, by their newest event, latest first.
pub fn list(
    read: &dyn Read,
    room: RoomNum,
    standing: &Standing,
    view: &mut View<'_>,
    request: &ThreadRequest<'_>,
) -> Result<Threads, LookError> {
    standing.admit(read, room)?;
    let mut threads = Threads::default();
    let mut before = request.before;
    loop {
        let batch = relation::threads(read, room, before, BATCH)?;
        let is_last = batch.len() < BATCH;
        for (newest, root) in batch {
            if threads.roots.len() == request.limit {
                threads.next = Some(before);
                return Ok(threads);
            }
            before = newest;
            let bytes = log::known_event(read, root)?;
            let row = EventRow::decode(&bytes)?;
            if let Some((user, user_id)) = request.participated
                && row.sender != user_id.as_str()
                && !relation::children(read, room, root)?
                    .iter()
                    .any(|child| child.kind == Kind::Thread && child.sender == user)
            {
                continue;
            }
            if view.is_visible_by_rules(root, &row)? {
                threads.roots.push(Entry {
                    order: live_order(root),
                    position: root,
                    bytes,
                });
            }
        }
        if is_last {
            return Ok(threads);
        }
    }
}
