//! What readers see of gathered rows: runs, and shelves behind them.

use crate::filter::key_hash;
use crate::merge::{Bounds, DiskRows, Layer};
use crate::run::Run;
use crate::shelf::Shelf;
use crate::{Bytes, ReadError};
use std::ops::Bound;
use std::sync::Arc;

/// The runs and shelves of one table, as a reader sees them.
#[derive(Clone, Default)]
pub(crate) struct TableRuns {
    /// The newest first.
    runs: Vec<Arc<Run>>,
    /// All older than the runs; the newest first.
    shelves: Vec<Arc<Shelf>>,
    /// How many of them, the oldest ones, drain; and up to which key what they have is in the table. Up to there they count
    /// no more: a newer one of them may have lost the block that hid a row of an older one.
    draining: (usize, Option<Vec<u8>>),
}

impl TableRuns {
    /// Of all runs and shelves, each the newest first. `draining`: how many shelves drain, and up to which key they have come.
    pub(crate) fn new(runs: Vec<Arc<Run>>, shelves: Vec<Arc<Shelf>>, draining: (usize, Option<Vec<u8>>)) -> Self {
        Self {
            runs,
            shelves,
            draining,
        }
    }

    /// The row under `key`: `None` if no run and no shelf knows it. `blocks`: those of the shelves.
    pub(crate) fn find(&self, blocks: Option<&DiskRows>, key: &[u8]) -> Result<Option<Option<Bytes>>, ReadError> {
        if self.runs.is_empty() && self.shelves.is_empty() {
            return Ok(None);
        }
        let hash = key_hash(key);
        if let Some(value) = self.runs.iter().find_map(|run| run.find(key, hash)) {
            return Ok(Some(value));
        }
        let Some(blocks) = blocks else { return Ok(None) };
        for (shelf, done) in self.shelves() {
            if done.is_some_and(|done| key <= done) {
                break;
            }
            let found = shelf.find(blocks, key, hash)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The shelves, the newest first, each with the key up to which it counts no more.
    fn shelves(&self) -> impl Iterator<Item = (&Arc<Shelf>, Option<&[u8]>)> {
        let (draining, done) = &self.draining;
        let kept = self.shelves.len().saturating_sub(*draining);
        let shelves = self.shelves.iter().enumerate();
        shelves.map(move |(place, shelf)| (shelf, done.as_deref().filter(|_| place >= kept)))
    }

    /// Adds the layers, the newest first. `blocks`: those of the shelves.
    pub(crate) fn layers<'a>(
        &'a self,
        blocks: Option<&'a DiskRows>,
        bounds: Bounds<'a>,
        layers: &mut Vec<Layer<'a>>,
    ) -> Result<(), ReadError> {
        layers.extend(self.runs.iter().map(|run| Layer::run(run, bounds)));
        let Some(blocks) = blocks else { return Ok(()) };
        for (shelf, done) in self.shelves() {
            let Some(bounds) = after(bounds, done) else { break };
            layers.push(Layer::shelf(shelf, blocks, bounds)?);
        }
        Ok(())
    }
}

/// The part of `bounds` that lies after `done`, if there is one.
fn after<'a>((from, to): Bounds<'a>, done: Option<&'a [u8]>) -> Option<Bounds<'a>> {
    let Some(done) = done else { return Some((from, to)) };
    if let Bound::Included(to) | Bound::Excluded(to) = to
        && to <= done
    {
        return None;
    }
    let from = match from {
        Bound::Included(key) | Bound::Excluded(key) if key > done => from,
        _ => Bound::Excluded(done),
    };
    Some((from, to))
}
