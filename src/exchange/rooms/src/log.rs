//! Looking back: events by position, places of a timeline, and what was before.

use crate::event::{EventRow, head_length};
use crate::membership::{self, Membership};
use crate::table::{self, CURRENT, EVENT, TIMELINE};
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_store::{Bytes, KeyRange, KeyReader, Order, Read, ReadError};
use std::ops::ControlFlow;

/// Fewer events than this are looked up one by one.
const WALKED_MIN: usize = 4;
/// Room for so many bytes of each row is made beforehand,
const ROW_BYTES_EXPECTED: usize = 1_400;
/// but for no more than so many rows.
const ROWS_EXPECTED_MAX: usize = 64;

/// The row of the event at `position`, as far as clients see it ([`EventRow::rest`] may be missing); read it with
/// [`EventRow::decode`].
pub fn event(read: &dyn Read, position: Position) -> Result<Option<Bytes>, ReadError> {
    read.head(EVENT, &position.to_key())
}

/// The row of an event that another row refers to, as far as clients see it; a missing one is damage.
pub fn known_event(read: &dyn Read, position: Position) -> Result<Bytes, ReadError> {
    event(read, position)?.ok_or_else(|| missing(position))
}

/// The whole row of an event that another row refers to.
pub(crate) fn whole_event(read: &dyn Read, position: Position) -> Result<Bytes, ReadError> {
    read.get(EVENT, &position.to_key())?.ok_or_else(|| missing(position))
}

fn missing(position: Position) -> ReadError {
    ReadError::Malformed {
        table: EVENT.name,
        detail: format!("no event at {position}"),
    }
}

/// The rows, as far as clients see them, of several events of one timeline, in their order. They share one piece of memory.
///
/// Events that were sent one after the other lie side by side: where most of a stretch of positions was asked for, one walk
/// along it takes a third of the time that it takes to look each of them up.
pub fn known_events(read: &dyn Read, positions: &[Position]) -> Result<Vec<Bytes>, ReadError> {
    let (Some(first), Some(last)) = (positions.iter().min(), positions.iter().max()) else {
        return Ok(Vec::new());
    };
    let mut rows = Rows::of(positions.len());
    if positions.len() >= WALKED_MIN && last.0 - first.0 < 2 * positions.len() as u64 {
        walk(read, (*first, *last), positions, &mut rows)?;
    }
    for (place, position) in positions.iter().enumerate() {
        if !rows.has(place) {
            let start = rows.bytes.len();
            if !read.append_head(EVENT, &position.to_key(), &mut rows.bytes)? {
                return Err(missing(*position));
            }
            rows.end(place, start);
        }
    }
    Ok(rows.into_bytes())
}

/// Takes the rows at `positions` on one walk from the first to the last of them.
fn walk(
    read: &dyn Read,
    (first, last): (Position, Position),
    positions: &[Position],
    rows: &mut Rows,
) -> Result<(), ReadError> {
    let mut wanted: Vec<(Position, usize)> = positions.iter().copied().zip(0..).collect();
    wanted.sort_unstable();
    let mut wanted = wanted.into_iter().peekable();
    let range = KeyRange::between(&first.to_key(), &Position(last.0 + 1).to_key());
    read.scan(EVENT, &range, Order::Ascending, &mut |key, value| {
        let Some(position) = KeyReader::new(key).u64() else {
            return ControlFlow::Continue(());
        };
        while let Some((found, place)) = wanted.next_if(|(wanted, _)| wanted.0 <= position) {
            if found.0 == position {
                let start = rows.bytes.len();
                rows.bytes
                    .extend_from_slice(value.get(..head_length(value)).unwrap_or(value));
                rows.end(place, start);
            }
        }
        ControlFlow::Continue(())
    })
}

/// Rows one after the other as they are found, and where each of those that were asked for lies.
struct Rows {
    bytes: Vec<u8>,
    /// Empty: not found yet.
    places: Vec<std::ops::Range<usize>>,
}

impl Rows {
    fn of(count: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(count.min(ROWS_EXPECTED_MAX) * ROW_BYTES_EXPECTED),
            places: vec![0..0; count],
        }
    }

    fn has(&self, place: usize) -> bool {
        self.places.get(place).is_some_and(|range| !range.is_empty())
    }

    /// What was added since `start` is the row at `place`.
    fn end(&mut self, place: usize, start: usize) {
        if let Some(range) = self.places.get_mut(place) {
            *range = start..self.bytes.len();
        }
    }

    fn into_bytes(self) -> Vec<Bytes> {
        let bytes = Bytes::from(self.bytes);
        self.places.into_iter().map(|range| bytes.slice(range)).collect()
    }
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{EventRow, WALKED_MIN, known_event, known_events, places};
    use crate::create::Preset;
    use crate::tests::exchange;
    use lamchat_base::Position;
    use lamchat_store::Order;

    #[tokio::test]
    async fn a_walk_finds_what_looking_up_finds() {
        let x = exchange();
        let alice = x.user("alice").await;
        let (dense, sparse) = (
            x.room(&alice, "12", Preset::PrivateChat).await,
            x.room(&alice, "12", Preset::PrivateChat).await,
        );
        for n in 0..24 {
            let room = if n % 4 == 3 { &sparse } else { &dense };
            x.say(&alice, room, &n.to_string()).await.unwrap();
        }
        let read = x.store.read();
        for room in [dense, sparse] {
            let num = crate::room::num(&read, &room).unwrap().unwrap();
            for order in [Order::Ascending, Order::Descending] {
                let all = places(&read, num, 0, u64::MAX, order, usize::MAX).unwrap();
                let all: Vec<Position> = all.into_iter().map(|(_, position)| position).collect();
                for count in [0, 1, WALKED_MIN, all.len()] {
                    let positions = all.get(..count).unwrap();
                    let rows = known_events(&read, positions).unwrap();
                    assert_eq!(rows.len(), count);
                    for (row, position) in rows.iter().zip(positions) {
                        let single = known_event(&read, *position).unwrap();
                        let (row, single) = (EventRow::decode(row).unwrap(), EventRow::decode(&single).unwrap());
                        assert_eq!(EventRow { rest: b"", ..row }, EventRow { rest: b"", ..single });
                    }
                }
            }
        }
        let missing: Vec<Position> = (1..=1000).map(Position).collect();
        assert!(known_events(&read, &missing).is_err());
    }
}
