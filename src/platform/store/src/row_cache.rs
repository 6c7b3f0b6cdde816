//! Single rows of redb that were read lately. It must never tell a reader a row that its snapshot does not have.
//!
//! redb remembers pages. Where rows that are read together lie far apart, as the events of one room do among those of all
//! others, it keeps a page for the sake of one row in it, and the rows alone take a third of that.
//!
//! A row is the same in all states of redb from the checkpoint at which it was read up to the one that changes it. Each
//! checkpoint has a number here; a row is kept with the number of the state that it was read from, and goes when a checkpoint
//! changes it, before anybody sees that checkpoint. So a reader may take what is not newer than its own state, and may
//! leave what it has read itself as long as its own state is the newest.
//!
//! Whoever reads through a room from its end to its beginning would push everything out for rows that are gone again before
//! they are asked for a second time. Once the memory is used up, only some of the rows that are missing come in: so most of
//! those that are there stay until they are of use.

use crate::{Bytes, Table};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Parts that are locked apart from each other.
const SHARDS: usize = 16;
/// What a row costs beside its bytes: its place, its key in the index, the reference count.
const ROW_OVERHEAD: usize = 112;
/// A row that is larger would push out too many others.
const ROW_BYTES_MAX: usize = 16 * 1024;
/// One of so many rows comes in once the memory is used up.
const ADMITTED_ONE_IN: u32 = 8;

/// Which state of redb: the number of checkpoints that this process has made before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u64);

/// A table and a key of eight bytes in it.
type RowKey = (u16, u64);

/// The rows.
pub(crate) struct RowCache {
    shards: Vec<Mutex<Shard>>,
    shard_bytes_max: usize,
    generation: AtomicU64,
}

#[derive(Default)]
struct Shard {
    places: HashMap<RowKey, usize>,
    slots: Vec<Slot>,
    /// Where the search for a row that may go is continued.
    hand: usize,
    bytes: usize,
    turned_away: u32,
}

struct Slot {
    key: RowKey,
    row: Bytes,
    generation: Generation,
    /// Whether it was of use since the hand came by.
    used: bool,
}

impl Slot {
    fn bytes(&self) -> usize {
        self.row.len() + ROW_OVERHEAD
    }
}

impl RowCache {
    /// An empty one that takes about `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes_max: bytes_max / SHARDS,
            generation: AtomicU64::new(0),
        }
    }

    /// The newest state.
    pub(crate) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// The row under `key`, if it is known to be in the state `generation`.
    pub(crate) fn get(&self, table: Table, key: &[u8], generation: Generation) -> Option<Bytes> {
        let key = row_key(table, key)?;
        let mut shard = self.shard(key)?.lock();
        let place = *shard.places.get(&key)?;
        let slot = shard.slots.get_mut(place)?;
        if slot.generation > generation {
            return None;
        }
        slot.used = true;
        Some(slot.row.clone())
    }

    /// Leaves a row that was read from the state `generation`.
    pub(crate) fn put(&self, table: Table, key: &[u8], generation: Generation, row: &Bytes) {
        let Some(key) = row_key(table, key) else { return };
        let Some(shard) = self.shard(key) else { return };
        if row.len() > ROW_BYTES_MAX {
            return;
        }
        let mut shard = shard.lock();
        // Under the lock: whoever changes the row counts first and takes the lock then.
        if generation != self.generation() || shard.places.contains_key(&key) {
            return;
        }
        let slot = Slot {
            key,
            row: row.clone(),
            generation,
            used: false,
        };
        if shard.bytes + slot.bytes() > self.shard_bytes_max {
            shard.turned_away = (shard.turned_away + 1) % ADMITTED_ONE_IN;
            if shard.turned_away != 0 {
                return;
            }
            while shard.bytes + slot.bytes() > self.shard_bytes_max && shard.let_one_go() {}
        }
        shard.add(slot);
    }

    /// Begins a new state of redb, in which the rows under `keys` are others. To be called when that state is durable, and
    /// before anybody reads it.
    pub(crate) fn begin(&self, keys: impl Iterator<Item = (Table, Bytes)>) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        for (table, key) in keys {
            if let Some(key) = row_key(table, &key)
                && let Some(shard) = self.shard(key)
            {
                shard.lock().remove(key);
            }
        }
    }

    /// Begins a new state of which nothing is known.
    pub(crate) fn begin_anew(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            *shard.lock() = Shard::default();
        }
    }

    fn shard(&self, (_, key): RowKey) -> Option<&Mutex<Shard>> {
        self.shards.get(usize::try_from(key % SHARDS as u64).ok()?)
    }
}

