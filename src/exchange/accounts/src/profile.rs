//! Profiles: display name, avatar, and any other field (Matrix 1.16, "Profiles").
//!
//! Who may see a profile is not decided here: the API asks `connections`.

use crate::row::malformed;
use crate::tables::PROFILE;
use lamchat_base::UserNum;
use lamchat_store::{Bytes, Key, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, WriteTxn};
use serde_json::Value;
use std::ops::ControlFlow;

/// The field of the display name.
pub const DISPLAYNAME: &str = "displayname";
/// The field of the avatar, an `mxc://` address.
pub const AVATAR_URL: &str = "avatar_url";

/// "The complete profile for a user MUST be under 64 KiB" (Matrix 1.16).
pub const PROFILE_BYTES_MAX: usize = 65_536;
/// "A field name cannot exceed 255 bytes" (Matrix 1.16).
pub const FIELD_NAME_BYTES_MAX: usize = 255;
/// Longest display name: it is copied into an event of every room.
pub const DISPLAYNAME_BYTES_MAX: usize = 1024;
/// Longest avatar address, for the same reason.
pub const AVATAR_URL_BYTES_MAX: usize = 1024;

/// What member events show of a person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// The display name.
    pub displayname: Option<String>,
    /// The avatar, an `mxc://` address.
    pub avatar_url: Option<String>,
}

/// Why a field was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetProfileError {
    /// The name of the field is empty or malformed: `M_INVALID_PARAM`.
    #[error("a profile field's name consists of a-z, 0-9, '.', '_' and '-' and starts with a letter")]
    FieldName,
    /// The name of the field is too long: `M_KEY_TOO_LARGE`.
    #[error("a profile field's name has at most {FIELD_NAME_BYTES_MAX} bytes")]
    FieldNameTooLong,
    /// `displayname` or `avatar_url` is not a string, or no `mxc://` address: `M_INVALID_PARAM`.
    #[error("the value does not fit the field: displayname is a string, avatar_url an mxc:// address")]
    Value,
    /// The field or the whole profile is too large: `M_PROFILE_TOO_LARGE`.
    #[error("the profile would be too large")]
    TooLarge,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What member events show of `user`.
pub fn display(read: &dyn Read, user: UserNum) -> Result<Profile, ReadError> {
    Ok(Profile {
        displayname: string(read, user, DISPLAYNAME)?,
        avatar_url: string(read, user, AVATAR_URL)?,
    })
}

/// One field, as JSON.
pub fn field(read: &dyn Read, user: UserNum, field: &str) -> Result<Option<Value>, ReadError> {
    read.get_json(PROFILE, &key(user, field))
}

/// All fields, by name.
pub fn all(read: &dyn Read, user: UserNum) -> Result<Vec<(String, Value)>, ReadError> {
    let mut fields = Vec::new();
    for (key, value) in read.rows(PROFILE, &prefix(user), Order::Ascending, usize::MAX)? {
        let mut reader = KeyReader::new(&key);
        reader.u32();
        let name = reader
            .str()
            .ok_or_else(|| malformed(PROFILE, "a key without a field"))?;
        let value = serde_json::from_slice(&value).map_err(|error| malformed(PROFILE, &error.to_string()))?;
        fields.push((name, value));
    }
    Ok(fields)
}

/// Sets a field; answers whether that changed something. After a change of [`DISPLAYNAME`] or [`AVATAR_URL`] the
/// member events of the user's rooms have to follow.
pub fn set(txn: &mut WriteTxn<'_>, user: UserNum, field: &str, value: &Value) -> Result<bool, SetProfileError> {
    check(field, value)?;
    let json = serde_json::to_vec(value).map_err(|error| malformed(PROFILE, &error.to_string()))?;
    let key = key(user, field);
    if txn.get(PROFILE, &key)?.is_some_and(|old| *old == *json) {
        return Ok(false);
    }
    if field.len() + json.len() + size_without(txn, user, &key)? > PROFILE_BYTES_MAX {
        return Err(SetProfileError::TooLarge);
    }
    txn.put(PROFILE, &key, Bytes::from(json));
    Ok(true)
}

/// Removes a field; answers whether it was there.
pub fn remove(txn: &mut WriteTxn<'_>, user: UserNum, field: &str) -> Result<bool, ReadError> {
    let key = key(user, field);
    let was_there = txn.get(PROFILE, &key)?.is_some();
    if was_there {
        txn.delete(PROFILE, &key);
    }
    Ok(was_there)
}

/// Removes the whole profile.
pub fn forget(txn: &mut WriteTxn<'_>, user: UserNum) -> Result<(), ReadError> {
    txn.delete_range(PROFILE, &prefix(user))?;
    Ok(())
}

fn check(field: &str, value: &Value) -> Result<(), SetProfileError> {
    if field.len() > FIELD_NAME_BYTES_MAX {
        return Err(SetProfileError::FieldNameTooLong);
    }
    match (field, value) {
        (DISPLAYNAME, Value::String(name)) if name.len() > DISPLAYNAME_BYTES_MAX => Err(SetProfileError::TooLarge),
        (AVATAR_URL, Value::String(url)) if url.len() > AVATAR_URL_BYTES_MAX => Err(SetProfileError::TooLarge),
        (DISPLAYNAME, Value::String(_)) => Ok(()),
        // An empty address is how clients took an avatar away before fields could be deleted.
        (AVATAR_URL, Value::String(url)) if url.is_empty() || url.starts_with("mxc://") => Ok(()),
        (DISPLAYNAME | AVATAR_URL, _) => Err(SetProfileError::Value),
        // "The field name MUST follow the Common Namespaced Identifier Grammar" (Matrix 1.16).
        _ if is_namespaced_identifier(field) => Ok(()),
        _ => Err(SetProfileError::FieldName),
    }
}

/// Matrix 1.16, "Common Namespaced Identifier Grammar".
fn is_namespaced_identifier(name: &str) -> bool {
    name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
}

fn size_without(read: &dyn Read, user: UserNum, without: &Key) -> Result<usize, ReadError> {
    let mut size = 0;
    read.scan(PROFILE, &prefix(user), Order::Ascending, &mut |key, value| {
        if *key != **without {
            size += key.len() + value.len();
        }
        ControlFlow::Continue(())
    })?;
    Ok(size)
}

fn string(read: &dyn Read, user: UserNum, name: &str) -> Result<Option<String>, ReadError> {
    Ok(match field(read, user, name)? {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    })
}

fn key(user: UserNum, field: &str) -> Key {
    Key::new().u32(user.0).str(field)
}

fn prefix(user: UserNum) -> KeyRange {
    KeyRange::prefix(&Key::new().u32(user.0))
}

#[cfg(test)]
mod tests;
