//! Changing things, inside the one writer.

use crate::read::Visit;
use crate::{Bytes, KeyRange, Order, Position, Read, ReadError, Table, Topic};

/// A write in progress. It reads the newest state, its own changes included. All of its changes
/// become durable and visible together, or none (when the closure answers `Err` or panics).
pub struct WriteTxn<'w> {
    pub(crate) _todo: std::marker::PhantomData<&'w mut ()>,
}

impl WriteTxn<'_> {
    /// Sets the value under `key`.
    pub fn put(&mut self, _table: Table, _key: &[u8], _value: impl Into<Bytes>) {}

    /// Sets the value under `key` to `value` as JSON. Rows that are written rarely use this form: it can grow fields.
    pub fn put_json<T: serde::Serialize + ?Sized>(&mut self, table: Table, key: &[u8], value: &T) -> Result<(), ReadError> {
        let bytes = serde_json::to_vec(value).map_err(|error| ReadError::Malformed { table: table.name, detail: error.to_string() })?;
        self.put(table, key, bytes);
        Ok(())
    }

    /// Removes `key`; nothing happens if it is not there.
    pub fn delete(&mut self, _table: Table, _key: &[u8]) {}

    /// Removes all keys of `range` and tells how many there were.
    pub fn delete_range(&mut self, _table: Table, _range: &KeyRange) -> Result<usize, ReadError> {
        Ok(0)
    }

    /// Issues the next position of the log: greater than every one before.
    pub fn next_position(&mut self) -> Position {
        Position(0)
    }

    /// Wakes those who wait for `topic` once this write is published.
    pub fn touch(&mut self, _topic: Topic) {}
}

impl Read for WriteTxn<'_> {
    fn get(&self, _table: Table, _key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(None)
    }
    fn scan(&self, _table: Table, _range: &KeyRange, _order: Order, _visit: Visit<'_>) -> Result<(), ReadError> {
        Ok(())
    }
    fn position(&self) -> Position {
        Position(0)
    }
}
