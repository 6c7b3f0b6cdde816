//! The whole store at one position, as a stream: what a backup reads and what a restore writes.

use crate::database::IMPORT_ROW;
use crate::table::META;
use crate::{Bytes, CommitError, Epoch, KeyRange, Order, Position, Read, ReadError, ReadTxn, Store, Table, WriteError};
use std::ops::ControlFlow;

/// Rows of an import are written in groups of about this many bytes.
const IMPORT_BYTES: usize = 1024 * 1024;

/// Everything in a store at one position, made by [`Store::snapshot`]. Writes go on while it is read;
/// as long as it lives, the database file keeps the pages that it needs, so it may grow meanwhile.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) reader: ReadTxn,
    pub(crate) epoch: Epoch,
    pub(crate) tables: Vec<Table>,
}

/// Called for each row of a snapshot: table, key, value. `Break` ends the walk.
pub type VisitRow<'v> = &'v mut dyn FnMut(Table, &[u8], &[u8]) -> ControlFlow<()>;

impl Snapshot {
    /// The newest position in it.
    pub fn position(&self) -> Position {
        self.reader.position()
    }

    /// The epoch of its positions.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The tables in it, by id; the store's own rows are not among them.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The same moment for reading single rows.
    pub fn reader(&self) -> &ReadTxn {
        &self.reader
    }

    /// Visits every row of every table, tables by id and rows by key, until `visit` breaks.
    /// Nothing is gathered in memory, so a slow reader (a tape, a network) may take its time inside `visit`.
    pub fn rows(&self, visit: VisitRow<'_>) -> Result<(), ReadError> {
        for table in &self.tables {
            let mut broken = false;
            self.reader
                .scan(*table, &KeyRange::all(), Order::Ascending, &mut |key, value| {
                    let flow = visit(*table, key, value);
                    broken = flow.is_break();
                    flow
                })?;
            if broken {
                break;
            }
        }
        Ok(())
    }
}

/// Why an import ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImportError {
    /// Something is in the store already.
    #[error("the store is not empty: restore into an empty data folder")]
    NotEmpty,
    /// The rows belong to a table that this program does not have.
    #[error("the backup has a table {0} that this program does not know: install a newer lamchat")]
    UnknownTable(String),
    /// The rows could not be saved.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<WriteError<ImportError>> for ImportError {
    fn from(error: WriteError<ImportError>) -> Self {
        error.flatten()
    }
}

/// Fills an empty store, made by [`Store::import`]. Until [`Import::finish`] has returned the store does not open again:
/// a restore that was cut off cannot be taken for a whole one. Blocking; for threads that may.
#[derive(Debug)]
pub struct Import {
    store: Store,
    tables: Vec<Table>,
    waiting: Vec<(Table, Bytes, Bytes)>,
    waiting_bytes: usize,
}

impl Import {
    pub(crate) fn begin(store: Store, tables: Vec<Table>) -> Result<Self, ImportError> {
        let (reader, own) = (store.read(), tables.clone());
        store.write_blocking(move |txn| {
            for table in own {
                let mut empty = true;
                reader.scan(table, &KeyRange::all(), Order::Ascending, &mut |_, _| {
                    empty = false;
                    ControlFlow::Break(())
                })?;
                if !empty {
                    return Err(ImportError::NotEmpty);
                }
            }
            txn.put(META, IMPORT_ROW, Bytes::new());
            Ok(())
        })?;
        Ok(Self {
            store,
            tables,
            waiting: Vec::new(),
            waiting_bytes: 0,
        })
    }

    /// Adds a row; `table` is the name of a declared table.
    pub fn row(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        let known = self.tables.iter().find(|known| known.name == table);
        let table = *known.ok_or_else(|| ImportError::UnknownTable(table.to_owned()))?;
        self.waiting
            .push((table, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        self.waiting_bytes += key.len() + value.len();
        if self.waiting_bytes >= IMPORT_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Commits the rows that were added so far, so that the store shows them: for changes on top before the end.
    pub fn flush(&mut self) -> Result<(), ImportError> {
        let rows = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        Ok(self.store.write_blocking(move |txn| {
            for (table, key, value) in rows {
                txn.put(table, &key, value);
            }
            Ok::<_, ImportError>(())
        })?)
    }

    /// Ends the import: positions go on after `position`, and the epoch is the one after `epoch`,
    /// so that tokens from before the backup (and from after it) lead to a full sync.
    pub fn finish(mut self, position: Position, epoch: Epoch) -> Result<Epoch, ImportError> {
        self.flush()?;
        let next = epoch.0.max(self.store.epoch().0).wrapping_add(1);
        self.store.write_blocking(move |txn| {
            txn.skip_to(position);
            txn.delete(META, IMPORT_ROW);
            txn.begin_epoch(next);
            Ok::<_, ImportError>(())
        })?;
        Ok(Epoch(next))
    }
}
