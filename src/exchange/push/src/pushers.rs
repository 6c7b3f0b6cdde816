//! Pushers: where a user's devices want to be poked. Stored and listed here; this exchange does not call push gateways
//! yet, so nothing leaves it.

use lamchat_base::{DeviceNum, UserNum};
use lamchat_store::{Bytes, CommitError, Key, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, Table, WriteTxn};
use serde_json::value::RawValue;

/// (User, app id, pushkey) -> device u32, the pusher as JSON.
pub(crate) const PUSHER: Table = Table::new(144, "push.pusher");
/// (App id, pushkey, user) -> nothing.
pub(crate) const BY_KEY: Table = Table::new(145, "push.pusher_by_key");

/// "Max length, 512 bytes."
pub const PUSHKEY_BYTES_MAX: usize = 512;
/// "Max length, 64 chars."
pub const APP_ID_CHARS_MAX: usize = 64;
/// Largest pusher as JSON.
pub const PUSHER_BYTES_MAX: usize = 8 * 1024;
/// Most pushers of a user.
pub const PUSHERS_MAX: usize = 100;

/// Why a pusher was not set.
#[derive(Debug, thiserror::Error)]
pub enum PusherError {
    /// Too long or too large.
    #[error("{0}")]
    TooLarge(&'static str),
    /// More than [`PUSHERS_MAX`].
    #[error("a user may have at most 100 pushers")]
    TooMany,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Adds or replaces the pusher of that app and key. `json` is what [`list`] shows. Unless `append`, other users lose
/// theirs of the same app and key: "the homeserver must remove any other pushers with the same App ID and pushkey for
/// different users."
pub fn set(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    device: DeviceNum,
    app_id: &str,
    pushkey: &str,
    json: &RawValue,
    append: bool,
) -> Result<(), PusherError> {
    if app_id.chars().count() > APP_ID_CHARS_MAX {
        return Err(PusherError::TooLarge("app_id must not be longer than 64 characters"));
    }
    if pushkey.len() > PUSHKEY_BYTES_MAX {
        return Err(PusherError::TooLarge("pushkey must not be longer than 512 bytes"));
    }
    if json.get().len() > PUSHER_BYTES_MAX {
        return Err(PusherError::TooLarge("a pusher must not be larger than 8 KiB"));
    }
    let at = key(user, app_id, pushkey);
    let there = txn.rows(PUSHER, &KeyRange::prefix(&user.to_key()), Order::Ascending, PUSHERS_MAX)?;
    if there.len() >= PUSHERS_MAX && txn.get(PUSHER, &at)?.is_none() {
        return Err(PusherError::TooMany);
    }
    if !append {
        let prefix = Key::new().str(app_id).str(pushkey);
        for (other_key, _) in txn.rows(BY_KEY, &KeyRange::prefix(&prefix), Order::Ascending, usize::MAX)? {
            let mut parts = KeyReader::new(&other_key);
            let (_, _, other) = (parts.str(), parts.str(), parts.u32());
            if let Some(other) = other.map(UserNum).filter(|other| *other != user) {
                txn.delete(PUSHER, &key(other, app_id, pushkey));
                txn.delete(BY_KEY, &other_key);
            }
        }
    }
    txn.put(
        PUSHER,
        &at,
        Key::new().u32(device.0).raw(json.get().as_bytes()).to_vec(),
    );
    txn.put(BY_KEY, &Key::new().str(app_id).str(pushkey).u32(user.0), Bytes::new());
    Ok(())
}

/// Removes the pusher of that app and key; nothing happens if there is none.
pub fn remove(txn: &mut WriteTxn<'_>, user: UserNum, app_id: &str, pushkey: &str) {
    txn.delete(PUSHER, &key(user, app_id, pushkey));
    txn.delete(BY_KEY, &Key::new().str(app_id).str(pushkey).u32(user.0));
}

/// Removes the pushers that a deleted device has set.
pub fn forget_device(txn: &mut WriteTxn<'_>, user: UserNum, device: DeviceNum) -> Result<(), ReadError> {
    for (key, row) in txn.rows(PUSHER, &KeyRange::prefix(&user.to_key()), Order::Ascending, usize::MAX)? {
        let mut parts = KeyReader::new(&key);
        if let (Some(_), Some(app_id), Some(pushkey)) = (parts.u32(), parts.str(), parts.str())
            && KeyReader::new(&row).u32() == Some(device.0)
        {
            remove(txn, user, &app_id, &pushkey);
        }
    }
    Ok(())
}

/// The pushers of a user as a JSON list.
pub fn list(read: &dyn Read, user: UserNum) -> Result<String, ReadError> {
    let mut pushers = Vec::new();
    for (_, row) in read.rows(PUSHER, &KeyRange::prefix(&user.to_key()), Order::Ascending, usize::MAX)? {
        let mut parts = KeyReader::new(&row);
        parts.u32();
        let json = std::str::from_utf8(parts.rest()).map_err(|error| ReadError::Malformed {
            table: PUSHER.name,
            detail: error.to_string(),
        })?;
        pushers.push(json.to_owned());
    }
    Ok(format!("[{}]", pushers.join(",")))
}

fn key(user: UserNum, app_id: &str, pushkey: &str) -> Key {
    Key::new().u32(user.0).str(app_id).str(pushkey)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::{list, remove, set};
    use crate::TABLES;
    use lamchat_base::{DeviceNum, UserNum};
    use lamchat_store::Store;
    use serde_json::value::RawValue;

    fn put(store: &Store, user: u32, device: u32, append: bool) {
        let json = RawValue::from_string(format!(r#"{{"of":{user}}}"#)).unwrap();
        store
            .write_blocking(move |txn| set(txn, UserNum(user), DeviceNum(device), "app", "key", &json, append))
            .map_err(|error| error.flatten())
            .unwrap();
    }

    #[test]
    fn a_key_belongs_to_one_user_unless_appended() {
        let store = Store::in_memory(TABLES).unwrap();
        put(&store, 1, 1, false);
        put(&store, 2, 2, true);
        assert_eq!(list(&store.read(), UserNum(1)).unwrap(), r#"[{"of":1}]"#);
        put(&store, 2, 2, false);
        assert_eq!(list(&store.read(), UserNum(1)).unwrap(), "[]");
        assert_eq!(list(&store.read(), UserNum(2)).unwrap(), r#"[{"of":2}]"#);
    }

    #[test]
    fn deleted_devices_lose_theirs() {
        let store = Store::in_memory(TABLES).unwrap();
        put(&store, 1, 7, false);
        let forget = |device| {
            store
                .write_blocking(move |txn| super::forget_device(txn, UserNum(1), DeviceNum(device)))
                .unwrap();
            list(&store.read(), UserNum(1)).unwrap()
        };
        assert_eq!(forget(8), r#"[{"of":1}]"#);
        assert_eq!(forget(7), "[]");
        put(&store, 1, 7, false);
        store
            .write_blocking(|txn| {
                remove(txn, UserNum(1), "app", "key");
                Ok::<_, lamchat_store::ReadError>(())
            })
            .unwrap();
        assert_eq!(list(&store.read(), UserNum(1)).unwrap(), "[]");
    }
}
