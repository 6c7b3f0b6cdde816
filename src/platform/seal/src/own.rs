//! Secrets of the holder's own, under a key that is never released: the audit log's software key, the heads that it
//! signed. And the key of a disk, which the exchange never gets either.

use crate::data_keys::DataKey;
use crate::keyring::{AUDIT, DISK, Keyring, KeyringError, SECRETS, newest, random_key, random_long_key};
use crate::marks::Mark;
use crate::sealed::{Folder, SecretError, key_number};
use lamchat_base::{Secret, SecretBytes};
use std::path::PathBuf;

impl Keyring {
    /// Keeps `secret` under `name` in `secrets/` beside the keyring, in place of an earlier one. Durable on return.
    pub fn keep_own(&self, name: &str, secret: &SecretBytes) -> Result<(), SecretError> {
        self.own_folder().seal(name, secret, || self.own_key(), &*self.entropy)
    }

    /// What is kept under `name`. A file that an earlier version sealed for the exchange, which held these secrets then,
    /// is sealed anew; but none that the exchange could have sealed since.
    pub fn own(&self, name: &str) -> Result<Option<SecretBytes>, SecretError> {
        let folder = self.own_folder();
        let Some(file) = folder.read(name)? else {
            return Ok(None);
        };
        if folder.is_own(&file) {
            return folder.open(name, &file, |number| self.key(AUDIT, number)).map(Some);
        }
        if !is_of_before(name) || Mark::of(name).is_some_and(|mark| self.has_mark(mark)) {
            return Err(SecretError::Damaged(name.to_owned()));
        }
        let earlier = Folder::of_exchange(&*self.disk, &self.dir);
        let secret = earlier.open(name, &file, |number| self.key(SECRETS, number))?;
        self.keep_own(name, &secret)?;
        Ok(Some(secret))
    }

    /// Removes what is kept under `name`; nothing happens if there is nothing. Durable on return.
    pub fn forget_own(&self, name: &str) -> Result<(), SecretError> {
        self.own_folder().remove(name)
    }

    /// Removes everything that is kept. Durable on return.
    pub fn forget_all_own(&self) -> Result<(), SecretError> {
        let folder = self.own_folder();
        for (name, file) in folder.files()? {
            if folder.is_own(&file) {
                folder.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Seals everything that is kept under a key of before under the newest one.
    pub(crate) fn reseal_own(&self) -> Result<(), SecretError> {
        let newest = newest(&self.ring.read(), AUDIT).map(|key| key.number);
        for (name, file) in self.own_folder().files()? {
            let is_own = self.own_folder().is_own(&file);
            let is_new = is_own && key_number(&file) == newest;
            if !is_new
                && (is_own || is_of_before(&name))
                && let Some(secret) = self.own(&name)?
            {
                self.keep_own(&name, &secret)?;
            }
        }
        Ok(())
    }

    /// Where what is kept under `name` lies, for people.
    pub fn own_path(&self, name: &str) -> PathBuf {
        self.own_folder().path_of(name)
    }

    /// 32 random bytes, for a secret that is to be kept.
    pub fn random_key(&self) -> Secret<32> {
        random_key(&*self.entropy)
    }

    /// The key of the disk beneath everything else: AES-256-XTS, 64 bytes. Made at the first call; durable on return.
    pub fn disk_key(&self) -> Result<Secret<64>, KeyringError> {
        // Held throughout, so that two first calls make one key.
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        if let Some(wrapped) = newest(&ring, DISK) {
            return self.unwrap_key(&ring, wrapped);
        }
        let key = random_long_key(&*self.entropy);
        ring.keys.push(self.new_key(&ring, DISK, key.expose()));
        self.store(ring)?;
        drop(changing);
        Ok(key)
    }

    fn own_folder(&self) -> Folder<'_> {
        Folder::of_holder(&*self.disk, &self.dir)
    }

    /// The newest key of the holder's own; keyrings of before get one with the first secret.
    fn own_key(&self) -> Result<DataKey, KeyringError> {
        // Held throughout, so that two first secrets make one key.
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        if let Some(wrapped) = newest(&ring, AUDIT) {
            let (number, key) = (wrapped.number, self.unwrap_key(&ring, wrapped)?);
            return Ok(DataKey { number, key });
        }
        let key = random_key(&*self.entropy);
        let wrapped = self.new_key(&ring, AUDIT, key.expose());
        let number = wrapped.number;
        ring.keys.push(wrapped);
        self.store(ring)?;
        drop(changing);
        Ok(DataKey { number, key })
    }
}

/// What earlier versions had the exchange keep, under a key that it still has.
fn is_of_before(name: &str) -> bool {
    matches!(name, "audit-key" | "audit-heads")
}
