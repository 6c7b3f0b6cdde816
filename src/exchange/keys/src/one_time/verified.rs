//! Checking one-time keys before they go near the writer.

use super::{ALGORITHMS_MAX, KEY_BYTES_MAX, KEY_ID_BYTES_MAX, ONE_TIME_KEYS_MAX, SIGNED, UploadError};
use crate::signed::Signed;
use ruma::{DeviceId, UserId};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Keys whose form and signatures are in order.
#[derive(Debug, Clone, Default)]
pub struct VerifiedKeys {
    /// By algorithm: id and JSON.
    pub(super) one_time: BTreeMap<String, Vec<(String, String)>>,
    pub(super) fallback: BTreeMap<String, (String, String)>,
}

impl VerifiedKeys {
    /// Whether there is nothing to upload.
    pub fn is_empty(&self) -> bool {
        self.one_time.is_empty() && self.fallback.is_empty()
    }
}

/// Length of an ed25519 signature in unpadded base64.
const SIGNATURE_CHARACTERS: usize = 86;

/// Checks the form of keys: `signed_curve25519` ones carry a signature by the device.
///
/// Those signatures are not verified here. Whoever claims a key verifies it against the device's key (which was verified
/// at its upload), and must: "clients MUST verify signatures" of what they claim. Here it would cost 50 µs a key, 2.5 ms
/// for a usual upload, which a hostile client could ask for as often as it likes.
///
/// `has_device_keys`: whether the device's identity keys are known, from the same request or from before.
pub fn verify(
    user_id: &UserId,
    device_id: &DeviceId,
    has_device_keys: bool,
    one_time_keys: &BTreeMap<String, Box<RawValue>>,
    fallback_keys: &BTreeMap<String, Box<RawValue>>,
) -> Result<VerifiedKeys, UploadError> {
    if one_time_keys.len() > ONE_TIME_KEYS_MAX || fallback_keys.len() > ALGORITHMS_MAX {
        return Err(UploadError::TooMany);
    }
    let signer = Signer {
        has_device_keys,
        user_id: user_id.as_str(),
        key_id: format!("ed25519:{device_id}"),
    };
    let mut verified = VerifiedKeys::default();
    for (name, json) in one_time_keys {
        let (algorithm, id) = signer.check(name, json)?;
        let keys = verified.one_time.entry(algorithm.to_owned()).or_default();
        keys.push((id.to_owned(), json.get().to_owned()));
    }
    for (name, json) in fallback_keys {
        let (algorithm, id) = signer.check(name, json)?;
        // "There can only be at most one key per algorithm uploaded" (1.2)
        let key = (id.to_owned(), json.get().to_owned());
        if verified.fallback.insert(algorithm.to_owned(), key).is_some() {
            return Err(UploadError::Malformed(
                name.clone(),
                "at most one fallback key per algorithm",
            ));
        }
    }
    Ok(verified)
}

struct Signer<'a> {
    has_device_keys: bool,
    user_id: &'a str,
    key_id: String,
}

impl Signer<'_> {
    fn check<'n>(&self, name: &'n str, json: &RawValue) -> Result<(&'n str, &'n str), UploadError> {
        let malformed = |what| UploadError::Malformed(name.chars().take(64).collect(), what);
        let (algorithm, id) = name
            .split_once(':')
            .ok_or_else(|| malformed("the name must be algorithm:id"))?;
        if name.len() > KEY_ID_BYTES_MAX || algorithm.is_empty() || algorithm.len() > 64 {
            return Err(malformed("the name is too long"));
        }
        if json.get().len() > KEY_BYTES_MAX {
            return Err(malformed("the key is too large"));
        }
        if algorithm == SIGNED {
            if !self.has_device_keys {
                return Err(UploadError::NoDeviceKeys);
            }
            let signed = Signed::parse(json).map_err(|_| malformed("not a signed object"))?;
            if signed.text("key").is_none() {
                return Err(malformed("`key` is missing"));
            }
            let signature = signed.signature(self.user_id, &self.key_id);
            if signature.is_none_or(|signature| signature.len() != SIGNATURE_CHARACTERS) {
                return Err(UploadError::Signature(name.to_owned()));
            }
        } else if !json.get().starts_with(['"', '{']) {
            return Err(malformed("the key must be a string or an object"));
        }
        Ok((algorithm, id))
    }
}
