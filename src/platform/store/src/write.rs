//! Changing things, inside the one writer.

use crate::changes::ChangeSet;
use crate::database::EPOCH_ROW;
use crate::merge::{Layer, bounds, merge};
use crate::read::Visit;
use crate::table::META;
use crate::view::{View, append, undeclared};
use crate::{Bytes, KeyRange, Order, Position, Read, ReadError, Table, Topic};
use std::ops::ControlFlow;

/// A write in progress. It reads the newest state, its own changes included. All of its changes
/// become durable and visible together, or none (when the closure answers `Err` or panics).
pub struct WriteTxn<'w> {
    /// What earlier writes of the same group changed.
    group: &'w ChangeSet,
    view: &'w View,
    own: ChangeSet,
    position: Position,
    touched: Vec<Topic>,
    fault: Option<ReadError>,
    epoch: Option<u32>,
}

/// What a write leaves behind.
pub(crate) struct Written {
    pub(crate) changes: ChangeSet,
    pub(crate) position: Position,
    pub(crate) touched: Vec<Topic>,
    /// A change that could not be recorded: the whole write must be dropped.
    pub(crate) fault: Option<ReadError>,
    /// The epoch that begins with this write.
    pub(crate) epoch: Option<u32>,
}

impl<'w> WriteTxn<'w> {
    /// A write over what is committed (`view`) and what the group changed so far.
    pub(crate) fn new(group: &'w ChangeSet, view: &'w View, position: Position) -> Self {
        Self {
            group,
            view,
            own: ChangeSet::default(),
            position,
            touched: Vec::new(),
            fault: None,
            epoch: None,
        }
    }

    /// Ends the write.
    pub(crate) fn finish(self) -> Written {
        Written {
            changes: self.own,
            position: self.position,
            touched: self.touched,
            fault: self.fault,
            epoch: self.epoch,
        }
    }

    /// Sets the value under `key`.
    pub fn put(&mut self, table: Table, key: &[u8], value: impl Into<Bytes>) {
        self.record(table, Bytes::copy_from_slice(key), Some(value.into()));
    }

    /// Sets the value under `key` to `value` as JSON. Rows that are written rarely use this form: it can grow fields.
    pub fn put_json<T: serde::Serialize + ?Sized>(
        &mut self,
        table: Table,
        key: &[u8],
        value: &T,
    ) -> Result<(), ReadError> {
        let bytes = serde_json::to_vec(value).map_err(|error| ReadError::Malformed {
            table: table.name,
            detail: error.to_string(),
        })?;
        self.put(table, key, bytes);
        Ok(())
    }

    /// Removes `key`; nothing happens if it is not there.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        self.record(table, Bytes::copy_from_slice(key), None);
    }

    /// Removes all keys of `range` and tells how many there were.
    pub fn delete_range(&mut self, table: Table, range: &KeyRange) -> Result<usize, ReadError> {
        let mut keys = Vec::new();
        self.scan(table, range, Order::Ascending, &mut |key, _| {
            keys.push(Bytes::copy_from_slice(key));
            ControlFlow::Continue(())
        })?;
        let count = keys.len();
        for key in keys {
            self.record(table, key, None);
        }
        Ok(count)
    }

    /// Issues the next position of the log: greater than every one before.
    pub fn next_position(&mut self) -> Position {
        self.position = Position(self.position.0 + 1);
        self.position
    }

    /// Wakes those who wait for `topic` once this write is published.
    pub fn touch(&mut self, topic: Topic) {
        if !self.touched.contains(&topic) {
            self.touched.push(topic);
        }
    }

    /// Lets positions go on from `position`, if that is ahead; for imports.
    pub(crate) fn skip_to(&mut self, position: Position) {
        self.position = self.position.max(position);
    }

    /// Begins a new epoch: every later commit belongs to it.
    pub(crate) fn begin_epoch(&mut self, epoch: u32) {
        self.put(META, EPOCH_ROW, epoch.to_le_bytes().to_vec());
        self.epoch = Some(epoch);
    }

    /// What this write or one before it in the group has made of a row; `None`: nothing.
    fn change_of(&self, table: Table, key: &[u8]) -> Option<Option<Bytes>> {
        let both = [&self.own, self.group];
        both.into_iter()
            .find_map(|changes| changes.change_of(table.id, key).cloned())
    }

    fn record(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        if self.view.active.rows_of(table).is_none() {
            self.fault.get_or_insert_with(|| undeclared(table));
            return;
        }
        self.own.set(table.id, key, value);
    }
}

impl Read for WriteTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        match self.change_of(table, key) {
            Some(value) => Ok(value),
            None => self.view.get(table, key),
        }
    }

    fn head(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        match self.change_of(table, key) {
            Some(value) => Ok(value),
            None => self.view.head(table, key),
        }
    }

    fn append_head(&self, table: Table, key: &[u8], out: &mut Vec<u8>) -> Result<bool, ReadError> {
        match self.change_of(table, key) {
            Some(value) => Ok(append(value.as_deref(), out)),
            None => self.view.append_head(table, key, out),
        }
    }

    fn scan(&self, table: Table, range: &KeyRange, order: Order, visit: Visit<'_>) -> Result<(), ReadError> {
        let Some(bounds) = bounds(range) else { return Ok(()) };
        let mut layers = Vec::with_capacity(5);
        for changes in [&self.own, self.group] {
            if let Some(rows) = changes.rows_of(table.id) {
                layers.push(Layer::changes(rows, bounds));
            }
        }
        self.view.layers(table, bounds, &mut layers)?;
        merge(layers, order, visit)
    }

    fn position(&self) -> Position {
        self.position
    }
}
