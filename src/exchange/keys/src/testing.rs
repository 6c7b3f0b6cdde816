//! For the tests of this crate: people with devices in a store in memory, and objects that they sign.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::{Owner, TABLES, device_keys};
use lamchat_accounts::account::{self, NewAccount};
use lamchat_accounts::session::{self, NewSession};
use lamchat_accounts::token::NewTokens;
use lamchat_base::{DeviceNum, UserNum};
use lamchat_store::{KeyRange, Order, Read, ReadExt, Store, Table, WriteTxn};
use ruma::{OwnedDeviceId, OwnedUserId};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use vodozemac::Ed25519SecretKey;

/// An empty store with the tables of this crate and of `accounts`.
pub fn store() -> Store {
    Store::in_memory(&[TABLES, lamchat_accounts::TABLES].concat()).unwrap()
}

/// Runs a write and answers what it answers.
pub fn write<T: Send + 'static, E: std::fmt::Debug + Send + 'static>(
    store: &Store,
    change: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match store.write_blocking(change) {
        Ok(value) => Ok(value),
        Err(lamchat_store::WriteError::Refused(error)) => Err(error),
        Err(lamchat_store::WriteError::Commit(error)) => unreachable!("{error}"),
    }
}

/// A device of somebody, with its signing key.
pub struct Someone {
    pub user: UserNum,
    pub user_id: OwnedUserId,
    pub device: DeviceNum,
    pub device_id: OwnedDeviceId,
    pub key: Ed25519SecretKey,
}

impl Someone {
    /// A new user with one device.
    pub fn new(store: &Store, name: &str, device: &str) -> Self {
        let user_id: OwnedUserId = format!("@{name}:example.org").try_into().unwrap();
        let new = NewAccount {
            user_id: user_id.clone(),
            password_hash: None,
            is_admin: false,
            display_name: None,
            now_ms: 0,
        };
        let user = write(store, move |txn| account::create(txn, new)).unwrap();
        Self::device_of(store, user, device)
    }

    /// One more device of `user`.
    pub fn device_of(store: &Store, user: UserNum, device: &str) -> Self {
        let tokens = NewTokens {
            access: format!("lct_{user}{device}"),
            refresh: format!("lcr_{user}{device}"),
        };
        let new = NewSession {
            user,
            device_id: device.into(),
            initial_display_name: Some(format!("The \"{device}\"")),
            refreshable: false,
            tokens,
            now_ms: 0,
        };
        let opened = write(store, move |txn| session::open(txn, new)).unwrap();
        Self {
            user,
            user_id: opened.user_id,
            device: opened.device,
            device_id: opened.device_id,
            key: Ed25519SecretKey::new(),
        }
    }

    /// `object` signed by this device.
    pub fn signed(&self, object: Value) -> Value {
        signed_by(object, self.user_id.as_str(), self.device_id.as_str(), &self.key)
    }

    /// The device keys as an object, signed.
    pub fn device_keys(&self) -> Value {
        let id = &self.device_id;
        self.signed(json!({
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "device_id": id,
            "keys": {
                format!("curve25519:{id}"): "3C5BFWi2Y8MaVvjM8M22DBmh24PmgR0nPvJOIArzgyI",
                format!("ed25519:{id}"): self.key.public_key().to_base64(),
            },
            "user_id": self.user_id,
        }))
    }

    /// Uploads `json` as device keys.
    pub fn upload(&self, store: &Store, json: &Value) -> Result<bool, device_keys::UploadError> {
        let keys = device_keys::verify(&self.user_id, &self.device_id, &raw(json))?;
        let (user, user_id, device, device_id) = (self.user, self.user_id.clone(), self.device, self.device_id.clone());
        write(store, move |txn| {
            let owner = Owner {
                user,
                user_id: &user_id,
                device,
                device_id: &device_id,
            };
            device_keys::upload(txn, &owner, &keys)
        })
    }
}

/// `object` with a signature of `user_id` by `ed25519:name`, beside those that it has.
pub fn signed_by(mut object: Value, user_id: &str, name: &str, key: &Ed25519SecretKey) -> Value {
    let signatures = object.as_object_mut().unwrap().remove("signatures");
    // serde_json's maps are sorted, so this is canonical.
    let signature = key.sign(object.to_string().as_bytes()).to_base64();
    let mut signatures = signatures.unwrap_or_else(|| json!({}));
    signatures[user_id][format!("ed25519:{name}")] = json!(signature);
    object["signatures"] = signatures;
    object
}

pub fn raw(json: &Value) -> Box<RawValue> {
    RawValue::from_string(json.to_string()).unwrap()
}

/// How many rows of a table lie under a number: what is left of a user or a device.
pub fn rows_of(read: &dyn Read, table: Table, number: u32) -> usize {
    read.rows(
        table,
        &KeyRange::prefix(&number.to_be_bytes()),
        Order::Ascending,
        usize::MAX,
    )
    .unwrap()
    .len()
}
