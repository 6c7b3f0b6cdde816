//! The name of a table. Its definition is private to the crate that owns it.

/// A table of ordered byte keys and byte values. Two tables must not share an id.
///
/// Ids are handed out in blocks: store 0–15, accounts 16–39, identity 40–47, keys 48–79,
/// rooms 80–127, media 128–143, push 144–159, sync 160–175, appliance 176–191, admin 192–207.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// What the write-ahead log calls it.
    pub id: u16,
    /// What redb calls it: `owner.rows`, such as `rooms.event`.
    pub name: &'static str,
}

impl Table {
    /// Declares a table; every crate lists its own in a `TABLES` constant that `serve` hands to the store.
    pub const fn new(id: u16, name: &'static str) -> Self {
        Self { id, name }
    }
}
