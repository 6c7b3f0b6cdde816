//! A short number for every user id that this exchange hears of, local or remote.
//!
//! Numbers are handed out once and never removed: other tables keep them in place of the id.

use crate::row::{malformed, next_number, parse_text, parse_u32, text};
use crate::tables::{USER, USER_BY_ID};
use lamchat_base::UserNum;
use lamchat_store::{Bytes, Read, ReadError, WriteTxn};
use ruma::{OwnedUserId, UserId};

/// The number of `id`; `None` if it was never heard of.
pub fn num(read: &dyn Read, id: &UserId) -> Result<Option<UserNum>, ReadError> {
    match read.get(USER_BY_ID, id.as_bytes())? {
        Some(value) => Ok(Some(UserNum(parse_u32(USER_BY_ID, &value)?))),
        None => Ok(None),
    }
}

/// The number of `id`, handing out a new one if it was never heard of.
pub fn num_or_insert(txn: &mut WriteTxn<'_>, id: &UserId) -> Result<UserNum, ReadError> {
    if let Some(user) = num(txn, id)? {
        return Ok(user);
    }
    let user = UserNum(next_number(txn, "user")?);
    txn.put(USER, &user.to_key(), text(id.as_str()));
    txn.put(USER_BY_ID, id.as_bytes(), Bytes::copy_from_slice(&user.to_key()));
    Ok(user)
}

/// The id behind a number; `None` if the number was never handed out.
pub fn id(read: &dyn Read, user: UserNum) -> Result<Option<OwnedUserId>, ReadError> {
    let Some(value) = read.get(USER, &user.to_key())? else {
        return Ok(None);
    };
    let id = parse_text(USER, &value)?;
    UserId::parse(id)
        .map(Some)
        .map_err(|error| malformed(USER, &error.to_string()))
}

/// The id behind a number that another row refers to; a missing one is damage.
pub fn known_id(read: &dyn Read, user: UserNum) -> Result<OwnedUserId, ReadError> {
    id(read, user)?.ok_or_else(|| malformed(USER, "a number without a user id"))
}
