//! One ordered walk over several layers of the same table, the newer ones hiding the older ones.

use crate::changes::ChangedRows;
use crate::memtable::{Rows, Versions};
use crate::read::Visit;
use crate::run::{Run, RunRow};
use crate::shelf::{Shelf, ShelfWalk};
use crate::{Bytes, KeyRange, Order, ReadError};
use crossbeam_skiplist::map;
use redb::ReadableTable;
use std::collections::btree_map;
use std::ops::{Bound, ControlFlow};

/// A table of redb, opened for reading.
pub(crate) type DiskRows = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// First and last key of a walk.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);
/// A value of redb, in the page that it lies in.
pub(crate) type DiskGuard = redb::AccessGuard<'static, &'static [u8]>;

/// A layer and the row at which its walk stands.
pub(crate) enum Layer<'a> {
    /// Changes that are not published yet.
    Changes {
        rows: btree_map::Range<'a, Bytes, Option<Bytes>>,
        row: Option<(&'a Bytes, &'a Option<Bytes>)>,
    },
    /// A memtable, as the snapshot at `sequence` sees it.
    Memory {
        rows: map::Range<'a, [u8], Bounds<'a>, Bytes, Versions>,
        sequence: u64,
        row: Option<(map::Entry<'a, Bytes, Versions>, Option<Bytes>)>,
    },
    /// A run: the places that are left, from the first up to (not including) the last.
    Run {
        run: &'a Run,
        left: (usize, usize),
        row: Option<RunRow<'a>>,
    },
    /// A shelf.
    Shelf(Box<ShelfWalk<'a>>),
    /// redb.
    Disk {
        rows: Box<redb::Range<'a, &'static [u8], &'static [u8]>>,
        row: Option<(DiskRow<'a>, DiskRow<'a>)>,
    },
}

type DiskRow<'a> = redb::AccessGuard<'a, &'static [u8]>;

/// The bounds of a range; `None` if no key can lie between them.
pub(crate) fn bounds(range: &KeyRange) -> Option<Bounds<'_>> {
    let end = match &range.end {
        Some(end) if end.as_slice() <= range.start.as_slice() => return None,
        Some(end) => Bound::Excluded(end.as_slice()),
        None => Bound::Unbounded,
    };
    Some((Bound::Included(range.start.as_slice()), end))
}

impl<'a> Layer<'a> {
    /// A walk over unpublished changes.
    pub(crate) fn changes(rows: &'a ChangedRows, bounds: Bounds<'a>) -> Self {
        Self::Changes {
            rows: rows.range::<[u8], _>(bounds),
            row: None,
        }
    }

    /// A walk over a memtable.
    pub(crate) fn memory(rows: &'a Rows, bounds: Bounds<'a>, sequence: u64) -> Self {
        Self::Memory {
            rows: rows.range::<[u8], _>(bounds),
            sequence,
            row: None,
        }
    }

    /// A walk over a run.
    pub(crate) fn run(run: &'a Run, bounds: Bounds<'a>) -> Self {
        let left = run.range(bounds);
        Self::Run { run, left, row: None }
    }

    /// A walk over a shelf, whose blocks are in `blocks`.
    pub(crate) fn shelf(
        shelf: &'a Shelf,
        blocks: &'a impl ReadableTable<&'static [u8], &'static [u8]>,
        bounds: Bounds<'a>,
    ) -> Result<Self, ReadError> {
        Ok(Self::Shelf(Box::new(ShelfWalk::new(shelf, blocks, bounds)?)))
    }

    /// A walk over a table of redb.
    pub(crate) fn disk(rows: &'a DiskRows, bounds: Bounds<'a>) -> Result<Self, ReadError> {
        let rows = Box::new(ReadableTable::range::<&[u8]>(rows, bounds)?);
        Ok(Self::Disk { rows, row: None })
    }

    /// Goes to the next row.
    fn advance(&mut self, order: Order) -> Result<(), ReadError> {
        match self {
            Self::Changes { rows, row } => *row = step(rows, order),
            Self::Memory { rows, sequence, row } => {
                *row = loop {
                    match step(rows, order) {
                        // A row may be newer than the snapshot in all of its versions.
                        Some(entry) => {
                            if let Some(value) = entry.value().at(*sequence) {
                                break Some((entry, value));
                            }
                        }
                        None => break None,
                    }
                }
            }
            Self::Run { run, left, row } => {
                let mut places = left.0..left.1;
                *row = step(&mut places, order).and_then(|place| run.row(place));
                *left = (places.start, places.end);
            }
            Self::Shelf(walk) => walk.advance(order)?,
            Self::Disk { rows, row } => *row = step(&mut **rows, order).transpose()?,
        }
        Ok(())
    }

