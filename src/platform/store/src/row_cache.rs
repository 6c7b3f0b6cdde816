//! The heads of single rows of redb that were read lately. It must never tell a reader a row that its snapshot does not have.
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
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// Parts that are locked apart from each other.
const SHARDS: usize = 16;
/// What a row costs beside its bytes: its place, and its key in the index.
const ROW_OVERHEAD: usize = 112;
/// A row that is larger would push out too many others.
const ROW_BYTES_MAX: usize = 16 * 1024;
/// One of so many rows comes in once the memory is used up.
const ADMITTED_ONE_IN: u32 = 8;
/// So many keys more than there are rows twice over may wait before those whose rows are gone are left out.
const QUEUE_SLACK: usize = 64;

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
    slots: HashMap<RowKey, Slot, BuildHasherDefault<KeyHasher>>,
    /// The keys in the order in which their rows may go; also some whose rows are gone.
    queue: VecDeque<RowKey>,
    bytes: usize,
    turned_away: u32,
}

struct Slot {
    head: Box<[u8]>,
    generation: Generation,
    /// Whether it was of use since its turn to go came last.
    used: bool,
}

/// Spreads keys, which this server hands out itself, one after the other: nobody can make many of them meet.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u16(&mut self, part: u16) {
        self.write_u64(u64::from(part));
    }

    fn write_u64(&mut self, part: u64) {
        // An odd number near 2^64 divided by the golden ratio; the upper half of a product depends on all of the key.
        let spread = (self.0 ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }
}

