//! Small secrets of the server: each in a file `secrets/NAME.sealed`, encrypted, with the name bound in.

use crate::cipher::Aead;
use crate::data_keys::DataKey;
use crate::format::Reader;
use crate::keyring::KeyringError;
use lamchat_base::{Entropy, Secret, SecretBytes};
use lamchat_disk::{Disk, read_file, replace_file};
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The folder below the keyring's.
const FOLDER: &str = "secrets";
const SUFFIX: &str = ".sealed";
/// Of a secret under a key of purpose `secrets`, which the exchange has.
const OF_EXCHANGE: &[u8; 8] = b"LAMSEAL1";
/// Of a secret under a key of purpose `audit`, which only the holder of the keyring has.
const OF_HOLDER: &[u8; 8] = b"LAMSEAL2";
/// Longest sealed file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Longest name of a secret.
const NAME_BYTES_MAX: usize = 64;

/// Why a small secret was not sealed, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A name is 1–64 characters of `a-z0-9-_`.
    #[error("{0:?} cannot be the name of a secret")]
    Name(String),
    /// The file was changed, belongs to another name, or to another keyring.
    #[error("the sealed secret {0:?} is damaged or belongs to another keyring")]
    Damaged(String),
    /// Its key is not there.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The disk refused.
    #[error("a sealed secret could not be read or written: {0}")]
    Io(#[from] io::Error),
}

/// A folder of sealed secrets.
pub(crate) struct Folder<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    magic: &'static [u8; 8],
}

impl<'a> Folder<'a> {
    /// The exchange's, below its data folder.
    pub fn of_exchange(disk: &'a dyn Disk, dir: &Path) -> Self {
        Self {
            disk,
            path: dir.join(FOLDER),
            magic: OF_EXCHANGE,
        }
    }

    /// The holder's, below the keyring's folder.
    pub fn of_holder(disk: &'a dyn Disk, dir: &Path) -> Self {
        Self {
            magic: OF_HOLDER,
            ..Self::of_exchange(disk, dir)
        }
    }

    /// Keeps `secret` under `name`, in place of an earlier one. Durable on return.
    pub fn seal(
        &self,
        name: &str,
        secret: &SecretBytes,
        key: impl FnOnce() -> Result<DataKey, KeyringError>,
        entropy: &dyn Entropy,
    ) -> Result<(), SecretError> {
        check_name(name)?;
        let data_key = key()?;
        let mut nonce = [0u8; 12];
        entropy.fill(&mut nonce);
        let mut file = Vec::with_capacity(24 + secret.expose().len() + 16);
        file.extend_from_slice(self.magic);
        file.extend_from_slice(&data_key.number.to_be_bytes());
        let aad = aad(&file, name);
        let mut buffer = Vec::with_capacity(secret.expose().len() + 16);
        buffer.extend_from_slice(secret.expose());
        Aead::new(&data_key.key).seal(nonce, &aad, &mut buffer);
        file.extend_from_slice(&nonce);
        file.extend_from_slice(&buffer);
        self.write(name, &file)
    }

    /// The file under `name`, if there is one.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, SecretError> {
        check_name(name)?;
        match read_file(self.disk, &self.path.join(file_name(name)), FILE_BYTES_MAX) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the file is of this folder's kind.
    pub fn is_own(&self, file: &[u8]) -> bool {
        file.starts_with(self.magic)
    }

    /// What is sealed in a file; `key` gives the data key of a number.
    pub fn open(
        &self,
        name: &str,
        file: &[u8],
        key: impl FnOnce(u32) -> Result<Secret<32>, KeyringError>,
    ) -> Result<SecretBytes, SecretError> {
        check_name(name)?;
        let damaged = || SecretError::Damaged(name.to_owned());
        let (head, rest) = file.split_first_chunk::<12>().ok_or_else(damaged)?;
        let mut reader = Reader(head);
        let magic = reader.take::<8>().map_err(|_| damaged())?;
        let number = reader.u32().map_err(|_| damaged())?;
        let (nonce, sealed) = rest.split_first_chunk::<12>().ok_or_else(damaged)?;
        if magic != *self.magic {
            return Err(damaged());
        }
        let key = key(number)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let length = Aead::new(&key)
            .open(*nonce, &aad(head, name), &mut buffer)
            .map_err(|_| damaged())?;
        Ok(SecretBytes::new(buffer.get(..length).ok_or_else(damaged)?.to_vec()))
    }

    /// Where the file with this name is.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(file_name(name))
    }

    /// Writes a file. Durable on return.
    pub fn write(&self, name: &str, file: &[u8]) -> Result<(), SecretError> {
        check_name(name)?;
        self.disk.create_dir(&self.path)?;
        Ok(replace_file(self.disk, &self.path.join(file_name(name)), file)?)
    }

    /// Removes the secret under `name`; nothing happens if there is none. Durable on return.
    pub fn remove(&self, name: &str) -> Result<(), SecretError> {
        check_name(name)?;
        match self.disk.remove(&self.path.join(file_name(name))) {
            Ok(()) => Ok(self.disk.sync_dir(&self.path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// All files with their names.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>, SecretError> {
        let mut secrets = Vec::new();
        for file in self.disk.list(&self.path)? {
            if let Some(name) = file.strip_suffix(SUFFIX).filter(|name| check_name(name).is_ok()) {
                let bytes = read_file(self.disk, &self.path.join(&file), FILE_BYTES_MAX)?;
                secrets.push((name.to_owned(), bytes));
            }
        }
        secrets.sort();
        Ok(secrets)
    }
}

/// The number of the key that a file is sealed under.
pub(crate) fn key_number(file: &[u8]) -> Option<u32> {
    let number = file.get(8..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*number))
}

fn file_name(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

fn check_name(name: &str) -> Result<(), SecretError> {
    let good = name
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if good && !name.is_empty() && name.len() <= NAME_BYTES_MAX {
        Ok(())
    } else {
        Err(SecretError::Name(name.to_owned()))
    }
}

fn aad(head: &[u8], name: &str) -> Vec<u8> {
    [b"lamchat sealed secret", head, name.as_bytes()].concat()
}
