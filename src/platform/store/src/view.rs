//! What is committed at one moment: redb at its last checkpoint, and the memtables over it.

use crate::memtable::Memtable;
use crate::merge::{DiskRows, Layer, disk_row, disk_value};
use crate::row_cache::{Generation, RowCache};
use crate::runs::AllGathered;
use crate::shelf::SHELVES;
use crate::table::HeadLength;
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
        self.rows_of(table).map_or(Ok(None), |rows| disk_value(rows, key))
    }

    /// Appends the head of one row of a table of redb; `false` if there is no such row.
    fn append_head(
        &self,
        (table, length): (Table, HeadLength),
        key: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, ReadError> {
        let Some(rows) = self.rows_of(table) else {
            return Ok(false);
        };
        if self.kept.append(table, key, self.generation, out) {
            return Ok(true);
        }
        let Some(row) = disk_row(rows, key)? else {
            return Ok(false);
        };
        let head = row.value();
        let head = head.get(..length(head)).unwrap_or(head);
        self.kept.put(table, key, self.generation, head);
        out.extend_from_slice(head);
        Ok(true)
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
        match (self.newer(table, key)?, &self.base) {
            (Some(value), _) => Ok(value),
            (None, Some(base)) => base.row(table, key),
            (None, None) => Ok(None),
        }
    }

    /// The head of one row, or more of it.
    pub(crate) fn head(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let Some(length) = table.kept else {
            return self.get(table, key);
        };
        match (self.newer(table, key)?, &self.base) {
            (Some(value), _) => Ok(value),
            (None, Some(base)) => {
                let mut head = Vec::new();
                let found = base.append_head((table, length), key, &mut head)?;
                Ok(found.then(|| head.into()))
            }
            (None, None) => Ok(None),
        }
    }

    /// Appends the head of one row, or more of it; `false` if there is no such row.
    pub(crate) fn append_head(&self, table: Table, key: &[u8], out: &mut Vec<u8>) -> Result<bool, ReadError> {
        match (self.newer(table, key)?, &self.base, table.kept) {
            (Some(value), ..) => Ok(append(value.as_deref(), out)),
            (None, Some(base), Some(length)) => base.append_head((table, length), key, out),
            (None, Some(base), None) => Ok(append(base.row(table, key)?.as_deref(), out)),
            (None, None, _) => Ok(false),
        }
    }

    /// What is newer than redb's table: `None` if nothing is, `Some(None)` if the row was deleted.
    fn newer(&self, table: Table, key: &[u8]) -> Result<Option<Option<Bytes>>, ReadError> {
        for memtable in std::iter::once(&self.active).chain(&self.frozen) {
            let rows = memtable.rows_of(table).ok_or_else(|| undeclared(table))?;
            if let Some(value) = rows.get(key).and_then(|entry| entry.value().at(self.sequence)) {
                return Ok(Some(value));
            }
        }
        match &self.base {
            Some(base) => match base.runs_of(table) {
                Some(runs) => runs.find(base.blocks.as_ref(), key),
                None => Ok(None),
            },
            None => Ok(None),
        }
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

/// Appends a value; `false` if there is none.
pub(crate) fn append(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(value.unwrap_or_default());
    value.is_some()
}

/// Reading a table that nobody declared is a fault of the program.
pub(crate) fn undeclared(table: Table) -> ReadError {
    ReadError::Database(format!(
        "the table {} (id {}) is not among the tables of this store",
        table.name, table.id
    ))
}
