//! Signatures that users upload: of their own devices and master key, and of other users' master keys.
//! Stores none that does not verify; shows those of user-signing keys to nobody but their owner.

use crate::cross_signing::{self, Kind};
use crate::device_keys::{self, StoredKeys};
use crate::signed::{Signatures, Signed, public_key, verifies};
use crate::{device_list, signed};
use lamchat_base::UserNum;
use lamchat_store::{CommitError, Key, KeyRange, Order, Read, ReadError, ReadExt, Table, WriteTxn};
use ruma::{DeviceId, OwnedUserId, UserId};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// (Signer, target user) -> the signature of the target's master key by the signer's user-signing key.
pub(crate) const USER_SIGNATURE: Table = Table::new(55, "keys.user_signature");

/// Most keys of one request.
pub const KEYS_MAX: usize = 1_000;

/// Signed objects by user and by key: a device id, or the public key of a master key.
pub type Uploaded = BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>;
/// What was wrong, by user and by key, as in the answer.
pub type Failures = BTreeMap<OwnedUserId, BTreeMap<String, SignatureError>>;

/// Why the signatures of one key were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The user or the key is not known.
    #[error("there is no such key")]
    Unknown,
    /// A signature is wrong, missing, or of another object than the stored one.
    #[error("the signature is invalid")]
    Invalid,
    /// Not an object with signatures.
    #[error("not a signed object")]
    Malformed,
}

/// Why the request as a whole failed.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// More than [`KEYS_MAX`] keys.
    #[error("a request may sign at most 1000 keys")]
    TooMany,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A signature by a user-signing key, as stored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct UserSignature {
    /// The user who signed.
    pub signer_id: String,
    /// The master key that was signed, in base64.
    pub master: String,
    /// The user-signing key, `ed25519:…`.
    pub key_id: String,
    pub signature: String,
}

/// A signature that verified, and where it goes.
#[derive(Debug, Clone)]
enum Accepted {
    Device {
        device_id: String,
        canonical: Vec<u8>,
        key_id: String,
        signature: String,
    },
    OwnMaster {
        public: String,
        key_id: String,
        signature: String,
    },
    OtherMaster {
        target: UserNum,
        signature: UserSignature,
    },
}

/// What [`verify`] found.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    accepted: Vec<Accepted>,
    /// For the answer.
    pub failures: Failures,
}

impl Verified {
    /// Whether there is nothing to [`store`].
    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty()
    }
}

/// Verifies what `user` uploaded against the stored keys, over a snapshot: outside the writer.
///
/// "The signed JSON object must match the key previously uploaded": signatures are verified over the *stored* object,
/// so those of any other fail.
pub fn verify(read: &dyn Read, user: UserNum, user_id: &UserId, uploaded: &Uploaded) -> Result<Verified, UploadError> {
    if uploaded.values().map(BTreeMap::len).sum::<usize>() > KEYS_MAX {
        return Err(UploadError::TooMany);
    }
    let mut verified = Verified::default();
    for (target_id, keys) in uploaded {
        let target = lamchat_accounts::user::num(read, target_id)?;
        for (name, json) in keys {
            let result = match target {
                None => Err(SignatureError::Unknown),
                Some(target) if target == user => own_key(read, user, user_id, name, json)?,
                Some(target) => others_master(read, user, user_id, target, name, json)?,
            };
            match result {
                Ok(accepted) => verified.accepted.extend(accepted),
                Err(error) => {
                    verified
                        .failures
                        .entry(target_id.clone())
                        .or_default()
                        .insert(name.clone(), error);
                }
            }
        }
    }
    Ok(verified)
}

type Checked = Result<Vec<Accepted>, SignatureError>;

/// One of the user's own devices, signed by the self-signing key, or the own master key, signed by devices.
fn own_key(
    read: &dyn Read,
    user: UserNum,
    user_id: &UserId,
    name: &str,
    json: &RawValue,
) -> Result<Checked, ReadError> {
    let Ok(signed) = Signed::parse(json) else {
        return Ok(Err(SignatureError::Malformed));
    };
    let given = signed.signatures.get(user_id.as_str()).cloned().unwrap_or_default();
    let master = cross_signing::load(read, user, Kind::Master)?;
    if let Some(master) = master.filter(|master| master.public == name) {
        let mut accepted = Vec::new();
        for (key_id, signature) in given {
            if stored_already(&master.signatures, user_id, &key_id, &signature) {
                continue;
            }
            let device_id = key_id.strip_prefix("ed25519:").unwrap_or_default();
            let Some(key) = device_keys::signing_key(read, user, device_id.into())?.and_then(|key| public_key(&key))
            else {
                return Ok(Err(SignatureError::Invalid));
            };
            if !verifies(&key, master.canonical.as_bytes(), &signature) {
                return Ok(Err(SignatureError::Invalid));
            }
            accepted.push(Accepted::OwnMaster {
                public: master.public.clone(),
                key_id,
                signature,
            });
        }
        return Ok(Ok(accepted));
    }
    let Some(device) = device_keys::load(read, user, name.into())? else {
        return Ok(Err(SignatureError::Unknown));
    };
    let self_signing = cross_signing::load(read, user, Kind::SelfSigning)?;
    let mut accepted = Vec::new();
    for (key_id, signature) in given {
        if stored_already(&device.signatures, user_id, &key_id, &signature) {
            continue;
        }
        let Some(key) = self_signing
            .as_ref()
            .filter(|key| key_id == format!("ed25519:{}", key.public))
        else {
            return Ok(Err(SignatureError::Invalid));
        };
        if !public_key(&key.public).is_some_and(|key| verifies(&key, &device.canonical, &signature)) {
            return Ok(Err(SignatureError::Invalid));
        }
        let canonical = device.canonical.to_vec();
        accepted.push(Accepted::Device {
            device_id: name.to_owned(),
            canonical,
            key_id,
            signature,
        });
    }
    Ok(Ok(accepted))
}

