//! Pages of a room's timeline, and the tokens that say where one ends.

use crate::event::EventRow;
use crate::filter::EventFilter;
use crate::log;
use crate::state;
use crate::table::{LIVE, live_order};
use crate::view::View;
use crate::visibility::{LookError, Standing};
use lamchat_base::{Position, RoomNum};
use lamchat_store::{Bytes, Epoch, Order, Read, ReadError};
use std::collections::BTreeSet;

/// Most events of one page.
pub const PAGE_MAX: usize = 1_000;
/// Most events that one page looks at to find those that a filter or the visibility lets through.
const LOOKED_AT_MAX: usize = 5_000;

/// A point between two events of a timeline: just after the event of this order. As text `t{epoch}_{order}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point(pub u64);

/// A token that is not one of ours or belongs to another epoch: `M_INVALID_PARAM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token of this exchange")]
pub struct BadToken;

impl Point {
    /// Just after the newest event that a snapshot at `position` can contain.
    pub fn after(position: Position) -> Self {
        Self(live_order(position))
    }

    /// Just before the event at this order.
    pub fn before(order: u64) -> Self {
        Self(order.saturating_sub(1))
    }

    /// As text.
    pub fn token(self, epoch: Epoch) -> String {
        format!("t{}_{}", epoch.0, self.0)
    }

    /// From text: one of ours, or a token of `/sync` (`s{epoch}_{position}_…`).
    pub fn parse(token: &str, epoch: Epoch) -> Result<Self, BadToken> {
        let (kind, rest) = token.split_at_checked(1).ok_or(BadToken)?;
        let mut parts = rest.split('_');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).ok_or(BadToken);
        let (token_epoch, place) = (number()?, number()?);
        match kind {
            _ if token_epoch != u64::from(epoch.0) => Err(BadToken),
            "t" => Ok(Self(place)),
            "s" if place < LIVE => Ok(Self(LIVE + place)),
            _ => Err(BadToken),
        }
    }
}

/// One event of a page.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place in the timeline.
    pub order: u64,
    /// Its position.
    pub position: Position,
    /// Its row.
    pub bytes: Bytes,
}

impl Entry {
    /// The row.
    pub fn row(&self) -> Result<EventRow<'_>, ReadError> {
        EventRow::decode(&self.bytes)
    }
}

/// Which page.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<'f> {
    /// Where it starts. `None`: at the newest event (descending) or at the oldest (ascending).
    pub from: Option<Point>,
    /// Where it ends at the latest.
    pub to: Option<Point>,
    /// Which way.
    pub direction: Order,
    /// Most events.
    pub limit: usize,
    /// Which events.
    pub filter: &'f EventFilter,
}

/// A page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The events, in the direction that was asked for.
    pub entries: Vec<Entry>,
    /// Where the next page starts; `None` at the end of what there is.
    pub end: Option<Point>,
    /// Where this one started.
    pub start: Option<Point>,
}

/// Reads a page as far as the reader may see it.
pub fn page(
    read: &dyn Read,
    room: RoomNum,
    standing: &Standing,
    view: &mut View<'_>,
    request: &PageRequest<'_>,
) -> Result<Page, LookError> {
    standing.admit(read, room)?;
    let horizon = standing.horizon(read, room)?.map_or(u64::MAX, live_order);
    let newest = live_order(read.position()).min(horizon);
    let descending = request.direction == Order::Descending;
    let start = request.from.unwrap_or(Point(if descending { newest } else { 0 }));
    let (mut after, mut upto) = if descending {
        (request.to.map_or(0, |to| to.0), start.0.min(newest))
    } else {
        (start.0, request.to.map_or(newest, |to| to.0.min(newest)))
    };
    let limit = request.limit.min(PAGE_MAX);
    let mut page = Page {
        start: Some(start),
        ..Page::default()
    };
    let mut looked_at = 0;
    loop {
        // One more than is missing tells whether there is more behind it.
        let want = (limit - page.entries.len() + 1).max(if request.filter.is_all() { 1 } else { 64 });
        let places = log::places(read, room, after, upto, request.direction, want)?;
        let is_last = places.len() < want;
        let missing = places.iter().take(limit - page.entries.len());
        let positions: Vec<Position> = missing.map(|(_, position)| *position).collect();
        let rows = log::known_events(read, &positions)?;
        let rows_bytes: usize = rows.iter().map(Bytes::len).sum();
        let (mut rows, shown) = (rows.into_iter(), page.entries.len());
        for (order, position) in places {
            if page.entries.len() == limit || looked_at == LOOKED_AT_MAX {
                page.end = Some(if descending { Point(order) } else { Point::before(order) });
                let_go(page.entries.iter_mut().skip(shown), rows_bytes);
                return Ok(page);
            }
            looked_at += 1;
            if descending {
                upto = Point::before(order).0;
            } else {
                after = order;
            }
            let bytes = match rows.next() {
                Some(bytes) => bytes,
                None => log::known_event(read, position)?,
            };
            let row = EventRow::decode(&bytes)?;
            if (request.filter.is_all() || request.filter.allows(&row)) && view.is_visible(position, &row)? {
                page.entries.push(Entry { order, position, bytes });
            }
        }
        let_go(page.entries.iter_mut().skip(shown), rows_bytes);
        if is_last {
            return Ok(page);
        }
    }
}

/// The rows that were read together share their memory: where little of it is shown, that gets memory of its own, so that a
/// page does not hold all that it looked at.
fn let_go<'e>(entries: impl Iterator<Item = &'e mut Entry>, rows_bytes: usize) {
    let entries: Vec<&mut Entry> = entries.collect();
    if entries.iter().map(|entry| entry.bytes.len()).sum::<usize>() < rows_bytes / 2 {
        for entry in entries {
            entry.bytes = Bytes::copy_from_slice(&entry.bytes);
        }
    }
}

/// Appends the events as a JSON array.
pub fn write_events(out: &mut Vec<u8>, view: &mut View<'_>, entries: &[Entry]) -> Result<(), ReadError> {
    let positions = || entries.iter().map(|entry| entry.position);
    if let (Some(first), Some(last)) = (positions().min(), positions().max()) {
        view.load_relations(first, last)?;
    }
    out.push(b'[');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        view.write(out, entry.position, &entry.row()?)?;
    }
    out.push(b']');
    Ok(())
}

/// Appends the current membership events of those who sent `entries`, as a JSON array without its brackets.
pub fn write_members_of(
    out: &mut Vec<u8>,
    read: &dyn Read,
    room: RoomNum,
    view: &mut View<'_>,
    entries: &[Entry],
) -> Result<(), ReadError> {
    let mut senders = BTreeSet::new();
    for entry in entries {
        senders.insert(entry.row()?.sender);
    }
    let mut is_first = true;
    for sender in senders {
        if let Some(position) = state::current(read, room, "m.room.member", sender)? {
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            let bytes = log::known_event(read, position)?;
            view.write(out, position, &EventRow::decode(&bytes)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BadToken, Epoch, LIVE, Point};

    #[test]
    fn tokens_come_back_and_foreign_ones_are_refused() {
        let epoch = Epoch(3);
        assert_eq!(Point::parse(&Point(77).token(epoch), epoch), Ok(Point(77)));
        assert_eq!(Point::parse("s3_12_99", epoch), Ok(Point(LIVE + 12)));
        for token in [
            "",
            "t",
            "t3",
            "t4_77",
            "x3_77",
            "t3_-1",
            "s3_99999999999999999999_1",
            "ü3_1",
        ] {
            assert_eq!(Point::parse(token, epoch), Err(BadToken), "{token}");
        }
    }
}
