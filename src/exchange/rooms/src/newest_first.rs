//! The events of several rooms, newest first: what is asked about "all rooms of a user" goes through here.
//!
//! Rooms are merged by the place of their events; of each only some places are read ahead.

use crate::log;
use lamchat_base::{Position, RoomNum};
use lamchat_store::{Order, Read, ReadError};
use std::collections::BinaryHeap;

/// Places of one room that are read at a time.
const BATCH: usize = 32;

/// A stretch of a room's timeline: orders after `after` up to and including `upto`.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// The room.
    pub room: RoomNum,
    /// Nothing at or before this order.
    pub after: u64,
    /// Nothing behind this order.
    pub upto: u64,
}

/// A place of one of the rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which of the stretches, by its index.
    pub index: usize,
    /// The room.
    pub room: RoomNum,
    /// The order in the room's timeline.
    pub order: u64,
    /// The event.
    pub position: Position,
}

/// Goes back through several rooms at once.
pub struct NewestFirst<'r> {
    read: &'r dyn Read,
    rooms: Vec<Walk>,
    /// (order, index) of the newest place of each room that has one.
    heap: BinaryHeap<(u64, usize)>,
}

struct Walk {
    stretch: Stretch,
    /// Places that were read, the newest at the end.
    places: Vec<(u64, Position)>,
    is_last: bool,
}

impl<'r> NewestFirst<'r> {
    /// Costs one look-up a room.
    pub fn new(read: &'r dyn Read, stretches: impl IntoIterator<Item = Stretch>) -> Result<Self, ReadError> {
        let (mut rooms, mut heap) = (Vec::new(), BinaryHeap::new());
        for (index, stretch) in stretches.into_iter().enumerate() {
            let Stretch { room, after, upto } = stretch;
            let places = log::places(read, room, after, upto, Order::Descending, 1)?;
            if let Some((order, _)) = places.last() {
                heap.push((*order, index));
            }
            rooms.push(Walk {
                stretch,
                places,
                is_last: false,
            });
        }
        Ok(Self { read, rooms, heap })
    }

    /// The order of what [`NewestFirst::step`] gives next.
    pub fn next_order(&self) -> Option<u64> {
        self.heap.peek().map(|(order, _)| *order)
    }

    /// The next place back; `None` at the end.
    pub fn step(&mut self) -> Result<Option<Place>, ReadError> {
        let Some((order, index)) = self.heap.pop() else {
            return Ok(None);
        };
        let Some(walk) = self.rooms.get_mut(index) else {
            return Ok(None);
        };
        let Some((_, position)) = walk.places.pop() else {
            return Ok(None);
        };
        let Stretch { room, after, .. } = walk.stretch;
        if walk.places.is_empty() && !walk.is_last {
            let before = order.saturating_sub(1);
            walk.places = log::places(self.read, room, after, before, Order::Descending, BATCH)?;
            walk.is_last = walk.places.len() < BATCH;
            walk.places.reverse();
        }
        if let Some((older, _)) = walk.places.last() {
            self.heap.push((*older, index));
        }
        Ok(Some(Place {
            index,
            room,
            order,
            position,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{NewestFirst, Stretch};
    use crate::table::{TIMELINE, timeline_key};
    use lamchat_base::{Position, RoomNum};
    use lamchat_store::{ReadError, Store};

    #[test]
    fn rooms_are_merged_and_stretches_kept() {
        let store = Store::in_memory(crate::TABLES).unwrap();
        let put = |txn: &mut lamchat_store::WriteTxn<'_>| {
            for order in 1..=300u64 {
                let room = RoomNum(1 + (order % 3) as u32);
                txn.put(TIMELINE, &timeline_key(room, order), Position(order).to_key().to_vec());
            }
            Ok::<_, ReadError>(())
        };
        store.write_blocking(put).unwrap();
        let read = store.read();
        let of = |room, after, upto| Stretch {
            room: RoomNum(room),
            after,
            upto,
        };
        let mut walk = NewestFirst::new(&read, [of(1, 0, u64::MAX), of(2, 100, 200), of(9, 0, u64::MAX)]).unwrap();
        let mut seen = Vec::new();
        while let Some(next) = walk.next_order() {
            let place = walk.step().unwrap().unwrap();
            assert_eq!((place.order, place.position), (next, Position(next)));
            seen.push((place.index, place.order));
        }
        assert_eq!(walk.step().unwrap(), None);
        let mut expected: Vec<(usize, u64)> = (1..=300)
            .filter(|order| order % 3 == 0)
            .map(|order| (0, order))
            .collect();
        expected.extend((101..=200).filter(|order| order % 3 == 1).map(|order| (1, order)));
        expected.sort_by_key(|(_, order)| std::cmp::Reverse(*order));
        assert_eq!(seen, expected);
    }
}
