//! Filters that clients store to name them in sync requests; the same filter is kept once.

use crate::row::{malformed, parse_u32};
use crate::tables::{FILTER, FILTER_BY_HASH};
use aws_lc_rs::digest::{SHA256, digest};
use lamchat_base::UserNum;
use lamchat_store::{Bytes, Key, KeyRange, Order, Read, ReadError, ReadExt, WriteTxn};

/// Most filters of one user.
pub const FILTERS_MAX: u32 = 1_000;
/// Largest filter, as JSON.
pub const FILTER_BYTES_MAX: usize = 65_536;

/// Why a filter was not kept.
#[derive(Debug, thiserror::Error)]
pub enum CreateFilterError {
    /// The filter is larger than [`FILTER_BYTES_MAX`]: `M_TOO_LARGE`.
    #[error("a filter has at most {FILTER_BYTES_MAX} bytes")]
    TooLarge,
    /// The user has [`FILTERS_MAX`] filters: `M_RESOURCE_LIMIT_EXCEEDED`.
    #[error("too many filters; use one that is stored already")]
    TooMany,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The number of a filter that is stored already, so that asking again needs no write.
pub fn find(read: &dyn Read, user: UserNum, filter: &[u8]) -> Result<Option<u32>, ReadError> {
    match read.get(FILTER_BY_HASH, &hash_key(user, filter))? {
        Some(value) => Ok(Some(parse_u32(FILTER_BY_HASH, &value)?)),
        None => Ok(None),
    }
}

/// Stores a filter (JSON in a form that is the same for equal filters) and answers its number.
pub fn create(txn: &mut WriteTxn<'_>, user: UserNum, filter: &[u8]) -> Result<u32, CreateFilterError> {
    if filter.len() > FILTER_BYTES_MAX {
        return Err(CreateFilterError::TooLarge);
    }
    if let Some(id) = find(txn, user, filter)? {
        return Ok(id);
    }
    let last = match txn.first(FILTER, &KeyRange::prefix(&Key::new().u32(user.0)), Order::Descending)? {
        Some((key, _)) => {
            let id = key
                .get(4..)
                .ok_or_else(|| malformed(FILTER, "a key without a number"))?;
            parse_u32(FILTER, id)?
        }
        None => 0,
    };
    if last >= FILTERS_MAX {
        return Err(CreateFilterError::TooMany);
    }
    let id = last + 1;
    txn.put(FILTER, &key(user, id), Bytes::copy_from_slice(filter));
    txn.put(
        FILTER_BY_HASH,
        &hash_key(user, filter),
        Bytes::copy_from_slice(&id.to_be_bytes()),
    );
    Ok(id)
}

/// A filter of the user, as JSON.
pub fn one(read: &dyn Read, user: UserNum, id: u32) -> Result<Option<Bytes>, ReadError> {
    read.get(FILTER, &key(user, id))
}

/// Removes all filters of a user.
pub fn forget(txn: &mut WriteTxn<'_>, user: UserNum) -> Result<(), ReadError> {
    let range = KeyRange::prefix(&Key::new().u32(user.0));
    txn.delete_range(FILTER, &range)?;
    txn.delete_range(FILTER_BY_HASH, &range)?;
    Ok(())
}

fn key(user: UserNum, id: u32) -> Key {
    Key::new().u32(user.0).u32(id)
}

fn hash_key(user: UserNum, filter: &[u8]) -> Key {
    Key::new().u32(user.0).raw(digest(&SHA256, filter).as_ref())
}

#[cfg(test)]
mod tests;
