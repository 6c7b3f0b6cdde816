//! The changes of one write, or of a group of them, before they are durable.

use crate::Bytes;
use std::collections::BTreeMap;

/// Changed rows of one table: `None` is a deletion.
pub(crate) type ChangedRows = BTreeMap<Bytes, Option<Bytes>>;

/// Changed rows by table. A write touches few tables, so the list of them is searched from the front.
#[derive(Default)]
pub(crate) struct ChangeSet {
    tables: Vec<(u16, ChangedRows)>,
}

impl ChangeSet {
    /// The changed rows of a table.
    pub(crate) fn rows_of(&self, table: u16) -> Option<&ChangedRows> {
        self.tables.iter().find(|(id, _)| *id == table).map(|(_, rows)| rows)
    }

    /// The change of one row, if there is one.
    pub(crate) fn change_of(&self, table: u16, key: &[u8]) -> Option<&Option<Bytes>> {
        self.rows_of(table)?.get(key)
    }

    /// Records a change; a later one of the same row replaces it.
    pub(crate) fn set(&mut self, table: u16, key: Bytes, value: Option<Bytes>) {
        match self.tables.iter_mut().find(|(id, _)| *id == table) {
            Some((_, rows)) => {
                rows.insert(key, value);
            }
            None => self.tables.push((table, ChangedRows::from([(key, value)]))),
        }
    }

    /// Lays the changes of `later` over these.
    pub(crate) fn absorb(&mut self, later: ChangeSet) {
        if self.tables.is_empty() {
            *self = later;
            return;
        }
        for (table, rows) in later.tables {
            match self.tables.iter_mut().find(|(id, _)| *id == table) {
                Some((_, own)) => own.extend(rows),
                None => self.tables.push((table, rows)),
            }
        }
    }

    /// Whether nothing was changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Every change: table, key, value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Bytes, &Option<Bytes>)> {
        self.tables
            .iter()
            .flat_map(|(table, rows)| rows.iter().map(|(key, value)| (*table, key, value)))
    }

    /// Every change, given away.
    pub(crate) fn into_changes(self) -> impl Iterator<Item = (u16, Bytes, Option<Bytes>)> {
        self.tables
            .into_iter()
            .flat_map(|(table, rows)| rows.into_iter().map(move |(key, value)| (table, key, value)))
    }
}
