//! Checking one-time keys before they go near the writer.

use super::{
    ALGORITHMS_MAX, ClaimedKey, KEY_BYTES_MAX, KEY_ID_BYTES_MAX, ONE_TIME_KEYS_MAX, SIGNED, SIGNED_PREFIX, UploadError,
};
use crate::signed::{Signed, public_key, verifies};
use ruma::{DeviceId, UserId};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use vodozemac::Ed25519PublicKey;

/// Of an upload of more keys than this, two signatures are verified instead of all.
pub const ALL_VERIFIED_MAX: usize = 8;

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

/// Checks keys: `signed_curve25519` ones carry a signature by the device, whose ed25519 key in base64 is `signing_key`,
/// from the same request or from before; `None` if the device has uploaded none.
///
/// Verified are the signatures of all fallback keys, and of all one-time keys where there are at most
/// [`ALL_VERIFIED_MAX`]; of a larger upload those of the first and the last, so that a client that signs wrongly hears
/// it. The others are verified by [`is_signed`] before anybody is given them, and one that fails is thrown away: one
/// signature costs 31 µs (13 µs in ed25519-dalek's batches), 50 keys 1.6 ms (0.7 ms) of CPU for each upload, four times
/// what all the rest of it takes, for keys of which most are never claimed.
pub fn verify(
    user_id: &UserId,
    device_id: &DeviceId,
    signing_key: Option<&str>,
    one_time_keys: &BTreeMap<String, Box<RawValue>>,
    fallback_keys: &BTreeMap<String, Box<RawValue>>,
) -> Result<VerifiedKeys, UploadError> {
    if one_time_keys.len() > ONE_TIME_KEYS_MAX || fallback_keys.len() > ALGORITHMS_MAX {
        return Err(UploadError::TooMany);
    }
    let public = signing_key.map(|key| public_key(key).ok_or(UploadError::NoDeviceKeys));
    let signer = Signer {
        public: public.transpose()?,
        user_id: user_id.as_str(),
        key_id: format!("ed25519:{device_id}"),
    };
    let mut verified = VerifiedKeys::default();
    let number = one_time_keys.len();
    for (index, (name, json)) in one_time_keys.iter().enumerate() {
        let is_verified = number <= ALL_VERIFIED_MAX || index == 0 || index + 1 == number;
        let (algorithm, id) = signer.check(name, json, is_verified)?;
        let keys = verified.one_time.entry(algorithm.to_owned()).or_default();
        keys.push((id.to_owned(), json.get().to_owned()));
    }
    for (name, json) in fallback_keys {
        let (algorithm, id) = signer.check(name, json, true)?;
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

/// Whether a key that was claimed is one that its device signed; keys of algorithms without signatures pass. About 31 µs.
pub fn is_signed(user_id: &str, device_id: &str, signing_key: &str, claimed: &ClaimedKey) -> bool {
    if !claimed.name.starts_with(SIGNED_PREFIX) {
        return true;
    }
    let (Some(public), Ok(signed)) = (
        public_key(signing_key),
        serde_json::from_str::<Box<RawValue>>(&claimed.json)
            .map_err(drop)
            .and_then(|json| Signed::parse(&json).map_err(drop)),
    ) else {
        return false;
    };
    signed
        .signature(user_id, &format!("ed25519:{device_id}"))
        .is_some_and(|signature| verifies(&public, signed.canonical().as_bytes(), signature))
}

struct Signer<'a> {
    public: Option<Ed25519PublicKey>,
    user_id: &'a str,
    key_id: String,
}

impl Signer<'_> {
    fn check<'n>(&self, name: &'n str, json: &RawValue, is_verified: bool) -> Result<(&'n str, &'n str), UploadError> {
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
            let public = self.public.as_ref().ok_or(UploadError::NoDeviceKeys)?;
            let signed = Signed::parse(json).map_err(|_| malformed("not a signed object"))?;
            if signed.text("key").is_none() {
                return Err(malformed("`key` is missing"));
            }
            let signature = signed.signature(self.user_id, &self.key_id);
            let is_good = |signature: &str| {
                signature.len() == SIGNATURE_CHARACTERS
                    && (!is_verified || verifies(public, signed.canonical().as_bytes(), signature))
            };
            if !signature.is_some_and(is_good) {
                return Err(UploadError::Signature(name.to_owned()));
            }
        } else if !json.get().starts_with(['"', '{']) {
            return Err(malformed("the key must be a string or an object"));
        }
        Ok((algorithm, id))
    }
}