/// Another user's master key, signed by the own user-signing key.
fn others_master(
    read: &dyn Read,
    user: UserNum,
    user_id: &UserId,
    target: UserNum,
    name: &str,
    json: &RawValue,
) -> Result<Checked, ReadError> {
    let Ok(signed) = Signed::parse(json) else {
        return Ok(Err(SignatureError::Malformed));
    };
    let Some(master) = cross_signing::load(read, target, Kind::Master)?.filter(|master| master.public == name) else {
        return Ok(Err(SignatureError::Unknown));
    };
    let Some(user_signing) = cross_signing::load(read, user, Kind::UserSigning)? else {
        return Ok(Err(SignatureError::Invalid));
    };
    let key_id = format!("ed25519:{}", user_signing.public);
    let Some(signature) = signed.signature(user_id.as_str(), &key_id) else {
        return Ok(Err(SignatureError::Invalid));
    };
    if !signed::public_key(&user_signing.public)
        .is_some_and(|key| verifies(&key, master.canonical.as_bytes(), signature))
    {
        return Ok(Err(SignatureError::Invalid));
    }
    let signature = UserSignature {
        signer_id: user_id.as_str().to_owned(),
        master: master.public,
        key_id,
        signature: signature.to_owned(),
    };
    Ok(Ok(vec![Accepted::OtherMaster { target, signature }]))
}

fn stored_already(stored: &Signatures, user_id: &UserId, key_id: &str, signature: &str) -> bool {
    stored
        .get(user_id.as_str())
        .and_then(|keys| keys.get(key_id))
        .is_some_and(|stored| stored == signature)
}

/// Stores what verified, unless the key that was signed changed since. Answers whether others see a difference in
/// the devices of `user` (its device list is marked then, and the caller wakes its rooms).
pub fn store(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    user_id: &UserId,
    verified: &Verified,
) -> Result<bool, UploadError> {
    let mut seen_by_others = false;
    for accepted in &verified.accepted {
        match accepted {
            Accepted::Device {
                device_id,
                canonical,
                key_id,
                signature,
            } => {
                let device_id: &DeviceId = device_id.as_str().into();
                let Some(mut stored) = device_keys::load(txn, user, device_id)? else {
                    continue;
                };
                if stored.canonical.as_ref() == canonical.as_slice() {
                    add(&mut stored.signatures, user_id, key_id, signature);
                    StoredKeys::store(&stored, txn, user, device_id)?;
                    seen_by_others = true;
                }
            }
            Accepted::OwnMaster {
                public,
                key_id,
                signature,
            } => {
                let Some(mut master) = cross_signing::load(txn, user, Kind::Master)? else {
                    continue;
                };
                if master.public == *public {
                    add(&mut master.signatures, user_id, key_id, signature);
                    cross_signing::store(txn, user, Kind::Master, &master)?;
                    seen_by_others = true;
                }
            }
            Accepted::OtherMaster { target, signature } => {
                let key = Key::new().u32(user.0).u32(target.0);
                if txn.get_json::<UserSignature>(USER_SIGNATURE, &key)?.as_ref() != Some(signature) {
                    txn.put_json(USER_SIGNATURE, &key, signature)?;
                    device_list::mark_changed_for(txn, *target, user)?;
                }
            }
        }
    }
    if seen_by_others {
        device_list::mark_changed(txn, user)?;
    }
    Ok(seen_by_others)
}

fn add(signatures: &mut Signatures, user_id: &UserId, key_id: &str, signature: &str) {
    signatures
        .entry(user_id.as_str().to_owned())
        .or_default()
        .insert(key_id.to_owned(), signature.to_owned());
}

/// Whether `signer` has signed anybody's master key.
pub(crate) fn any_by(read: &dyn Read, signer: UserNum) -> Result<bool, ReadError> {
    Ok(read
        .first(USER_SIGNATURE, &KeyRange::prefix(&signer.to_key()), Order::Ascending)?
        .is_some())
}

/// The signature of `signer` on the master key of `target`.
pub(crate) fn by(read: &dyn Read, signer: UserNum, target: UserNum) -> Result<Option<UserSignature>, ReadError> {
    read.get_json(USER_SIGNATURE, &Key::new().u32(signer.0).u32(target.0))
}
