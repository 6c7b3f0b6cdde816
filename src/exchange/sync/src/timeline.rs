//! The newest events of a room, as many as fit, and where the gap before them is.

use crate::answer::{Scene, comma};
use lamchat_base::{Position, RoomNum};
use lamchat_rooms::event::{EventRow, write_string};
use lamchat_rooms::log;
use lamchat_rooms::table::live_order;
use lamchat_rooms::timeline::{self, Entry, Point};
use lamchat_rooms::view::View;
use lamchat_store::{Order, ReadError};

/// Most events that are looked at for one room to find those that the filter wants.
const LOOKED_AT_MAX: usize = 2_000;

/// A part of a timeline.
pub(crate) struct Timeline {
    /// The events, oldest first.
    pub(crate) entries: Vec<Entry>,
    /// Whether there are more before them that the client does not have.
    pub(crate) limited: bool,
    /// Where `/messages` goes on backwards.
    pub(crate) prev: Point,
    /// Whether `entries` is every event of the span.
    pub(crate) is_complete: bool,
}

impl Timeline {
    /// One of which nothing was read.
    pub(crate) fn unread() -> Self {
        Self {
            entries: Vec::new(),
            limited: true,
            prev: Point(0),
            is_complete: false,
        }
    }

    /// The newest events after `since` (`None`: from the beginning) up to `upto` that the reader may see and wants.
    pub(crate) fn read(
        scene: &Scene<'_>,
        view: &mut View<'_>,
        room: RoomNum,
        since: Option<Position>,
        upto: Position,
    ) -> Result<Self, ReadError> {
        let filter = &scene.request.filter.timeline;
        let limit = scene.request.filter.timeline_limit();
        let after = since.map_or(0, live_order);
        let mut upto = live_order(upto);
        let mut found = Self {
            entries: Vec::new(),
            limited: false,
            prev: Point(upto),
            is_complete: true,
        };
        let id = scene.syncer.room(scene.read, room)?;
        if !filter.rooms.is_all() && !filter.rooms.allows(id.id.as_str()) {
            found.is_complete = false;
            return Ok(found);
        }
        let mut looked_at = 0;
        'all: loop {
            let want = if filter.is_all() {
                limit - found.entries.len() + 1
            } else {
                128
            };
            let places = log::places(scene.read, room, after, upto, Order::Descending, want)?;
            let is_last = places.len() < want;
            for (order, position) in places {
                looked_at += 1;
                let bytes = log::known_event(scene.read, position)?;
                let row = EventRow::decode(&bytes)?;
                let is_wanted = filter.is_all() || filter.allows(&row);
                if is_wanted && view.is_visible(position, &row)? {
                    if found.entries.len() == limit || looked_at > LOOKED_AT_MAX {
                        found.limited = true;
                        found.prev = Point(order);
                        break 'all;
                    }
                    found.entries.push(Entry { order, position, bytes });
                } else {
                    found.is_complete = false;
                    if looked_at > LOOKED_AT_MAX {
                        found.limited = true;
                        found.prev = Point(order);
                        break 'all;
                    }
                }
                upto = Point::before(order).0;
                found.prev = Point(upto);
            }
            if is_last {
                break;
            }
        }
        found.is_complete &= !found.limited;
        found.entries.reverse();
        Ok(found)
    }

    /// The position of the first event; that after everything if there is none.
    pub(crate) fn start(&self) -> Position {
        self.entries.first().map_or(Position(u64::MAX), |entry| entry.position)
    }

    /// The entry of the event at `position`, if it is among them.
    pub(crate) fn entry(&self, position: Position) -> Option<&Entry> {
        let at = self
            .entries
            .binary_search_by_key(&live_order(position), |entry| entry.order)
            .ok()?;
        self.entries.get(at).filter(|entry| entry.position == position)
    }

    /// Appends `"timeline":{…}`.
    pub(crate) fn write(&self, scene: &Scene<'_>, out: &mut Vec<u8>, view: &mut View<'_>) -> Result<(), ReadError> {
        out.extend_from_slice(b"\"timeline\":{\"events\":");
        match &scene.request.filter.event_fields {
            None => timeline::write_events(out, view, &self.entries)?,
            Some(_) => {
                let mut whole = Vec::new();
                timeline::write_events(&mut whole, view, &self.entries)?;
                write_pruned(scene, out, &whole)?;
            }
        }
        out.extend_from_slice(if self.limited {
            b",\"limited\":true,\"prev_batch\":"
        } else {
            b",\"limited\":false,\"prev_batch\":"
        });
        write_string(out, &self.prev.token(scene.epoch));
        out.push(b'}');
        Ok(())
    }
}

/// Appends the events in the JSON array `whole` with only those members that the filter wants.
pub(crate) fn write_pruned(scene: &Scene<'_>, out: &mut Vec<u8>, whole: &[u8]) -> Result<(), ReadError> {
    let Some(fields) = &scene.request.filter.event_fields else {
        out.extend_from_slice(whole);
        return Ok(());
    };
    let malformed = |error: serde_json::Error| ReadError::Malformed {
        table: "rooms.event",
        detail: error.to_string(),
    };
    let events: Vec<serde_json::Value> = serde_json::from_slice(whole).map_err(malformed)?;
    out.push(b'[');
    for (index, event) in events.iter().enumerate() {
        comma(out, index);
        serde_json::to_writer(&mut *out, &fields.prune(event)).map_err(malformed)?;
    }
    out.push(b']');
    Ok(())
}