/// Only keys of eight bytes are kept.
fn row_key(table: Table, key: &[u8]) -> Option<RowKey> {
    Some((table.id, u64::from_be_bytes(key.try_into().ok()?)))
}

impl Shard {
    fn add(&mut self, slot: Slot) {
        self.bytes += slot.bytes();
        self.places.insert(slot.key, self.slots.len());
        self.slots.push(slot);
    }

    fn remove(&mut self, key: RowKey) {
        let Some(place) = self.places.remove(&key) else { return };
        if place >= self.slots.len() {
            return;
        }
        let gone = self.slots.swap_remove(place);
        self.bytes -= gone.bytes();
        if let Some(moved) = self.slots.get(place) {
            self.places.insert(moved.key, place);
        }
    }

    /// Removes a row that was of no use since the hand came by last; `false` if there is none at all.
    fn let_one_go(&mut self) -> bool {
        // After one round no row counts as used any more.
        for _ in 0..=self.slots.len() {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let Some(slot) = self.slots.get_mut(self.hand) else {
                return false;
            };
            if !std::mem::take(&mut slot.used) {
                let key = slot.key;
                self.remove(key);
                return true;
            }
            self.hand += 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::{ADMITTED_ONE_IN, RowCache, SHARDS};
    use crate::{Bytes, Table};

    const EVENTS: Table = Table::kept(1, "events");
    const OTHERS: Table = Table::kept(2, "others");

    fn key(number: u64) -> [u8; 8] {
        number.to_be_bytes()
    }

    #[test]
    fn a_row_is_told_to_later_states_until_one_changes_it() {
        let kept = RowCache::new(1 << 20);
        let first = kept.generation();
        let row = Bytes::from_static(b"row");
        kept.put(EVENTS, &key(1), first, &row);
        kept.put(EVENTS, &key(2), first, &row);
        kept.put(EVENTS, b"another length", first, &row);
        assert_eq!(kept.get(EVENTS, &key(1), first), Some(row.clone()));
        assert_eq!(kept.get(OTHERS, &key(1), first), None);
        assert_eq!(kept.get(EVENTS, b"another length", first), None);
        kept.begin([(EVENTS, Bytes::copy_from_slice(&key(2)))].into_iter());
        let second = kept.generation();
        assert!(second > first);
        assert_eq!(kept.get(EVENTS, &key(1), second), Some(row.clone()));
        assert_eq!(kept.get(EVENTS, &key(2), second), None);
        // Who still reads the first state cannot bring its row back.
        kept.put(EVENTS, &key(2), first, &row);
        assert_eq!(kept.get(EVENTS, &key(2), second), None);
        let newer = Bytes::from_static(b"newer");
        kept.put(EVENTS, &key(2), second, &newer);
        assert_eq!(kept.get(EVENTS, &key(2), first), None);
        assert_eq!(kept.get(EVENTS, &key(2), second), Some(newer));
        kept.begin_anew();
        assert_eq!(kept.get(EVENTS, &key(1), kept.generation()), None);
    }

    #[test]
    fn memory_is_bounded_and_of_use_to_who_reads_round_and_round() {
        let kept = RowCache::new(SHARDS * 20_000);
        let row = Bytes::from(vec![7; 1_000]);
        let now = kept.generation();
        // Three times as many as there is room for, which is why nothing would be found if the oldest row went each time.
        let rows = 3 * SHARDS as u64 * 17;
        let mut found = 0;
        let rounds = 6 * u64::from(ADMITTED_ONE_IN);
        for number in (0..rows).cycle().take((rounds * rows) as usize) {
            match kept.get(EVENTS, &key(number), now) {
                Some(_) => found += 1,
                None => kept.put(EVENTS, &key(number), now, &row),
            }
        }
        assert!(found > rounds * rows / 5, "{found} of {}", rounds * rows);
        for shard in &kept.shards {
            let shard = shard.lock();
            let bytes: usize = shard.slots.iter().map(super::Slot::bytes).sum();
            assert_eq!((bytes, shard.places.len()), (shard.bytes, shard.slots.len()));
            assert!(bytes <= 20_000 && bytes > 18_000, "{bytes}");
            assert!(shard.places.iter().all(|(key, place)| shard.slots[*place].key == *key));
        }
        kept.put(EVENTS, &key(rows), now, &Bytes::from(vec![7; 100_000]));
        assert_eq!(kept.get(EVENTS, &key(rows), now), None);
        for number in 0..rows {
            kept.begin([(EVENTS, Bytes::copy_from_slice(&key(number)))].into_iter());
        }
        assert!(kept.shards.iter().all(|shard| shard.lock().bytes == 0));
        assert!(kept.get(EVENTS, &key(0), kept.generation()).is_none());
    }
}
