//! Looking back: events by position, places of a timeline, and what was before.

use crate::event::EventRow;
use crate::membership::{self, Membership};
use crate::table::{self, CURRENT, EVENT, TIMELINE};
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_store::{Bytes, KeyRange, KeyReader, Order, Read, ReadError};
use std::ops::ControlFlow;

/// The row of the event at `position`; read it with [`EventRow::decode`].
pub fn event(read: &dyn Read, position: Position) -> Result<Option<Bytes>, ReadError> {
    read.get(EVENT, &position.to_key())
}

/// The row of an event that another row refers to; a missing one is damage.
pub fn known_event(read: &dyn Read, position: Position) -> Result<Bytes, ReadError> {
    event(read, position)?.ok_or_else(|| ReadError::Malformed {
        table: EVENT.name,
        detail: format!("no event at {position}"),
    })
}

/// Visits rows of the current state in the order of types and state keys: type, state key, position.
pub fn each_current(
    read: &dyn Read,
    range: &KeyRange,
    visit: &mut dyn FnMut(&str, &str, Position),
) -> Result<(), ReadError> {
    let mut damaged = false;
    read.scan(CURRENT, range, Order::Ascending, &mut |key, value| {
        let row = (|| {
            // The type ends at its NUL; one with an escaped NUL inside takes the slow way.
            let rest = key.get(4..)?;
            let end = rest.iter().position(|byte| *byte == 0)?;
            let (event_type, state_key) = rest.split_at_checked(end)?;
            let state_key = state_key.get(1..)?;
            let position = Position(KeyReader::new(value).u64()?);
            if state_key.first() == Some(&0xFF) {
                let mut parts = KeyReader::new(rest);
                let event_type = parts.str()?;
                visit(&event_type, std::str::from_utf8(parts.rest()).ok()?, position);
            } else {
                visit(
                    std::str::from_utf8(event_type).ok()?,
                    std::str::from_utf8(state_key).ok()?,
                    position,
                );
            }
            Some(())
        })();
        damaged = row.is_none();
        if damaged {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    if damaged {
        Err(table::malformed(CURRENT))
    } else {
        Ok(())
    }
}

/// Reads `membership` out of a membership event; what is not a membership counts as having left.
pub fn membership_in(row: &EventRow<'_>) -> Membership {
    #[derive(serde::Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        membership: std::borrow::Cow<'a, str>,
    }
    let content = serde_json::from_str::<Content<'_>>(row.content).ok();
    content
        .and_then(|content| Membership::parse(&content.membership))
        .unwrap_or(Membership::Leave)
}

/// What `user` was to `room` when everything up to and including `at` had happened, found by walking back through the
/// membership events: the membership and the event that made it.
pub fn member_at(
    read: &dyn Read,
    user: UserNum,
    room: RoomNum,
    at: Position,
) -> Result<Option<(Membership, Position)>, ReadError> {
    let Some(now) = membership::of(read, user, room)? else {
        return Ok(None);
    };
    if now.position <= at {
        return Ok(Some((now.membership, now.position)));
    }
    match replaced_until(read, now.position, at)? {
        Some(position) => {
            let bytes = known_event(read, position)?;
            Ok(Some((membership_in(&EventRow::decode(&bytes)?), position)))
        }
        None => Ok(None),
    }
}

/// Follows the chain of replaced state events from `position` back to the first that is not after `at`.
pub fn replaced_until(read: &dyn Read, mut position: Position, at: Position) -> Result<Option<Position>, ReadError> {
    while position > at {
        let bytes = known_event(read, position)?;
        match EventRow::decode(&bytes)?.replaces {
            Some(older) if older < position => position = older,
            _ => return Ok(None),
        }
    }
    Ok(Some(position))
}

/// The newest place of a room's timeline: order and position.
pub fn newest(read: &dyn Read, room: RoomNum) -> Result<Option<(u64, Position)>, ReadError> {
    Ok(places(read, room, 0, u64::MAX, Order::Descending, 1)?.pop())
}

/// Places of a room's timeline (order, position) after `after` up to and including `upto`, at most `limit`.
pub fn places(
    read: &dyn Read,
    room: RoomNum,
    after: u64,
    upto: u64,
    direction: Order,
    limit: usize,
) -> Result<Vec<(u64, Position)>, ReadError> {
    let mut found = Vec::with_capacity(limit.min(64));
    if after >= upto || limit == 0 {
        return Ok(found);
    }
    let end = match upto.checked_add(1) {
        Some(end) => table::timeline_key(room, end),
        None => table::timeline_key(room, upto).u8(0),
    };
    let mut damaged = false;
    let range = KeyRange::between(&table::timeline_key(room, after + 1), &end);
    read.scan(TIMELINE, &range, direction, &mut |key, value| {
        let mut parts = KeyReader::new(key);
        parts.u32();
        match (parts.u64(), KeyReader::new(value).u64()) {
            (Some(order), Some(position)) => found.push((order, Position(position))),
            _ => damaged = true,
        }
        if found.len() < limit && !damaged {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    if damaged {
        Err(table::malformed(TIMELINE))
    } else {
        Ok(found)
    }
}
