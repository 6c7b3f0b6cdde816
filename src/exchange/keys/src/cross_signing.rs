//! Cross-signing keys: a master key, and a self-signing and a user-signing key that it signs.
//! Whether the user must authenticate anew is decided by [`needs_auth`] and done by the caller.

use crate::query::{signatures_json, splice};
use crate::signatures::USER_SIGNATURE;
use crate::signed::{Signatures, Signed, SignedError, public_key, verifies};
use crate::{device_keys, device_list};
use lamchat_base::UserNum;
use lamchat_store::{CommitError, Key, KeyRange, Read, ReadError, ReadExt, Table, WriteTxn};
use ruma::{CanonicalJsonValue, UserId};
use serde_json::value::RawValue;

/// (User, kind u8) -> the key as JSON.
pub(crate) const KEY: Table = Table::new(54, "keys.cross_signing");

/// Largest cross-signing key in canonical JSON.
pub const KEY_BYTES_MAX: usize = 4_096;

/// Which of the three keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Stands for the user.
    Master,
    /// Signs the user's devices.
    SelfSigning,
    /// Signs other users' master keys.
    UserSigning,
}

impl Kind {
    fn usage(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::SelfSigning => "self_signing",
            Self::UserSigning => "user_signing",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Master => 1,
            Self::SelfSigning => 2,
            Self::UserSigning => 3,
        }
    }
}

