//! Devices of local users: a number that is never reused, a name, and when they were last seen. No addresses.

use crate::row::{malformed, parse_text};
use crate::session::SessionRow;
use crate::tables::{DEVICE, DEVICE_BY_NUM};
use crate::token::TokenHash;
use lamchat_base::{DeviceNum, UserNum};
use lamchat_store::{Bytes, Key, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, WriteTxn};
use ruma::{DeviceId, OwnedDeviceId};
use std::ops::ControlFlow;

/// Longest display name of a device; what a client gives beyond is cut off at login and refused in an update.
pub const DISPLAY_NAME_BYTES_MAX: usize = 256;

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its number, never reused.
    pub num: DeviceNum,
    /// Its id.
    pub id: OwnedDeviceId,
    /// What the user calls it.
    pub display_name: Option<String>,
    /// When it was last seen (ms), to five minutes.
    pub last_seen_ms: Option<u64>,
}

/// A device that was removed: others clear what they keep under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedDevice {
    /// Its number.
    pub num: DeviceNum,
    /// Its id.
    pub id: OwnedDeviceId,
}

/// The number of a user's device.
pub fn num(read: &dyn Read, user: UserNum, device_id: &DeviceId) -> Result<Option<DeviceNum>, ReadError> {
    Ok(DeviceRow::load(read, user, device_id)?.map(|row| row.num))
}

/// The user and id behind a device's number; `None` once the device is removed.
pub fn by_num(read: &dyn Read, device: DeviceNum) -> Result<Option<(UserNum, OwnedDeviceId)>, ReadError> {
    let Some(value) = read.get(DEVICE_BY_NUM, &device.to_key())? else {
        return Ok(None);
    };
    let (user, id) = value
        .split_first_chunk::<4>()
        .ok_or_else(|| malformed(DEVICE_BY_NUM, "shorter than a user number"))?;
    Ok(Some((
        UserNum(u32::from_be_bytes(*user)),
        OwnedDeviceId::from(parse_text(DEVICE_BY_NUM, id)?),
    )))
}

/// One device.
pub fn one(read: &dyn Read, user: UserNum, device_id: &DeviceId) -> Result<Option<Device>, ReadError> {
    match DeviceRow::load(read, user, device_id)? {
        Some(row) => Ok(Some(row.into_device(read, device_id)?)),
        None => Ok(None),
    }
}

/// All devices of a user, by id.
pub fn all(read: &dyn Read, user: UserNum) -> Result<Vec<Device>, ReadError> {
    let prefix = Key::new().u32(user.0);
    let mut devices = Vec::new();
    for (key, value) in read.rows(DEVICE, &KeyRange::prefix(&prefix), Order::Ascending, usize::MAX)? {
        let mut reader = KeyReader::new(&key);
        reader.u32();
        let id = reader
            .str()
            .ok_or_else(|| malformed(DEVICE, "a key without a device id"))?;
        let row: DeviceRow = serde_json::from_slice(&value).map_err(|error| malformed(DEVICE, &error.to_string()))?;
        devices.push(row.into_device(read, &OwnedDeviceId::from(id))?);
    }
    Ok(devices)
}

/// How many devices a user has, counting up to `limit`.
pub fn count(read: &dyn Read, user: UserNum, limit: usize) -> Result<usize, ReadError> {
    let mut count = 0;
    read.scan(
        DEVICE,
        &KeyRange::prefix(&Key::new().u32(user.0)),
        Order::Ascending,
        &mut |_, _| {
            count += 1;
            if count < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    )?;
    Ok(count)
}

/// Why a device could not be renamed.
#[derive(Debug, thiserror::Error)]
pub enum RenameDeviceError {
    /// No such device: `M_NOT_FOUND`.
    #[error("there is no such device")]
    Unknown,
    /// The name has more than [`DISPLAY_NAME_BYTES_MAX`] bytes: `M_TOO_LARGE`.
    #[error("a device's name has at most {DISPLAY_NAME_BYTES_MAX} bytes")]
    TooLong,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Gives a device another name. Others see the name beside its keys: `keys` announces the change.
pub fn rename(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    device_id: &DeviceId,
    name: Option<String>,
) -> Result<(), RenameDeviceError> {
    if name.as_ref().is_some_and(|name| name.len() > DISPLAY_NAME_BYTES_MAX) {
        return Err(RenameDeviceError::TooLong);
    }
    let mut row = DeviceRow::load(txn, user, device_id)?.ok_or(RenameDeviceError::Unknown)?;
    row.display_name = name;
    row.store(txn, user, device_id)?;
    Ok(())
}

/// Removes a device and ends its session. The caller clears what others keep under it in the same write.
pub fn remove(txn: &mut WriteTxn<'_>, user: UserNum, device_id: &DeviceId) -> Result<Option<RemovedDevice>, ReadError> {
    let Some(mut row) = DeviceRow::load(txn, user, device_id)? else {
        return Ok(None);
    };
    row.delete_tokens(txn);
    txn.delete(DEVICE, &key(user, device_id));
    txn.delete(DEVICE_BY_NUM, &row.num.to_key());
    Ok(Some(RemovedDevice {
        num: row.num,
        id: device_id.to_owned(),
    }))
}

/// Cuts a name that is too long at a character's border.
pub(crate) fn clip_display_name(name: Option<String>) -> Option<String> {
    name.map(|mut name| {
        name.truncate(name.floor_char_boundary(DISPLAY_NAME_BYTES_MAX));
        name
    })
}

fn key(user: UserNum, device_id: &DeviceId) -> Key {
    Key::new().u32(user.0).str(device_id.as_str())
}

/// A device, as stored.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct DeviceRow {
    pub(crate) num: DeviceNum,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<String>,
    pub(crate) created_ms: u64,
    /// The access token in use.
    pub(crate) access: TokenHash,
    /// The refresh token in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh: Option<TokenHash>,
    /// The pair before the last refresh, until the client shows that it has the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<PreviousTokens>,
}

/// Tokens that a refresh has replaced.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct PreviousTokens {
    pub(crate) access: TokenHash,
    pub(crate) refresh: TokenHash,
}

impl DeviceRow {
    pub(crate) fn new(
        num: DeviceNum,
        display_name: Option<String>,
        created_ms: u64,
        access: TokenHash,
        refresh: Option<TokenHash>,
    ) -> Self {
        Self {
            num,
            display_name,
            created_ms,
            access,
            refresh,
            previous: None,
        }
    }

    pub(crate) fn load(read: &dyn Read, user: UserNum, device_id: &DeviceId) -> Result<Option<Self>, ReadError> {
        read.get_json(DEVICE, &key(user, device_id))
    }

    pub(crate) fn store(&self, txn: &mut WriteTxn<'_>, user: UserNum, device_id: &DeviceId) -> Result<(), ReadError> {
        txn.put_json(DEVICE, &key(user, device_id), self)?;
        let mut owner = user.to_key().to_vec();
        owner.extend_from_slice(device_id.as_bytes());
        txn.put(DEVICE_BY_NUM, &self.num.to_key(), Bytes::from(owner));
        Ok(())
    }

    fn into_device(self, read: &dyn Read, id: &DeviceId) -> Result<Device, ReadError> {
        let last_seen_ms = SessionRow::load(read, &self.access)?.map(|session| session.last_seen_ms);
        Ok(Device {
            num: self.num,
            id: id.to_owned(),
            display_name: self.display_name,
            last_seen_ms,
        })
    }
}
