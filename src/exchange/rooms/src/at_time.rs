//! The event of a timeline that is nearest to a time.
//!
//! A timeline is ordered by arrival, and the times in it are those that the senders' servers gave. They rise with the order
//! except where a clock was set back or an application service told an older time. So the place is found by halving, as if
//! they rose, and then [`NEAR`] events on both sides of it are compared.

use crate::event::EventRow;
use crate::log;
use crate::table::live_order;
use crate::timeline::Entry;
use crate::view::View;
use crate::visibility::{LookError, Standing};
use lamchat_base::RoomNum;
use lamchat_store::{Order, Read, ReadError};

/// Events on each side of the place that are compared, whatever their order.
const NEAR: usize = 64;
/// Most events that are looked at to find one that the reader may see.
const LOOKED_AT_MAX: usize = 5_000;
/// Events that are read at a time.
const BATCH: usize = 2 * NEAR;

/// The visible event nearest to `time_ms` (milliseconds since the Unix epoch) among those at or after it (ascending), or at
/// or before it (descending). `None` if there is none among those looked at.
pub fn nearest(
    read: &dyn Read,
    room: RoomNum,
    standing: &Standing,
    view: &mut View<'_>,
    time_ms: u64,
    direction: Order,
) -> Result<Option<Entry>, LookError> {
    standing.admit(read, room)?;
    let horizon = standing.horizon(read, room)?.map_or(u64::MAX, live_order);
    let newest = live_order(read.position()).min(horizon);
    let ascending = direction == Order::Ascending;
    let (mut after, mut upto) = if ascending {
        let place = last_before(read, room, newest, time_ms)?;
        let start = log::places(read, room, 0, place, Order::Descending, NEAR)?;
        (start.last().map_or(0, |(order, _)| order.saturating_sub(1)), newest)
    } else {
        let place = last_before(read, room, newest, time_ms.saturating_add(1))?;
        let start = log::places(read, room, place, newest, Order::Ascending, NEAR)?;
        (0, start.last().map_or(place, |(order, _)| *order))
    };
    let mut best: Option<(u64, Entry)> = None;
    let mut looked_at = 0;
    while looked_at < LOOKED_AT_MAX {
        let places = log::places(read, room, after, upto, direction, BATCH)?;
        let is_last = places.len() < BATCH;
        for (order, position) in places {
            looked_at += 1;
            if ascending {
                after = order;
            } else {
                upto = order.saturating_sub(1);
            }
            let bytes = log::known_event(read, position)?;
            let row = EventRow::decode(&bytes)?;
            let time = row.origin_server_ts;
            let fits = if ascending { time >= time_ms } else { time <= time_ms };
            let distance = time.abs_diff(time_ms);
            if fits && best.as_ref().is_none_or(|(least, _)| distance < *least) && view.is_visible(position, &row)? {
                best = Some((distance, Entry { order, position, bytes }));
            }
        }
        if is_last || best.is_some() {
            break;
        }
    }
    Ok(best.map(|(_, entry)| entry))
}

/// The order of the last event before `time_ms`, by halving: at most 63 look-ups.
fn last_before(read: &dyn Read, room: RoomNum, newest: u64, time_ms: u64) -> Result<u64, ReadError> {
    let (mut low, mut high) = (0, newest);
    while low < high {
        let middle = low + (high - low) / 2;
        match log::places(read, room, middle, high, Order::Ascending, 1)?.first() {
            Some((order, position)) => {
                let bytes = log::known_event(read, *position)?;
                if EventRow::decode(&bytes)?.origin_server_ts < time_ms {
                    low = *order;
                } else {
                    high = middle;
                }
            }
            None => high = middle,
        }
    }
    Ok(low)
}
