//! The shelves of a table: what was gathered waits there in redb, sorted, until so much has come together that many of its
//! rows go to each leaf of the table.
//!
//! Then all shelves drain into the table, a part with each checkpoint, while new ones fill. A shelf that is full costs a page
//! of redb for a hundred rows; a row of its own in a large table costs a page or two.

use crate::merge::{Layer, merge_all};
use crate::progress::{Progress, Work};
use crate::run::Run;
use crate::runs::{Gathering, RUNS};
use crate::shelf::{SHELVES, Shelf};
use crate::{Bytes, Order, ReadError, Table};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// Rows that a migration moves at a time.
const EMPTIED_AT_ONCE: usize = 10_000;

/// A row on its way.
type Moved = (Bytes, Option<Bytes>);

/// The shelves of one table, as checkpoints see them.
#[derive(Clone, Default)]
pub(crate) struct Shelves {
    /// The newest first.
    kept: Vec<Arc<Shelf>>,
    /// Those that drain, all of them older; the newest first.
    draining: Vec<Arc<Shelf>>,
    /// The last key of those that drain that is in the table.
    done: Option<Vec<u8>>,
}

impl Shelves {
    /// What redb holds. `mark`: the last number that drains, and the last key that is in the table.
    pub(crate) fn load(
        txn: &redb::ReadTransaction,
        table: Table,
        mark: Option<(u64, Vec<u8>)>,
    ) -> Result<Self, redb::Error> {
        let blocks = match txn.open_table(SHELVES) {
            Ok(blocks) => blocks,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let mut all = Vec::new();
        let mut from = Some(0);
        while let Some(number) = from
            && let Some(shelf) = Shelf::load(&blocks, table, number)?
        {
            from = shelf.number.checked_add(1);
            all.push(Arc::new(shelf));
        }
        all.reverse();
        let draining = match &mark {
            Some((last, _)) => all.split_off(all.partition_point(|shelf| shelf.number > *last)),
            None => Vec::new(),
        };
        Ok(Self {
            kept: all,
            draining,
            done: mark.map(|(_, key)| key),
        })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.draining.is_empty()
    }

    /// All of them, the newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Shelf>> {
        self.kept.iter().chain(&self.draining)
    }

    /// How many drain, and up to which key they have come.
    pub(crate) fn draining(&self) -> (usize, Option<Vec<u8>>) {
        (self.draining.len(), self.done.clone())
    }

    /// Puts a run, newer than all that is there, on a shelf of its own.
    pub(crate) fn put(
        &mut self,
        txn: &redb::WriteTransaction,
        table: Table,
        number: u64,
        run: &Run,
    ) -> Result<(), redb::Error> {
        let mut blocks = txn.open_table(SHELVES)?;
        let shelf = Shelf::write(&mut blocks, table, number, run)?;
        self.kept.insert(0, Arc::new(shelf));
        Ok(())
    }

    /// Moves a part of what drains into the table, in step with `added` rows that were added.
    pub(crate) fn drain(
        &mut self,
        txn: &redb::WriteTransaction,
        table: Table,
        added: usize,
        gathering: Gathering,
    ) -> Result<(), redb::Error> {
        if self.draining.is_empty() && self.kept.len() >= gathering.shelves {
            self.draining = std::mem::take(&mut self.kept);
        }
        if self.draining.is_empty() {
            return Ok(());
        }
        let rows: usize = self.draining.iter().map(|shelf| shelf.rows).sum();
        let usual = (gathering.rows * gathering.shelves).max(1);
        self.step(txn, table, added.saturating_mul(rows).div_ceil(usual).max(1))
    }

    /// Moves everything into the table, for a migration.
    pub(crate) fn empty(
        mut self,
        txn: &redb::WriteTransaction,
        table: Table,
        progress: &Progress,
    ) -> Result<(), redb::Error> {
        // What has begun to drain is older, and has come further.
        while !self.is_empty() {
            if self.draining.is_empty() {
                self.draining = std::mem::take(&mut self.kept);
            }
            progress.tell(Work::Drain);
            self.step(txn, table, EMPTIED_AT_ONCE)?;
        }
        Ok(())
    }

    /// Moves the next `count` rows of those that drain.
    fn step(&mut self, txn: &redb::WriteTransaction, table: Table, count: usize) -> Result<(), redb::Error> {
        let moved = self.next(txn, count)?;
        let mut own = txn.open_table(redb::TableDefinition::<&[u8], &[u8]>::new(table.name))?;
        for (key, value) in &moved {
            match value {
                Some(value) => drop(own.insert(key.as_ref(), value.as_ref())?),
                None => drop(own.remove(key.as_ref())?),
            }
        }
        let (mut blocks, mut runs) = (txn.open_table(SHELVES)?, txn.open_table(RUNS)?);
        let mark = table.id.to_be_bytes();
        match moved.last() {
            Some((last, _)) if moved.len() >= count => {
                for shelf in &self.draining {
                    shelf.remove_until(&mut blocks, last)?;
                }
                let newest = self.draining.first().map_or(0, |shelf| shelf.number);
                runs.insert(
                    mark.as_slice(),
                    [&newest.to_le_bytes(), last.as_ref()].concat().as_slice(),
                )?;
                self.done = Some(last.to_vec());
            }
            _ => {
                for shelf in self.draining.drain(..) {
                    shelf.remove(&mut blocks)?;
                }
                runs.remove(mark.as_slice())?;
                self.done = None;
            }
        }
        Ok(())
    }

    /// The next rows of those that drain, deletions included.
    fn next(&self, txn: &redb::WriteTransaction, count: usize) -> Result<Vec<Moved>, redb::Error> {
        let blocks = txn.open_table(SHELVES)?;
        let from = self.done.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let walk = |shelf| Layer::shelf(shelf, &blocks, (from, Bound::Unbounded));
        let layers: Result<Vec<_>, ReadError> = self.draining.iter().map(|shelf| walk(shelf)).collect();
        let mut rows = Vec::new();
        let merged = layers.and_then(|layers| {
            merge_all(layers, Order::Ascending, |key, value| {
                rows.push((Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice)));
                if rows.len() < count {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })
        });
        merged.map_err(|error| redb::Error::Corrupted(error.to_string()))?;
        Ok(rows)
    }
}