impl Slot {
    fn bytes(&self) -> usize {
        self.head.len() + ROW_OVERHEAD
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

    /// Appends the head of the row under `key`, if it is known to be in the state `generation`; else `false`.
    ///
    /// It is copied: a reference count beside it would have to be fetched from memory for each row of a page.
    pub(crate) fn append(&self, table: Table, key: &[u8], generation: Generation, out: &mut Vec<u8>) -> bool {
        let mut find = || {
            let key = row_key(table, key)?;
            let mut shard = self.shard(key)?.lock();
            let slot = shard.slots.get_mut(&key)?;
            if slot.generation > generation {
                return None;
            }
            slot.used = true;
            out.extend_from_slice(&slot.head);
            Some(())
        };
        find().is_some()
    }

    /// Leaves the head of a row that was read from the state `generation`.
    pub(crate) fn put(&self, table: Table, key: &[u8], generation: Generation, head: &[u8]) {
        let Some(key) = row_key(table, key) else { return };
        let Some(shard) = self.shard(key) else { return };
        if head.len() > ROW_BYTES_MAX {
            return;
        }
        let mut shard = shard.lock();
        // Under the lock: whoever changes the row counts first and takes the lock then.
        if generation != self.generation() || shard.slots.contains_key(&key) {
            return;
        }
        let bytes = head.len() + ROW_OVERHEAD;
        if shard.bytes + bytes > self.shard_bytes_max {
            shard.turned_away = (shard.turned_away + 1) % ADMITTED_ONE_IN;
            if shard.turned_away != 0 {
                return;
            }
            while shard.bytes + bytes > self.shard_bytes_max && shard.let_one_go() {}
        }
        let slot = Slot {
            head: head.into(),
            generation,
            used: false,
        };
        shard.add(key, slot);
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
    fn add(&mut self, key: RowKey, slot: Slot) {
        if self.queue.len() > 2 * self.slots.len() + QUEUE_SLACK {
            self.queue = self.slots.keys().copied().collect();
        }
        self.bytes += slot.bytes();
        self.slots.insert(key, slot);
        self.queue.push_back(key);
    }

    fn remove(&mut self, key: RowKey) {
        if let Some(gone) = self.slots.remove(&key) {
            self.bytes -= gone.bytes();
        }
    }

    /// Removes a row that was of no use since its turn to go came last; `false` if there is none at all.
    fn let_one_go(&mut self) -> bool {
        // After one round no row counts as used any more.
        while let Some(key) = self.queue.pop_front() {
            let Some(slot) = self.slots.get_mut(&key) else {
                continue;
            };
            if std::mem::take(&mut slot.used) {
                self.queue.push_back(key);
            } else {
                self.remove(key);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{ADMITTED_ONE_IN, Generation, QUEUE_SLACK, RowCache, SHARDS};
    use crate::{Bytes, Table};

    const EVENTS: Table = Table::kept(1, "events", <[u8]>::len);
    const OTHERS: Table = Table::kept(2, "others", <[u8]>::len);

    fn key(number: u64) -> [u8; 8] {
        number.to_be_bytes()
    }

    fn found(kept: &RowCache, table: Table, key: &[u8], generation: Generation) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        let found = kept.append(table, key, generation, &mut out);
        let appended = out.strip_prefix(b"before".as_slice()).map(<[u8]>::to_vec);
        appended.filter(|appended| found || !appended.is_empty())
    }

    #[test]
    fn a_row_is_told_to_later_states_until_one_changes_it() {
        let kept = RowCache::new(1 << 20);
        let first = kept.generation();
        let row = b"row".to_vec();
        kept.put(EVENTS, &key(1), first, &row);
        kept.put(EVENTS, &key(2), first, &row);
        kept.put(EVENTS, b"another length", first, &row);
        assert_eq!(found(&kept, EVENTS, &key(1), first), Some(row.clone()));
        assert_eq!(found(&kept, OTHERS, &key(1), first), None);
        assert_eq!(found(&kept, EVENTS, b"another length", first), None);
        kept.begin([(EVENTS, Bytes::copy_from_slice(&key(2)))].into_iter());
        let second = kept.generation();
        assert!(second > first);
        assert_eq!(found(&kept, EVENTS, &key(1), second), Some(row.clone()));
        assert_eq!(found(&kept, EVENTS, &key(2), second), None);
        // Who still reads the first state cannot bring its row back.
        kept.put(EVENTS, &key(2), first, &row);
        assert_eq!(found(&kept, EVENTS, &key(2), second), None);
        let newer = b"newer".to_vec();
        kept.put(EVENTS, &key(2), second, &newer);
        assert_eq!(found(&kept, EVENTS, &key(2), first), None);
        assert_eq!(found(&kept, EVENTS, &key(2), second), Some(newer));
        kept.begin_anew();
        assert_eq!(found(&kept, EVENTS, &key(1), kept.generation()), None);
    }

    #[test]
    fn memory_is_bounded_and_of_use_to_who_reads_round_and_round() {
        let kept = RowCache::new(SHARDS * 20_000);
        let row = vec![7; 1_000];
        let now = kept.generation();
        // Three times as many as there is room for, which is why nothing would be found if the oldest row went each time.
        let rows = 3 * SHARDS as u64 * 17;
        let mut hits = 0;
        let rounds = 6 * u64::from(ADMITTED_ONE_IN);
        for number in (0..rows).cycle().take((rounds * rows) as usize) {
            match found(&kept, EVENTS, &key(number), now) {
                Some(_) => hits += 1,
                None => kept.put(EVENTS, &key(number), now, &row),
            }
        }
        assert!(hits > rounds * rows / 5, "{hits} of {}", rounds * rows);
        for shard in &kept.shards {
            let shard = shard.lock();
            let bytes: usize = shard.slots.values().map(super::Slot::bytes).sum();
            assert_eq!((bytes, shard.queue.len()), (shard.bytes, shard.slots.len()));
            assert!(bytes <= 20_000 && bytes > 18_000, "{bytes}");
            assert!(shard.queue.iter().all(|key| shard.slots.contains_key(key)));
        }
        kept.put(EVENTS, &key(rows), now, &[7; 100_000]);
        assert_eq!(found(&kept, EVENTS, &key(rows), now), None);
        for number in 0..rows {
            kept.begin([(EVENTS, Bytes::copy_from_slice(&key(number)))].into_iter());
        }
        assert!(kept.shards.iter().all(|shard| shard.lock().bytes == 0));
        assert!(found(&kept, EVENTS, &key(0), kept.generation()).is_none());
    }

    #[test]
    fn rows_that_change_again_and_again_leave_no_keys_behind() {
        let kept = RowCache::new(SHARDS * 20_000);
        for round in 0..10_000u64 {
            let key = key(round % 3 * SHARDS as u64);
            kept.put(EVENTS, &key, kept.generation(), b"row");
            assert!(found(&kept, EVENTS, &key, kept.generation()).is_some());
            kept.begin([(EVENTS, Bytes::copy_from_slice(&key))].into_iter());
        }
        let longest = kept.shards.iter().map(|shard| shard.lock().queue.len()).max();
        assert!(longest <= Some(QUEUE_SLACK + 1), "{longest:?}");
    }
}