/// Why cross-signing keys were not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Not a signed object.
    #[error("cross-signing key: {0}")]
    Json(#[from] SignedError),
    /// A field is missing or wrong.
    #[error("{0}: {1}")]
    Malformed(&'static str, &'static str),
    /// A signature is missing or wrong.
    #[error("the {0} key is not signed by the master key, or a signature on it is wrong")]
    Signature(&'static str),
    /// There is no master key, neither in the request nor stored.
    #[error("no master signing key is available")]
    NoMaster,
    /// A public key is the id of one of the user's devices.
    #[error("a key is in use as a device id")]
    IdInUse,
    /// The keys changed between the check and the write.
    #[error("the cross-signing keys were changed at the same time by another request")]
    Raced,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A cross-signing key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct CrossSigningKey {
    /// The public key in base64.
    pub public: String,
    /// The signed part, canonical JSON.
    pub canonical: String,
    /// Signatures that were verified and that everyone may see.
    pub signatures: Signatures,
}

impl CrossSigningKey {
    /// As `/keys/query` shows it.
    pub fn json(&self) -> String {
        let mut json = String::new();
        splice(&mut json, &self.canonical, &signatures_json(&self.signatures), None);
        json
    }
}

/// What a request contains, with signatures that were verified as far as that is possible without the store.
#[derive(Debug, Clone, Default)]
pub struct ParsedKeys {
    keys: Vec<(Kind, Signed, String)>,
}

impl ParsedKeys {
    /// Checks the form of the keys of a request; verifies nothing yet.
    pub fn parse(
        user_id: &UserId,
        master: Option<&RawValue>,
        self_signing: Option<&RawValue>,
        user_signing: Option<&RawValue>,
    ) -> Result<Self, UploadError> {
        let given = [
            (Kind::Master, master),
            (Kind::SelfSigning, self_signing),
            (Kind::UserSigning, user_signing),
        ];
        let mut keys = Vec::new();
        for (kind, json) in given {
            let Some(json) = json else { continue };
            let malformed = |what| UploadError::Malformed(kind.usage(), what);
            if json.get().len() > 2 * KEY_BYTES_MAX {
                return Err(malformed("too large"));
            }
            let signed = Signed::parse(json)?;
            if signed.text("user_id") != Some(user_id.as_str()) {
                return Err(malformed("`user_id` must be yours"));
            }
            match signed.object.get("usage") {
                Some(CanonicalJsonValue::Array(usage))
                    if usage.iter().any(|usage| usage.as_str() == Some(kind.usage())) => {}
                _ => return Err(malformed("`usage` must name the kind of the key")),
            }
            // "The object's `keys` must have one property, `<algorithm>:<unpadded_base64>`"
            let public = match signed.object.get("keys") {
                Some(CanonicalJsonValue::Object(keys)) if keys.len() == 1 => {
                    keys.iter().next().and_then(|(id, key)| {
                        let key = key.as_str()?;
                        (id.strip_prefix("ed25519:")? == key && public_key(key).is_some()).then(|| key.to_owned())
                    })
                }
                _ => None,
            };
            let public = public.ok_or_else(|| malformed("`keys` must contain one ed25519 key, named by itself"))?;
            keys.push((kind, signed, public));
        }
        Ok(Self { keys })
    }

    fn public(&self, kind: Kind) -> Option<&str> {
        self.keys
            .iter()
            .find(|(of, ..)| *of == kind)
            .map(|(.., public)| public.as_str())
    }
}

/// Whether the user must authenticate anew for `keys`; an error if no master key is available.
///
/// "User-Interactive Authentication MUST be performed for regular clients, except in these cases: there is no existing
/// master signing key uploaded to the homeserver, OR there is an existing master signing key and it exactly matches the
/// master signing key provided in the request body. If there are any additional keys provided in the request they MUST
/// also match the existing keys stored on the server." (1.11)
pub fn needs_auth(read: &dyn Read, user: UserNum, keys: &ParsedKeys) -> Result<bool, UploadError> {
    let Some(master) = load(read, user, Kind::Master)? else {
        return if keys.public(Kind::Master).is_none() {
            Err(UploadError::NoMaster)
        } else {
            Ok(false)
        };
    };
    if keys.public(Kind::Master) != Some(master.public.as_str()) {
        return Ok(true);
    }
    for (kind, signed, _) in &keys.keys {
        if load(read, user, *kind)?.is_none_or(|stored| stored.canonical != signed.canonical()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Keys whose signatures are in order over the keys that were stored at the time.
#[derive(Debug, Clone)]
pub struct VerifiedKeys {
    keys: Vec<(Kind, CrossSigningKey)>,
    /// The stored master key that the verification relied on.
    relied_on: Option<String>,
    needs_auth: bool,
}

impl VerifiedKeys {
    /// Whether the user must authenticate anew before [`upload`], as [`needs_auth`] says.
    pub fn needs_auth(&self) -> bool {
        self.needs_auth
    }
}

/// Verifies the signatures among `keys` over a snapshot: outside the writer.
///
/// Self-signing and user-signing keys "must be signed by the accompanying master signing key, or by the user's most
/// recently uploaded master signing key if no master signing key is included in the request." A master key may carry
/// signatures by the user's devices; a wrong one is refused, those of unknown devices are dropped.
pub fn verify(
    read: &dyn Read,
    user: UserNum,
    user_id: &UserId,
    keys: &ParsedKeys,
) -> Result<VerifiedKeys, UploadError> {
    let needs_auth = needs_auth(read, user, keys)?;
    let relied_on = load(read, user, Kind::Master)?.map(|master| master.public);
    let master = keys
        .public(Kind::Master)
        .map(str::to_owned)
        .or_else(|| relied_on.clone())
        .ok_or(UploadError::NoMaster)?;
    let master_key = public_key(&master).ok_or(UploadError::NoMaster)?;
    let mut verified = Vec::new();
    for (kind, signed, public) in &keys.keys {
        if lamchat_accounts::device::num(read, user, public.as_str().into())?.is_some() {
            return Err(UploadError::IdInUse);
        }
        let canonical = signed.canonical();
        let own = signed.signatures.get(user_id.as_str());
        let mut kept = Signatures::new();
        let kept_own = kept.entry(user_id.as_str().to_owned()).or_default();
        let by_master = format!("ed25519:{master}");
        for (key_id, signature) in own.into_iter().flatten() {
            let signer = if *key_id == by_master {
                Some(master_key)
            } else if *kind == Kind::Master {
                device_key(read, user, key_id)?
            } else {
                None
            };
            let Some(signer) = signer else { continue };
            if !verifies(&signer, canonical.as_bytes(), signature) {
                return Err(UploadError::Signature(kind.usage()));
            }
            kept_own.insert(key_id.clone(), signature.clone());
        }
        if *kind != Kind::Master && !kept_own.contains_key(&by_master) {
            return Err(UploadError::Signature(kind.usage()));
        }
        kept.retain(|_, keys| !keys.is_empty());
        verified.push((
            *kind,
            CrossSigningKey {
                public: public.clone(),
                canonical,
                signatures: kept,
            },
        ));
    }
    Ok(VerifiedKeys {
        keys: verified,
        relied_on,
        needs_auth,
    })
}

/// The key of the user's device that `key_id` (`ed25519:DEVICE`) names.
fn device_key(read: &dyn Read, user: UserNum, key_id: &str) -> Result<Option<vodozemac::Ed25519PublicKey>, ReadError> {
    let Some(device_id) = key_id.strip_prefix("ed25519:") else {
        return Ok(None);
    };
    Ok(device_keys::signing_key(read, user, device_id.into())?.and_then(|key| public_key(&key)))
}

/// Stores verified keys and answers whether anything changed; if so the device list of the user was marked.
/// Signatures that an unchanged key has are kept. The caller has authenticated the user if [`needs_auth`] said so.
pub fn upload(txn: &mut WriteTxn<'_>, user: UserNum, keys: &VerifiedKeys) -> Result<bool, UploadError> {
    // What was verified, and whether to authenticate, was decided over this master key.
    let master_now = load(txn, user, Kind::Master)?.map(|master| master.public);
    if master_now != keys.relied_on {
        let ours = keys
            .keys
            .iter()
            .find(|(kind, _)| *kind == Kind::Master)
            .map(|(_, key)| &key.public);
        let repeated = ours.is_some() && ours == master_now.as_ref();
        if !repeated {
            return Err(UploadError::Raced);
        }
    }
    let mut changed = false;
    for (kind, key) in &keys.keys {
        let mut new = key.clone();
        let stored = load(txn, user, *kind)?;
        if let Some(stored) = &stored {
            if stored.canonical == key.canonical {
                for (signer, signatures) in &stored.signatures {
                    let into = new.signatures.entry(signer.clone()).or_default();
                    into.extend(signatures.iter().map(|(id, signature)| (id.clone(), signature.clone())));
                }
            } else if !keys.needs_auth {
                return Err(UploadError::Raced);
            }
        }
        if lamchat_accounts::device::num(txn, user, key.public.as_str().into())?.is_some() {
            return Err(UploadError::IdInUse);
        }
        if stored.as_ref() != Some(&new) {
            store(txn, user, *kind, &new)?;
            changed = true;
        }
    }
    if changed {
        device_list::mark_changed(txn, user)?;
    }
    Ok(changed)
}

/// Removes the cross-signing keys of an account that is closed, and what it signed with them; answers whether others saw
/// keys (then its device list was marked, and the caller wakes the rooms).
pub fn forget(txn: &mut WriteTxn<'_>, user: UserNum) -> Result<bool, ReadError> {
    let of_user = KeyRange::prefix(&user.to_key());
    txn.delete_range(USER_SIGNATURE, &of_user)?;
    let had_keys = txn.delete_range(KEY, &of_user)? > 0;
    if had_keys {
        device_list::mark_changed(txn, user)?;
    }
    Ok(had_keys)
}

/// Whether `text` is the public key of one of the user's cross-signing keys: device ids must not be.
pub fn is_public_key(read: &dyn Read, user: UserNum, text: &str) -> Result<bool, ReadError> {
    for kind in [Kind::Master, Kind::SelfSigning, Kind::UserSigning] {
        if load(read, user, kind)?.is_some_and(|key| key.public == text) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn load(read: &dyn Read, user: UserNum, kind: Kind) -> Result<Option<CrossSigningKey>, ReadError> {
    read.get_json(KEY, &Key::new().u32(user.0).u8(kind.number()))
}

pub(crate) fn store(txn: &mut WriteTxn<'_>, user: UserNum, kind: Kind, key: &CrossSigningKey) -> Result<(), ReadError> {
    txn.put_json(KEY, &Key::new().u32(user.0).u8(kind.number()), key)
}

#[cfg(test)]
mod tests;
