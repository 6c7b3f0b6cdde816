//! What the rows of this crate have in common: numbers, counters, and the error for a row that is malformed.

use crate::tables::COUNTER;
use lamchat_store::{Bytes, Read, ReadError, Table, WriteTxn};

/// The error for a row that does not have its form.
pub(crate) fn malformed(table: Table, detail: &str) -> ReadError {
    ReadError::Malformed {
        table: table.name,
        detail: detail.to_owned(),
    }
}

/// A value that is one number of four bytes.
pub(crate) fn parse_u32(table: Table, value: &[u8]) -> Result<u32, ReadError> {
    let bytes: [u8; 4] = value
        .try_into()
        .map_err(|_| malformed(table, "not a number of four bytes"))?;
    Ok(u32::from_be_bytes(bytes))
}

/// A value that is text.
pub(crate) fn parse_text(table: Table, value: &[u8]) -> Result<&str, ReadError> {
    std::str::from_utf8(value).map_err(|_| malformed(table, "not UTF-8"))
}

/// `value` as an owned row.
pub(crate) fn text(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

/// Hands out the next number of a counter, from 1.
pub(crate) fn next_number(txn: &mut WriteTxn<'_>, counter: &str) -> Result<u32, ReadError> {
    let last = match txn.get(COUNTER, counter.as_bytes())? {
        Some(value) => parse_u32(COUNTER, &value)?,
        None => 0,
    };
    let next = last
        .checked_add(1)
        .ok_or_else(|| malformed(COUNTER, "all numbers are used up"))?;
    txn.put(COUNTER, counter.as_bytes(), Bytes::copy_from_slice(&next.to_be_bytes()));
    Ok(next)
}
