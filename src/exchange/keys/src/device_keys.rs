//! Identity keys of devices: uploaded by the device itself, signed by itself, and never exchanged for others.

use crate::device_list;
use crate::row::{malformed_row, parse_json};
use crate::signed::{Signatures, Signed, SignedError, public_key, verifies};
use crate::{Owner, cross_signing, one_time, to_device};
use lamchat_base::{DeviceNum, UserNum};
use lamchat_store::{Bytes, CommitError, Key, KeyReader, Read, ReadError, Table, WriteTxn};
use ruma::{CanonicalJsonValue, DeviceId, UserId};
use serde_json::value::RawValue;

/// (User, device id) -> device u32, length u32 and bytes of the signed part, the signatures as JSON.
pub(crate) const DEVICE: Table = Table::new(48, "keys.device");

/// Largest device keys, in canonical JSON.
pub const DEVICE_KEYS_BYTES_MAX: usize = 16 * 1024;

/// Why device keys were not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Not a signed object.
    #[error("device_keys: {0}")]
    Json(#[from] SignedError),
    /// A field is missing or of the wrong type.
    #[error("device_keys: {0}")]
    Malformed(&'static str),
    /// `user_id` or `device_id` is another's.
    #[error("device_keys: user_id and device_id must be those of the session")]
    NotYours,
    /// Larger than [`DEVICE_KEYS_BYTES_MAX`].
    #[error("device_keys must not be larger than 16 KiB")]
    TooLarge,
    /// Not signed by the key that they contain.
    #[error("device_keys: the signature of the device is missing or wrong")]
    Signature,
    /// The device has other identity keys already.
    #[error("the identity keys of a device cannot be changed: log in as a new device")]
    IdentityChanged,
    /// The device's id is the public key of a cross-signing key.
    #[error("the device id is in use as a cross-signing key")]
    IdInUse,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Device keys whose form and own signature are in order.
#[derive(Debug, Clone)]
pub struct VerifiedDeviceKeys {
    canonical: String,
    ed25519: String,
    /// The `keys` that make up the device's identity, in canonical JSON.
    identity: String,
    signatures: Signatures,
}

impl VerifiedDeviceKeys {
    /// The device's signing key in base64, for [`one_time::verify`].
    pub fn ed25519(&self) -> &str {
        &self.ed25519
    }
}

/// Checks the form of `json` and its signature. Costs about 50 µs: call it outside the writer.
pub fn verify(user_id: &UserId, device_id: &DeviceId, json: &RawValue) -> Result<VerifiedDeviceKeys, UploadError> {
    if json.get().len() > 2 * DEVICE_KEYS_BYTES_MAX {
        return Err(UploadError::TooLarge);
    }
    let mut signed = Signed::parse(json)?;
    if signed.text("user_id") != Some(user_id.as_str()) || signed.text("device_id") != Some(device_id.as_str()) {
        return Err(UploadError::NotYours);
    }
    match signed.object.get("algorithms") {
        Some(CanonicalJsonValue::Array(names)) if names.iter().all(|name| name.as_str().is_some()) => {}
        _ => return Err(UploadError::Malformed("`algorithms` must be a list of strings")),
    }
    let Some(CanonicalJsonValue::Object(keys)) = signed.object.get("keys") else {
        return Err(UploadError::Malformed("`keys` must be a map"));
    };
    if keys.values().any(|key| key.as_str().is_none()) {
        return Err(UploadError::Malformed("`keys` must be a map of strings"));
    }
    // "The JSON object must include the public part of the device's Ed25519 key, and must be signed by that key"
    let key_id = format!("ed25519:{device_id}");
    let Some(ed25519) = keys.get(&key_id).and_then(|key| key.as_str()).map(str::to_owned) else {
        return Err(UploadError::Malformed("`keys` must contain the device's ed25519 key"));
    };
    let Some(public) = public_key(&ed25519) else {
        return Err(UploadError::Malformed("the ed25519 key is not a key"));
    };
    let identity = CanonicalJsonValue::Object(keys.clone()).to_string();
    let canonical = signed.canonical();
    if canonical.len() > DEVICE_KEYS_BYTES_MAX {
        return Err(UploadError::TooLarge);
    }
    if !signed
        .signature(user_id.as_str(), &key_id)
        .is_some_and(|signature| verifies(&public, canonical.as_bytes(), signature))
    {
        return Err(UploadError::Signature);
    }
    // Signatures of other users have no business here.
    signed.signatures.retain(|user, _| user == user_id.as_str());
    Ok(VerifiedDeviceKeys {
        canonical,
        ed25519,
        identity,
        signatures: signed.signatures,
    })
}

/// Stores device keys and answers whether anything changed; if so the device list of the user is marked, and the
/// caller wakes the rooms of the user. The same keys again write nothing.
///
/// Identity keys that differ from those that the device has are refused: other clients would take the change for an
/// attack, and one-time keys and sessions of the old identity would be left behind.
pub fn upload(txn: &mut WriteTxn<'_>, owner: &Owner<'_>, keys: &VerifiedDeviceKeys) -> Result<bool, UploadError> {
    // "Servers therefore must ensure that device IDs will not collide with cross-signing public keys."
    if cross_signing::is_public_key(txn, owner.user, owner.device_id.as_str())? {
        return Err(UploadError::IdInUse);
    }
    let mut signatures = Signatures::new();
    let stored = load(txn, owner.user, owner.device_id)?.filter(|stored| stored.device == owner.device);
    if let Some(stored) = stored {
        if stored.canonical.as_ref() == keys.canonical.as_bytes() {
            return Ok(false);
        }
        if stored.identity()? != keys.identity {
            return Err(UploadError::IdentityChanged);
        }
    }
    let own = signatures.entry(owner.user_id.as_str().to_owned()).or_default();
    let self_signing = cross_signing::load(txn, owner.user, cross_signing::Kind::SelfSigning)?;
    for (key_id, signature) in keys.signatures.get(owner.user_id.as_str()).into_iter().flatten() {
        let by_device = *key_id == format!("ed25519:{}", owner.device_id);
        let by_self_signing = self_signing.as_ref().is_some_and(|key| {
            *key_id == format!("ed25519:{}", key.public)
                && public_key(&key.public).is_some_and(|key| verifies(&key, keys.canonical.as_bytes(), signature))
        });
        if by_device || by_self_signing {
            own.insert(key_id.clone(), signature.clone());
        }
    }
    let row = StoredKeys {
        device: owner.device,
        canonical: Bytes::from(keys.canonical.clone()),
        signatures,
    };
    row.store(txn, owner.user, owner.device_id)?;
    device_list::mark_changed(txn, owner.user)?;
    Ok(true)
}

/// Removes the identity keys, the one-time keys and the inbox of a device that is deleted, in the same commit, and
/// answers whether others saw it (then its user's device list was marked, and the caller wakes the rooms).
pub fn forget(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    device: DeviceNum,
    device_id: &DeviceId,
) -> Result<bool, ReadError> {
    one_time::forget(txn, device)?;
    to_device::forget(txn, device)?;
    let had_keys = load(txn, user, device_id)?.is_some_and(|stored| stored.device == device);
    if had_keys {
        txn.delete(DEVICE, &key(user, device_id));
        device_list::mark_changed(txn, user)?;
    }
    Ok(had_keys)
}

/// Notes that the name of a device changed, which others see beside its keys; answers whether they do.
pub fn renamed(txn: &mut WriteTxn<'_>, user: UserNum, device_id: &DeviceId) -> Result<bool, ReadError> {
    let has_keys = txn.get(DEVICE, &key(user, device_id))?.is_some();
    if has_keys {
        device_list::mark_changed(txn, user)?;
    }
    Ok(has_keys)
}

/// The device's signing key in base64, if it has uploaded its keys.
pub fn signing_key(read: &dyn Read, user: UserNum, device_id: &DeviceId) -> Result<Option<String>, ReadError> {
    match load(read, user, device_id)? {
        None => Ok(None),
        Some(stored) => stored.key(&format!("ed25519:{device_id}")),
    }
}

/// The number of a device that has keys; what `/keys/claim` asks.
pub fn device_num(read: &dyn Read, user: UserNum, device_id: &str) -> Result<Option<DeviceNum>, ReadError> {
    match read.get(DEVICE, &Key::new().u32(user.0).str(device_id))? {
        None => Ok(None),
        Some(row) => Ok(Some(DeviceNum(
            KeyReader::new(&row).u32().ok_or_else(|| malformed_row(DEVICE))?,
        ))),
    }
}

fn key(user: UserNum, device_id: &DeviceId) -> Key {
    Key::new().u32(user.0).str(device_id.as_str())
}

/// Device keys as they are stored: the signed part in canonical JSON, and the signatures that were verified.
#[derive(Debug, Clone)]
pub(crate) struct StoredKeys {
    pub device: DeviceNum,
    pub canonical: Bytes,
    pub signatures: Signatures,
}

impl StoredKeys {
    pub fn store(&self, txn: &mut WriteTxn<'_>, user: UserNum, device_id: &DeviceId) -> Result<(), ReadError> {
        let signatures = serde_json::to_vec(&self.signatures).map_err(|error| ReadError::Malformed {
            table: DEVICE.name,
            detail: error.to_string(),
        })?;
        let length = u32::try_from(self.canonical.len()).unwrap_or(u32::MAX);
        let row = Key::new()
            .u32(self.device.0)
            .u32(length)
            .raw(&self.canonical)
            .raw(&signatures);
        txn.put(DEVICE, &key(user, device_id), row.to_vec());
        Ok(())
    }

    /// The keys in canonical JSON, to compare.
    fn identity(&self) -> Result<String, ReadError> {
        let Fields { keys } = parse_json(DEVICE, &self.canonical)?;
        Ok(CanonicalJsonValue::Object(keys).to_string())
    }

    /// The key called `name`.
    pub fn key(&self, name: &str) -> Result<Option<String>, ReadError> {
        let Fields { keys } = parse_json(DEVICE, &self.canonical)?;
        Ok(keys.get(name).and_then(|key| key.as_str()).map(str::to_owned))
    }
}

#[derive(serde::Deserialize)]
struct Fields {
    keys: ruma::CanonicalJsonObject,
}

pub(crate) fn load(read: &dyn Read, user: UserNum, device_id: &DeviceId) -> Result<Option<StoredKeys>, ReadError> {
    let Some(row) = read.get(DEVICE, &key(user, device_id))? else {
        return Ok(None);
    };
    let (device, canonical, signatures) = split(&row)?;
    Ok(Some(StoredKeys {
        device,
        canonical: Bytes::copy_from_slice(canonical),
        signatures: parse_json(DEVICE, signatures)?,
    }))
}

/// The parts of a row: device, signed part, signatures as JSON.
pub(crate) fn split(row: &[u8]) -> Result<(DeviceNum, &[u8], &[u8]), ReadError> {
    let mut parts = KeyReader::new(row);
    let (Some(device), Some(length)) = (parts.u32(), parts.u32()) else {
        return Err(malformed_row(DEVICE));
    };
    let (canonical, signatures) = parts
        .rest()
        .split_at_checked(length as usize)
        .ok_or_else(|| malformed_row(DEVICE))?;
    Ok((DeviceNum(device), canonical, signatures))
}

#[cfg(test)]
mod tests;
