//! The rows that are newer than redb, in memory: many readers, one publisher, several versions of a row.
//!
//! Nothing is ever removed from a memtable; it is dropped as a whole once a checkpoint moved it into redb
//! and the last snapshot that needs it is gone.

use crate::{Bytes, Table};
use crossbeam_skiplist::SkipMap;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a row costs beside its key and value: the node of the skip list, the version, the reference counts.
const ROW_OVERHEAD: usize = 160;

/// The versions of one row, oldest first. `None` is a deletion.
pub(crate) struct Versions {
    first: (u64, Option<Bytes>),
    later: RwLock<Vec<(u64, Option<Bytes>)>>,
}

impl Versions {
    /// The newest version that a snapshot at `sequence` sees.
    pub(crate) fn at(&self, sequence: u64) -> Option<Option<Bytes>> {
        let later = self.later.read();
        if let Some((_, value)) = later.iter().rev().find(|(written, _)| *written <= sequence) {
            return Some(value.clone());
        }
        drop(later);
        (self.first.0 <= sequence).then(|| self.first.1.clone())
    }

    /// The newest version of all.
    pub(crate) fn newest(&self) -> Option<Bytes> {
        match self.later.read().last() {
            Some((_, value)) => value.clone(),
            None => self.first.1.clone(),
        }
    }
}

/// The rows of one table, ordered by key.
pub(crate) type Rows = SkipMap<Bytes, Versions>;

/// A memtable.
pub(crate) struct Memtable {
    /// By table id; `None` where no table is declared.
    tables: Vec<Option<Rows>>,
    bytes: AtomicUsize,
    rows: AtomicUsize,
}

impl Memtable {
    /// An empty one for `tables`, which are sorted by id.
    pub(crate) fn new(tables: &[Table]) -> Self {
        let end = tables.last().map_or(0, |table| usize::from(table.id) + 1);
        let mut slots = Vec::new();
        slots.resize_with(end, || None);
        for table in tables {
            if let Some(slot) = slots.get_mut(usize::from(table.id)) {
                *slot = Some(Rows::new());
            }
        }
        Self {
            tables: slots,
            bytes: AtomicUsize::new(0),
            rows: AtomicUsize::new(0),
        }
    }

    /// The rows of a table; `None` if it was not declared.
    pub(crate) fn rows_of(&self, table: Table) -> Option<&Rows> {
        self.tables.get(usize::from(table.id))?.as_ref()
    }

    /// The keys of all rows in tables whose rows are kept one by one.
    pub(crate) fn kept_keys<'m>(&'m self, tables: &'m [Table]) -> impl Iterator<Item = (Table, Bytes)> + 'm {
        let kept = tables.iter().filter(|table| table.kept.is_some());
        let rows = kept.filter_map(|table| Some((*table, self.rows_of(*table)?)));
        rows.flat_map(|(table, rows)| rows.iter().map(move |row| (table, row.key().clone())))
    }

    /// Adds a version. Only the one who publishes calls this, with sequences that never fall.
    /// A row of an undeclared table is left out and reported by `false`.
    pub(crate) fn insert(&self, table: u16, key: Bytes, sequence: u64, value: Option<Bytes>) -> bool {
        let Some(rows) = self.tables.get(usize::from(table)).and_then(Option::as_ref) else {
            return false;
        };
        let mut size = ROW_OVERHEAD + key.len() + value.as_ref().map_or(0, Bytes::len);
        let mut value = Some(value);
        let entry = rows.get_or_insert_with(key, || Versions {
            first: (sequence, value.take().flatten()),
            later: RwLock::new(Vec::new()),
        });
        if let Some(value) = value {
            size -= entry.key().len();
            entry.value().later.write().push((sequence, value));
        } else {
            self.rows.fetch_add(1, Ordering::Relaxed);
        }
        self.bytes.fetch_add(size, Ordering::Relaxed);
        true
    }

    /// About how much memory the rows take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many different rows there are.
    pub(crate) fn row_count(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::Memtable;
    use crate::{Bytes, Table};

    #[test]
    fn a_snapshot_sees_its_version() {
        let table = Table::new(3, "t");
        let memtable = Memtable::new(&[table]);
        for sequence in 2..5u64 {
            let value = (sequence != 3).then(|| Bytes::from(sequence.to_string()));
            assert!(memtable.insert(3, Bytes::from_static(b"k"), sequence, value));
        }
        let rows = memtable.rows_of(table).unwrap();
        let entry = rows.get(b"k".as_slice()).unwrap();
        assert_eq!(entry.value().at(1), None);
        assert_eq!(entry.value().at(2), Some(Some(Bytes::from_static(b"2"))));
        assert_eq!(entry.value().at(3), Some(None));
        assert_eq!(entry.value().at(9), Some(Some(Bytes::from_static(b"4"))));
        assert_eq!(entry.value().newest(), Some(Bytes::from_static(b"4")));
        assert_eq!(memtable.row_count(), 1);
        assert!(!memtable.insert(2, Bytes::new(), 9, None));
    }
}
