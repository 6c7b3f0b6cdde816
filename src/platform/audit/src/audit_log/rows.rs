//! What the store keeps of the log beside its entries: the signed head, the changes of the key, what witnesses signed.
//!
//! What must never happen here: a row that cannot be read taken for one that is not there.

use super::AuditError;
use crate::change::{CHANGES_MAX, KeyChange};
use crate::export::WITNESSED_MAX;
use crate::log::{self, META, WITNESSED};
use crate::note::{Note, NoteError};
use lamchat_store::{Key, KeyRange, Order, Read, ReadExt, Store};

pub(super) const HEAD_ROW: &[u8] = b"head";
/// Followed by the number of the entry.
pub(super) const CHANGE_ROW: &[u8] = b"change";

/// The key of the row of the change that entry `number` announces.
pub(super) fn change_row(number: u64) -> Key {
    Key::new().raw(CHANGE_ROW).u64(number)
}

/// Keeps a change; its checkpoint is the head.
pub(super) fn keep_change(store: &Store, change: &KeyChange) -> Result<(), AuditError> {
    let (row, line) = (change_row(change.number), change.line());
    let head = change.note.to_string();
    let kept = store.write_blocking(move |txn| {
        txn.put(META, &row, line.into_bytes());
        txn.put(META, HEAD_ROW, head.into_bytes());
        Ok::<_, AuditError>(())
    });
    Ok(kept?)
}

/// All changes of the key, in their order.
pub(super) fn changes(read: &dyn Read) -> Result<Vec<KeyChange>, AuditError> {
    let rows = read.rows(META, &KeyRange::prefix(CHANGE_ROW), Order::Ascending, CHANGES_MAX)?;
    let parse = |row: &[u8]| KeyChange::parse(std::str::from_utf8(row).ok()?);
    let rows = rows.iter().map(|(_, row)| parse(row));
    rows.map(|change| change.ok_or_else(|| log::malformed(META, "a change of the key").into()))
        .collect()
}

/// The newest signed head.
pub(super) fn head(read: &dyn Read) -> Result<Option<Note>, AuditError> {
    Ok(read.get(META, HEAD_ROW)?.map(|row| parse(&row)).transpose()?)
}

/// Names of witnesses and the newest checkpoint that each has signed.
pub(super) fn witnessed(read: &dyn Read) -> Result<Vec<(String, Note)>, AuditError> {
    let rows = read.rows(WITNESSED, &KeyRange::all(), Order::Ascending, WITNESSED_MAX)?;
    let rows = rows.into_iter();
    rows.map(|(name, note)| Ok((String::from_utf8_lossy(&name).into_owned(), parse(&note)?)))
        .collect()
}

pub(super) fn parse(row: &[u8]) -> Result<Note, NoteError> {
    Note::parse(std::str::from_utf8(row).map_err(|_| NoteError::Form)?)
}
