//! Signed JSON: the part that is signed, apart from its signatures (Matrix appendices, "Signing JSON").
//! Verifies; never signs.

use ruma::{CanonicalJsonObject, CanonicalJsonValue};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use vodozemac::{Ed25519PublicKey, Ed25519Signature};

/// Signatures by user id and key id (`algorithm:name`), in unpadded base64.
pub(crate) type Signatures = BTreeMap<String, BTreeMap<String, String>>;

/// Why a signed object was not understood.
#[derive(Debug, thiserror::Error)]
pub enum SignedError {
    /// Not a JSON object in the limits of canonical JSON.
    #[error("not a JSON object that can be signed: {0}")]
    Json(String),
    /// `signatures` is not a map of maps of strings.
    #[error("`signatures` must map user ids to maps of key ids to signatures")]
    Signatures,
}

/// A signed object, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    /// What is signed: the object without `signatures` and `unsigned`.
    pub object: CanonicalJsonObject,
    /// Who signed it.
    pub signatures: Signatures,
}

impl Signed {
    /// Takes an object apart.
    pub fn parse(json: &RawValue) -> Result<Self, SignedError> {
        let mut object: CanonicalJsonObject =
            serde_json::from_str(json.get()).map_err(|error| SignedError::Json(error.to_string()))?;
        object.remove("unsigned");
        let signatures = match object.remove("signatures") {
            None => Signatures::new(),
            Some(value) => signatures_of(value).ok_or(SignedError::Signatures)?,
        };
        Ok(Self { object, signatures })
    }

    /// The bytes that are signed.
    pub fn canonical(&self) -> String {
        CanonicalJsonValue::Object(self.object.clone()).to_string()
    }

    /// The string under `field`.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.object.get(field)?.as_str()
    }

    /// The signature of `user_id` by `key_id`.
    pub fn signature(&self, user_id: &str, key_id: &str) -> Option<&str> {
        self.signatures.get(user_id)?.get(key_id).map(String::as_str)
    }
}

fn signatures_of(value: CanonicalJsonValue) -> Option<Signatures> {
    let CanonicalJsonValue::Object(users) = value else {
        return None;
    };
    let mut signatures = Signatures::new();
    for (user, keys) in users {
        let CanonicalJsonValue::Object(keys) = keys else {
            return None;
        };
        let mut of_user = BTreeMap::new();
        for (key, signature) in keys {
            let CanonicalJsonValue::String(signature) = signature else {
                return None;
            };
            of_user.insert(key, signature);
        }
        signatures.insert(user, of_user);
    }
    Some(signatures)
}

/// Whether `signature` (unpadded base64) is the signature of `public` over `canonical`.
pub(crate) fn verifies(public: &Ed25519PublicKey, canonical: &[u8], signature: &str) -> bool {
    Ed25519Signature::from_base64(signature).is_ok_and(|signature| public.verify(canonical, &signature).is_ok())
}

/// A public key from unpadded base64.
pub(crate) fn public_key(base64: &str) -> Option<Ed25519PublicKey> {
    // vodozemac 0.11 panics on 44 characters without padding and on 43 with it: both pass its length check but decode to
    // 33 or 31 bytes. 43 characters of base64 are 32 bytes.
    let digits = base64.strip_suffix('=').unwrap_or(base64);
    if digits.len() != 43 || digits.contains('=') {
        return None;
    }
    Ed25519PublicKey::from_base64(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::public_key;

    #[test]
    fn keys_of_a_wrong_length_are_refused_not_panicked_on() {
        let good = "VzJIYXQ85u19z2ZpEeLLVu8hUKTCE0VXYUn4IY4iFcA";
        assert!(public_key(good).is_some() && public_key(&format!("{good}=")).is_some());
        for wrong in [
            format!("{good}A"),
            format!("{good}=="),
            good[1..].to_owned() + "=",
            String::new(),
            "=".repeat(44),
        ] {
            assert!(public_key(&wrong).is_none(), "{wrong}");
        }
    }
}
