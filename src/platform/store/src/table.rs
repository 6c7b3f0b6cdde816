//! The name of a table. Its definition is private to the crate that owns it.

use crate::OpenError;

/// A table of ordered byte keys and byte values. Two tables must not share an id.
///
/// Ids are handed out in blocks: store 0–15, accounts 16–39, identity 40–47, keys 48–79,
/// rooms 80–127, media 128–143, push 144–159, sync 160–175, appliance 176–191, admin 192–207,
/// audit 208–223.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// What the write-ahead log calls it. Below [`TABLE_ID_END`].
    pub id: u16,
    /// What redb calls it: `owner.rows`, such as `rooms.event`.
    pub name: &'static str,
    /// Whether its rows are gathered before they enter redb's table (`runs.rs`).
    pub(crate) gathered: bool,
    /// Whether what was gathered waits on shelves for more (`shelves.rs`).
    pub(crate) shelved: bool,
    /// What is kept of rows that were read one by one (`row_cache.rs`); `None`: nothing.
    pub(crate) kept: Option<HeadLength>,
}

/// How many bytes of a value are its head: the part that is read again and again. All of a value may be.
pub type HeadLength = fn(&[u8]) -> usize;

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.name) == (other.id, other.name)
    }
}

impl Eq for Table {}

/// Ids of tables are below this.
pub const TABLE_ID_END: u16 = 1024;

/// The store's own rows: epoch, schema version, and what the last checkpoint contains.
pub(crate) const META: Table = Table::new(0, "store.meta");

impl Table {
    /// Declares a table; every crate lists its own in a `TABLES` constant that `serve` hands to the store.
    pub const fn new(id: u16, name: &'static str) -> Self {
        Self {
            id,
            name,
            gathered: false,
            shelved: false,
            kept: None,
        }
    }

    /// Declares a table with keys of eight bytes whose rows are looked up one by one, and of which those that are read together
    /// lie far apart. The heads of those that were looked up are kept in memory for a while: see `Read::head`.
    pub const fn kept(id: u16, name: &'static str, head: HeadLength) -> Self {
        Self {
            kept: Some(head),
            ..Self::new(id, name)
        }
    }

    /// Declares a table of small rows that are added often and whose keys come in many orders at once, such as the timelines
    /// of all rooms. A write costs less in a large table then, a scan more; some hundred thousand of its newest rows are in
    /// memory.
    pub const fn gathered(id: u16, name: &'static str) -> Self {
        Self {
            gathered: true,
            ..Self::new(id, name)
        }
    }

    /// Declares a table of small rows that are added often, whose keys are hashes, and that are looked up one by one. A write
    /// costs less still, a scan more.
    pub const fn hashed(id: u16, name: &'static str) -> Self {
        Self {
            shelved: true,
            ..Self::gathered(id, name)
        }
    }
}

/// The declared tables, sorted by id, the store's own included.
pub(crate) fn declared(tables: &[Table]) -> Result<Vec<Table>, OpenError> {
    let mut all = vec![META];
    all.extend_from_slice(tables);
    all.sort_by_key(|table| table.id);
    for pair in all.windows(2) {
        if let [left, right] = pair
            && left.id == right.id
        {
            return Err(OpenError::Tables(format!(
                "{} and {} share the id {}",
                left.name, right.name, left.id
            )));
        }
    }
    let mut names: Vec<_> = all.iter().map(|table| table.name).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows::<2>().find(|[left, right]| left == right) {
        return Err(OpenError::Tables(format!("two tables are named {name}")));
    }
    if let Some(table) = all.iter().find(|table| table.id >= TABLE_ID_END) {
        return Err(OpenError::Tables(format!(
            "the id of {} is not below {TABLE_ID_END}",
            table.name
        )));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{Table, declared};

    #[test]
    fn twins_are_refused() {
        assert!(declared(&[Table::new(1, "a"), Table::new(2, "b")]).is_ok());
        assert!(declared(&[Table::new(1, "a"), Table::new(1, "b")]).is_err());
        assert!(declared(&[Table::new(1, "a"), Table::new(2, "a")]).is_err());
        assert!(declared(&[Table::new(0, "a")]).is_err());
        assert!(declared(&[Table::new(1024, "a")]).is_err());
    }
}
