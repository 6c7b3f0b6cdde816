//! Reading a snapshot.

use crate::merge::{bounds, merge};
use crate::view::View;
use crate::{Bytes, Position, ReadError, Table};
use std::ops::ControlFlow;
use std::sync::Arc;

/// In which direction a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the smallest key upwards.
    Ascending,
    /// From the greatest key downwards.
    Descending,
}

/// Which keys a scan visits: from `start` (inclusive) to `end` (exclusive; `None`: to the last key of the table).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub start: Vec<u8>,
    /// First key that is not visited any more.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// The whole table.
    pub fn all() -> Self {
        Self {
            start: Vec::new(),
            end: None,
        }
    }

    /// All keys that start with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while end.pop_if(|byte| *byte == 0xFF).is_some() {}
        let end = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Some(end)
            }
            None => None,
        };
        Self {
            start: prefix.to_vec(),
            end,
        }
    }

    /// From `start` (inclusive) to `end` (exclusive).
    pub fn between(start: &[u8], end: &[u8]) -> Self {
        Self {
            start: start.to_vec(),
            end: Some(end.to_vec()),
        }
    }
}

/// Called for each row of a scan: key, value. `Break` ends the scan.
pub type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// What can be read: a snapshot, or a write in progress (which sees its own changes).
pub trait Read {
    /// The value under `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// The head of the value under `key`, in a table that is kept ([`Table::kept`]). More of the value may follow it.
    fn head(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// Appends what [`Read::head`] gives; `false` if there is no such row. Costs no memory of its own for each of many rows.
    fn append_head(&self, table: Table, key: &[u8], out: &mut Vec<u8>) -> Result<bool, ReadError>;

    /// Visits the rows of `range` in `order` until `visit` breaks. Keys and values are borrowed: copy what you keep.
    fn scan(&self, table: Table, range: &KeyRange, order: Order, visit: Visit<'_>) -> Result<(), ReadError>;

    /// The newest position that this snapshot contains.
    fn position(&self) -> Position;
}

/// Conveniences over [`Read`], for every reader, `&dyn Read` included.
pub trait ReadExt: Read {
    /// The JSON value under `key`.
    fn get_json<T: serde::de::DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, ReadError> {
        self.get(table, key)?.map(|bytes| parse_json(table, &bytes)).transpose()
    }

    /// All rows of `range` in `order`, at most `limit`.
    fn rows(
        &self,
        table: Table,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let mut rows = Vec::new();
        if limit == 0 {
            return Ok(rows);
        }
        self.scan(table, range, order, &mut |key, value| {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            if rows.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(rows)
    }

    /// The first row of `range` in `order`.
    fn first(&self, table: Table, range: &KeyRange, order: Order) -> Result<Option<(Bytes, Bytes)>, ReadError> {
        Ok(self.rows(table, range, order, 1)?.pop())
    }
}

impl<R: Read + ?Sized> ReadExt for R {}

/// Parses a row that its owner keeps as JSON.
pub fn parse_json<T: serde::de::DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(bytes).map_err(|error| ReadError::Malformed {
        table: table.name,
        detail: error.to_string(),
    })
}

/// A snapshot: what was committed when it was taken, however long it lives. Cheap, `Send`, and without a lifetime.
///
/// It keeps the pages of redb that it may read from being reused: a snapshot that lives for minutes makes the file grow.
#[derive(Clone)]
pub struct ReadTxn {
    pub(crate) view: Arc<View>,
}

impl ReadTxn {
    /// The number of the newest commit in it. Grows by one with each commit of this database, through restarts too, and
    /// never falls; a restored backup is another database and counts anew.
    pub fn commit(&self) -> u64 {
        self.view.sequence
    }
}

impl std::fmt::Debug for ReadTxn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadTxn")
            .field("sequence", &self.view.sequence)
            .finish_non_exhaustive()
    }
}

impl Read for ReadTxn {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.view.get(table, key)
    }

    fn head(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.view.head(table, key)
    }

    fn append_head(&self, table: Table, key: &[u8], out: &mut Vec<u8>) -> Result<bool, ReadError> {
        self.view.append_head(table, key, out)
    }

    fn scan(&self, table: Table, range: &KeyRange, order: Order, visit: Visit<'_>) -> Result<(), ReadError> {
        let Some(bounds) = bounds(range) else { return Ok(()) };
        let mut layers = Vec::with_capacity(3);
        self.view.layers(table, bounds, &mut layers)?;
        merge(layers, order, visit)
    }

    fn position(&self) -> Position {
        self.view.position
    }
}