    /// The key at which the walk stands.
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Changes { row, .. } => row.as_ref().map(|(key, _)| key.as_ref()),
            Self::Memory { row, .. } => row.as_ref().map(|(entry, _)| entry.key().as_ref()),
            Self::Run { row, .. } => row.map(|(key, _)| key),
            Self::Shelf(walk) => walk.row().map(|(key, _)| key),
            Self::Disk { row, .. } => row.as_ref().map(|(key, _)| key.value()),
        }
    }

    /// The value at which the walk stands; `None` for a deletion.
    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Changes { row, .. } => row.as_ref().and_then(|(_, value)| value.as_deref()),
            Self::Memory { row, .. } => row.as_ref().and_then(|(_, value)| value.as_deref()),
            Self::Run { row, .. } => row.and_then(|(_, value)| value),
            Self::Shelf(walk) => walk.row().and_then(|(_, value)| value),
            Self::Disk { row, .. } => row.as_ref().map(|(_, value)| value.value()),
        }
    }
}

/// The next item of a walk in `order`.
pub(crate) fn step<I: DoubleEndedIterator>(rows: &mut I, order: Order) -> Option<I::Item> {
    match order {
        Order::Ascending => rows.next(),
        Order::Descending => rows.next_back(),
    }
}

impl Order {
    /// Whether a walk comes by `key` before it comes by `other`.
    fn is_nearer(self, key: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Ascending => key < other,
            Self::Descending => key > other,
        }
    }
}

/// Walks over the rows of `layers`, of which the first is the newest.
pub(crate) fn merge(layers: Vec<Layer<'_>>, order: Order, visit: Visit<'_>) -> Result<(), ReadError> {
    merge_all(layers, order, |key, value| match value {
        Some(value) => visit(key, value),
        None => ControlFlow::Continue(()),
    })
}

/// Like [`merge`], and visits deletions as well.
pub(crate) fn merge_all(
    mut layers: Vec<Layer<'_>>,
    order: Order,
    mut visit: impl FnMut(&[u8], Option<&[u8]>) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    for layer in &mut layers {
        layer.advance(order)?;
    }
    loop {
        layers.retain(|layer| layer.key().is_some());
        // Most scans end up in one layer: no comparisons from there on.
        if let [layer] = layers.as_mut_slice() {
            while let Some(key) = layer.key() {
                if visit(key, layer.value()).is_break() {
                    return Ok(());
                }
                layer.advance(order)?;
            }
            return Ok(());
        }
        let Some(first) = nearest(&layers, order) else {
            return Ok(());
        };
        let (newer, rest) = layers.split_at_mut(first);
        let Some((chosen, older)) = rest.split_first_mut() else {
            return Ok(());
        };
        // A timeline's newest rows are all in the newest layers: up to the first key of another layer nothing is compared.
        let next = newer.iter().chain(&*older).filter_map(Layer::key);
        let next = next.reduce(|best, key| if order.is_nearer(key, best) { key } else { best });
        let mut walked = false;
        while let Some(key) = chosen.key()
            && next.is_none_or(|next| order.is_nearer(key, next))
        {
            if visit(key, chosen.value()).is_break() {
                return Ok(());
            }
            chosen.advance(order)?;
            walked = true;
        }
        if walked {
            continue;
        }
        let Some(key) = chosen.key() else { return Ok(()) };
        if visit(key, chosen.value()).is_break() {
            return Ok(());
        }
        debug_assert!(newer.iter().all(|layer| layer.key() != Some(key)));
        for layer in older {
            if layer.key() == Some(key) {
                layer.advance(order)?;
            }
        }
        chosen.advance(order)?;
    }
}

/// The newest of the layers that stand at the nearest key.
fn nearest(layers: &[Layer<'_>], order: Order) -> Option<usize> {
    let mut best: Option<(usize, &[u8])> = None;
    for (index, layer) in layers.iter().enumerate() {
        let Some(key) = layer.key() else { continue };
        let nearer = match best {
            None => true,
            Some((_, so_far)) => order.is_nearer(key, so_far),
        };
        if nearer {
            best = Some((index, key));
        }
    }
    best.map(|(index, _)| index)
}

/// One row of redb.
pub(crate) fn disk_row(rows: &DiskRows, key: &[u8]) -> Result<Option<DiskGuard>, ReadError> {
    Ok(rows.get(key)?)
}

/// The value of one row of redb.
pub(crate) fn disk_value(rows: &DiskRows, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
    Ok(disk_row(rows, key)?.map(|guard| Bytes::copy_from_slice(guard.value())))
}

impl From<redb::StorageError> for ReadError {
    fn from(error: redb::StorageError) -> Self {
        Self::Database(error.to_string())
    }
}
