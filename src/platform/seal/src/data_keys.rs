//! What a key holder releases: the data keys, in the hands of whoever encrypts with them, and the small secrets under
//! one of them. Nothing here opens the keyring, or knows its master key.

use crate::keyring::{KeyringError, Purpose};
use crate::sealed::{Folder, SecretError, key_number};
use lamchat_base::{Entropy, Secret, SecretBytes};
use lamchat_disk::Disk;
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A data key that was released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleasedKey {
    /// Of the database and its log.
    Database {
        /// From 1.
        number: u32,
        /// The key.
        key: Secret<64>,
    },
    /// Of everything else.
    Data {
        /// What it encrypts.
        purpose: Purpose,
        /// From 1, per purpose.
        number: u32,
        /// The key.
        key: Secret<32>,
    },
}

/// A data key and the number under which it is found again; what it encrypts stores the number.
#[derive(Debug, Clone)]
pub struct DataKey {
    /// From 1, per purpose.
    pub number: u32,
    /// The key.
    pub key: Secret<32>,
}

/// The released keys. Share them in an [`Arc`].
pub struct DataKeys {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    entropy: Arc<dyn Entropy>,
    keys: RwLock<Vec<ReleasedKey>>,
}

impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKeys")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl DataKeys {
    /// These keys; small secrets are kept in `secrets/` below the folder `dir`.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, entropy: Arc<dyn Entropy>, keys: Vec<ReleasedKey>) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            entropy,
            keys: RwLock::new(keys),
        }
    }

    /// Takes a key that was made later: the newest of its purpose encrypts from now on.
    pub fn add(&self, key: ReleasedKey) {
        self.keys.write().push(key);
    }

    /// The key of the database and its log.
    pub fn database_key(&self) -> Result<Secret<64>, KeyringError> {
        let keys = self.keys.read();
        let all = keys.iter().filter_map(|key| match key {
            ReleasedKey::Database { number, key } => Some((number, key)),
            ReleasedKey::Data { .. } => None,
        });
        let newest = all.max_by_key(|(number, _)| *number);
        newest
            .map(|(_, key)| key.clone())
            .ok_or(KeyringError::Unknown { number: 0 })
    }

    /// The keys that the database was under before, newest first: there are some until it is encrypted anew.
    pub fn former_database_keys(&self) -> Vec<Secret<64>> {
        let keys = self.keys.read();
        let all = keys.iter().filter_map(|key| match key {
            ReleasedKey::Database { number, key } => Some((*number, key)),
            ReleasedKey::Data { .. } => None,
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        all.into_iter().skip(1).map(|(_, key)| key.clone()).collect()
    }

    /// Whether secrets may still be under a key of before.
    pub fn has_former_secrets(&self) -> bool {
        of(&self.keys.read(), Purpose::Secrets).count() > 1
    }

    /// Seals every secret that is under a former key under the newest one. Durable on return.
    pub fn reseal_secrets(&self) -> Result<(), SecretError> {
        let newest = self.data_key(Purpose::Secrets)?.number;
        for (name, file) in self.sealed_secrets()? {
            // The holder's own may lie in the same folder.
            if self.folder().is_own(&file)
                && key_number(&file) != Some(newest)
                && let Some(secret) = self.unseal_secret(&name)?
            {
                self.seal_secret(&name, &secret)?;
            }
        }
        Ok(())
    }

    /// The newest data key for `purpose`: for everything that is encrypted from now on.
    pub fn data_key(&self, purpose: Purpose) -> Result<DataKey, KeyringError> {
        let keys = self.keys.read();
        let newest = of(&keys, purpose).max_by_key(|(number, _)| *number);
        newest
            .map(|(number, key)| DataKey {
                number,
                key: key.clone(),
            })
            .ok_or(KeyringError::Unknown { number: 0 })
    }

    /// The data key that encrypted something earlier.
    pub fn data_key_numbered(&self, purpose: Purpose, number: u32) -> Result<Secret<32>, KeyringError> {
        let keys = self.keys.read();
        let found = of(&keys, purpose).find(|(known, _)| *known == number);
        found
            .map(|(_, key)| key.clone())
            .ok_or(KeyringError::Unknown { number })
    }

    /// Keeps `secret` under `name`, in place of an earlier one. Durable on return.
    pub fn seal_secret(&self, name: &str, secret: &SecretBytes) -> Result<(), SecretError> {
        self.folder()
            .seal(name, secret, || self.data_key(Purpose::Secrets), &*self.entropy)
    }

    /// The secret under `name`, if there is one.
    pub fn unseal_secret(&self, name: &str) -> Result<Option<SecretBytes>, SecretError> {
        let Some(file) = self.folder().read(name)? else {
            return Ok(None);
        };
        let key = |number| self.data_key_numbered(Purpose::Secrets, number);
        self.folder().open(name, &file, key).map(Some)
    }

    /// What is sealed in a file of [`DataKeys::sealed_secrets`].
    pub fn open_sealed(&self, name: &str, file: &[u8]) -> Result<SecretBytes, SecretError> {
        let key = |number| self.data_key_numbered(Purpose::Secrets, number);
        self.folder().open(name, file, key)
    }

    /// Removes the secret under `name`; nothing happens if there is none. Durable on return.
    pub fn remove_secret(&self, name: &str) -> Result<(), SecretError> {
        self.folder().remove(name)
    }

    /// All sealed secrets as they are on disk (name, file), for a backup.
    pub fn sealed_secrets(&self) -> Result<Vec<(String, Vec<u8>)>, SecretError> {
        self.folder().files()
    }

    /// Puts back a file of [`DataKeys::sealed_secrets`] that these keys open. Durable on return.
    pub fn restore_sealed_secret(&self, name: &str, file: &[u8]) -> Result<(), SecretError> {
        let key = |number| self.data_key_numbered(Purpose::Secrets, number);
        self.folder().open(name, file, key)?;
        self.folder().write(name, file)
    }

    fn folder(&self) -> Folder<'_> {
        Folder::of_exchange(&*self.disk, &self.dir)
    }
}

fn of(keys: &[ReleasedKey], purpose: Purpose) -> impl Iterator<Item = (u32, &Secret<32>)> {
    keys.iter().filter_map(move |key| match key {
        ReleasedKey::Data {
            purpose: of,
            number,
            key,
        } if *of == purpose => Some((*number, key)),
        _ => None,
    })
}
