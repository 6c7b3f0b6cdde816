//! What is committed at one moment: redb at its last checkpoint, and the memtables over it.

use crate::memtable::Memtable;
use crate::merge::{DiskRows, Layer, disk_value};
use crate::row_cache::{Generation, RowCache};
use crate::runs::AllGathered;
use crate::shelf::SHELVES;
use crate::table_runs::TableRuns;
use crate::{Bytes, Position, ReadError, Table};
use std::ops::Bound;
use std::sync::Arc;

/// redb at a checkpoint, with every table opened once: opening one costs more than reading from it.
pub(crate) struct Base {
    /// By table id. A table that redb does not have yet is empty.
    tables: Vec<Option<DiskRows>>,
    /// By table id; for gathered tables.
    runs: Vec<TableRuns>,
    /// The blocks of all shelves; `None` as long as there are none.
    blocks: Option<DiskRows>,
    /// Rows of this state and of others.
    kept: Arc<RowCache>,
    /// Which state this is.
    generation: Generation,
}

impl Base {
    /// Opens `tables`, which are sorted by id, in one transaction of redb, in which `gathered` is what the runs hold. It is the
    /// state that `kept` was told of last.
    pub(crate) fn open(
        txn: &redb::ReadTransaction,
        tables: &[Table],
        gathered: &AllGathered,
        kept: &Arc<RowCache>,
    ) -> Result<Self, redb::Error> {
        let end = tables.last().map_or(0, |table| usize::from(table.id) + 1);
        let mut slots = Vec::new();
        slots.resize_with(end, || None);
        let open = |definition| match txn.open_table(definition) {
            Ok(opened) => Ok(Some(opened)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(redb::Error::from(error)),
        };
        for table in tables {
            let opened = open(redb::TableDefinition::new(table.name))?;
            if let Some(slot) = slots.get_mut(usize::from(table.id)) {
                *slot = opened;
            }
        }
        let mut runs = vec![TableRuns::default(); end];
        for (id, gathered) in gathered {
            if let Some(slot) = runs.get_mut(usize::from(*id)) {
                *slot = gathered.runs();
            }
        }
        Ok(Self {
            tables: slots,
            runs,
            blocks: open(SHELVES)?,
            kept: Arc::clone(kept),
            generation: kept.generation(),
        })
    }

    /// One row of a table of redb.
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let Some(rows) = self.rows_of(table) else {
            return Ok(None);
        };
        if !table.kept {
            return disk_value(rows, key);
        }
        if let Some(row) = self.kept.get(table, key, self.generation) {
            return Ok(Some(row));
        }
        let row = disk_value(rows, key)?;
        if let Some(row) = &row {
            self.kept.put(table, key, self.generation, row);
        }
        Ok(row)
    }

    fn rows_of(&self, table: Table) -> Option<&DiskRows> {
        self.tables.get(usize::from(table.id))?.as_ref()
    }

    fn runs_of(&self, table: Table) -> Option<&TableRuns> {
        self.runs.get(usize::from(table.id)).filter(|_| table.gathered)
    }
}

/// Everything that a snapshot needs. A commit, a freeze and a checkpoint each publish a new one.
#[derive(Clone)]
pub(crate) struct View {
    /// `None` for a store in memory.
    pub(crate) base: Option<Arc<Base>>,
    /// The memtable that a checkpoint is moving into redb.
    pub(crate) frozen: Option<Arc<Memtable>>,
    /// The memtable that commits go to.
    pub(crate) active: Arc<Memtable>,
    /// The newest commit that is visible.
    pub(crate) sequence: u64,
    /// The newest position that was issued up to there.
    pub(crate) position: Position,
}

impl View {
    /// One row.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        for memtable in std::iter::once(&self.active).chain(&self.frozen) {
            let rows = memtable.rows_of(table).ok_or_else(|| undeclared(table))?;
            if let Some(value) = rows.get(key).and_then(|entry| entry.value().at(self.sequence)) {
                return Ok(value);
            }
        }
        let Some(base) = &self.base else { return Ok(None) };
        if let Some(runs) = base.runs_of(table)
            && let Some(value) = runs.find(base.blocks.as_ref(), key)?
        {
            return Ok(value);
        }
        base.row(table, key)
    }

    /// Adds the layers of a table, the newest first.
    pub(crate) fn layers<'a>(
        &'a self,
        table: Table,
        bounds: (Bound<&'a [u8]>, Bound<&'a [u8]>),
        layers: &mut Vec<Layer<'a>>,
    ) -> Result<(), ReadError> {
        for memtable in std::iter::once(&self.active).chain(&self.frozen) {
            let rows = memtable.rows_of(table).ok_or_else(|| undeclared(table))?;
            if !rows.is_empty() {
                layers.push(Layer::memory(rows, bounds, self.sequence));
            }
        }
        let Some(base) = &self.base else { return Ok(()) };
        if let Some(runs) = base.runs_of(table) {
            runs.layers(base.blocks.as_ref(), bounds, layers)?;
        }
        if let Some(rows) = base.rows_of(table) {
            layers.push(Layer::disk(rows, bounds)?);
        }
        Ok(())
    }
}

/// Reading a table that nobody declared is a fault of the program.
pub(crate) fn undeclared(table: Table) -> ReadError {
    ReadError::Database(format!(
        "the table {} (id {}) is not among the tables of this store",
        table.name, table.id
    ))
}
