//! One event and what surrounds it.

use crate::event::EventRow;
use crate::event_id;
use crate::filter::EventFilter;
use crate::state::{self, StateMap};
use crate::table::live_order;
use crate::timeline::{self, Entry, Page, PageRequest, Point};
use crate::view::View;
use crate::visibility::{LookError, Standing};
use lamchat_base::{Position, RoomNum};
use lamchat_store::{Order, Read, ReadError};

/// Why an event is not shown.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is no such event in this room, or the reader may not see it: `M_NOT_FOUND`.
    #[error("there is no such event")]
    NoEvent,
    /// Not in the room: `M_FORBIDDEN`.
    #[error(transparent)]
    Look(#[from] LookError),
}

impl From<ReadError> for FindError {
    fn from(error: ReadError) -> Self {
        Self::Look(error.into())
    }
}

/// An event of `room` that the reader may see.
pub fn one(
    read: &dyn Read,
    room: RoomNum,
    standing: &Standing,
    view: &mut View<'_>,
    event_id: &str,
) -> Result<Entry, FindError> {
    standing.admit(read, room)?;
    let (position, bytes) = event_id::find(read, event_id)?.ok_or(FindError::NoEvent)?;
    let row = EventRow::decode(&bytes)?;
    if row.room != room || !view.is_visible(position, &row)? {
        return Err(FindError::NoEvent);
    }
    Ok(Entry {
        order: live_order(position),
        position,
        bytes,
    })
}

/// An event with what surrounds it.
#[derive(Debug)]
pub struct Context {
    /// The event.
    pub event: Entry,
    /// What came before, newest first; `end` continues backwards.
    pub before: Page,
    /// What came after, oldest first; `end` continues forwards.
    pub after: Page,
    /// The state after the last event of `after`.
    pub state: StateMap,
}

/// An event, about `limit` events around it, and the state at the end of them.
pub fn around(
    read: &dyn Read,
    room: RoomNum,
    standing: &Standing,
    view: &mut View<'_>,
    event_id: &str,
    limit: usize,
    filter: &EventFilter,
) -> Result<Context, FindError> {
    let event = one(read, room, standing, view, event_id)?;
    let mut page = |from: Point, direction, limit| {
        timeline::page(
            read,
            room,
            standing,
            view,
            &PageRequest {
                from: Some(from),
                to: None,
                direction,
                limit,
                filter,
            },
        )
    };
    // "The maximum number of context events to return. The limit applies to the sum of the events_before and events_after
    // arrays. The requested event ID is always returned."
    let before = page(Point::before(event.order), Order::Descending, limit / 2)?;
    let after = page(Point(event.order), Order::Ascending, limit - limit / 2)?;
    let state = state_after(read, after.entries.last().unwrap_or(&event))?;
    Ok(Context {
        event,
        before,
        after,
        state,
    })
}

/// The state after an event.
fn state_after(read: &dyn Read, last: &Entry) -> Result<StateMap, ReadError> {
    let row = last.row()?;
    let mut state = state::all_at(read, row.state_group)?;
    if let Some(state_key) = row.state_key {
        state.insert((row.event_type.to_owned(), state_key.to_owned()), last.position);
    }
    Ok(state)
}

/// The state of a room as the reader may see it: now for who is in it, as it was at their leaving for who left.
pub fn state_for(read: &dyn Read, room: RoomNum, standing: &Standing) -> Result<StateMap, LookError> {
    standing.admit(read, room)?;
    match standing.horizon(read, room)? {
        Some(left_at) => state_at(read, room, left_at).map_err(LookError::Read),
        None => Ok(state::current_all(read, room)?),
    }
}

/// The state of a room after everything up to and including `at`.
pub fn state_at(read: &dyn Read, room: RoomNum, at: Position) -> Result<StateMap, ReadError> {
    let places = crate::log::places(read, room, 0, live_order(at), Order::Descending, 1)?;
    let Some((order, position)) = places.first().copied() else {
        return Ok(StateMap::new());
    };
    let bytes = crate::log::known_event(read, position)?;
    state_after(read, &Entry { order, position, bytes })
}
