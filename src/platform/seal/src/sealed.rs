//! Small secrets of the server: each in a file `secrets/NAME.sealed`, encrypted, with the name bound in.

use crate::cipher::Aead;
use crate::format::Reader;
use crate::keyring::{Keyring, KeyringError, Purpose};
use lamchat_base::SecretBytes;
use lamchat_disk::{read_file, replace_file};
use std::io;
use zeroize::Zeroizing;

/// The folder below the keyring's.
const FOLDER: &str = "secrets";
const SUFFIX: &str = ".sealed";
const MAGIC: &[u8; 8] = b"LAMSEAL1";
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

impl Keyring {
    /// Keeps `secret` under `name`, in place of an earlier one. Durable on return.
    pub fn seal_secret(&self, name: &str, secret: &SecretBytes) -> Result<(), SecretError> {
        check_name(name)?;
        let data_key = self.data_key(Purpose::Secrets)?;
        let mut nonce = [0u8; 12];
        self.entropy.fill(&mut nonce);
        let mut file = Vec::with_capacity(24 + secret.expose().len() + 16);
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&data_key.number.to_be_bytes());
        let aad = aad(&file, name);
        let mut buffer = Vec::with_capacity(secret.expose().len() + 16);
        buffer.extend_from_slice(secret.expose());
        Aead::new(&data_key.key).seal(nonce, &aad, &mut buffer);
        file.extend_from_slice(&nonce);
        file.extend_from_slice(&buffer);
        self.write_sealed(name, &file)
    }

    /// The secret under `name`, if there is one.
    pub fn unseal_secret(&self, name: &str) -> Result<Option<SecretBytes>, SecretError> {
        check_name(name)?;
        match read_file(
            &*self.disk,
            &self.dir.join(FOLDER).join(file_name(name)),
            FILE_BYTES_MAX,
        ) {
            Ok(file) => self.open_sealed(name, &file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the secret under `name`; nothing happens if there is none. Durable on return.
    pub fn remove_secret(&self, name: &str) -> Result<(), SecretError> {
        check_name(name)?;
        let folder = self.dir.join(FOLDER);
        match self.disk.remove(&folder.join(file_name(name))) {
            Ok(()) => Ok(self.disk.sync_dir(&folder)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// All sealed secrets as they are on disk (name, file), for a backup.
    pub fn sealed_secrets(&self) -> Result<Vec<(String, Vec<u8>)>, SecretError> {
        let folder = self.dir.join(FOLDER);
        let mut secrets = Vec::new();
        for file in self.disk.list(&folder)? {
            if let Some(name) = file.strip_suffix(SUFFIX).filter(|name| check_name(name).is_ok()) {
                secrets.push((
                    name.to_owned(),
                    read_file(&*self.disk, &folder.join(&file), FILE_BYTES_MAX)?,
                ));
            }
        }
        secrets.sort();
        Ok(secrets)
    }

    /// Puts back what [`Keyring::sealed_secrets`] gave, after checking that it opens. Durable on return.
    pub fn restore_sealed_secret(&self, name: &str, file: &[u8]) -> Result<(), SecretError> {
        check_name(name)?;
        self.open_sealed(name, file)?;
        self.write_sealed(name, file)
    }

    fn open_sealed(&self, name: &str, file: &[u8]) -> Result<SecretBytes, SecretError> {
        let damaged = || SecretError::Damaged(name.to_owned());
        let (head, rest) = file.split_first_chunk::<12>().ok_or_else(damaged)?;
        let mut reader = Reader(head);
        let magic = reader.take::<8>().map_err(|_| damaged())?;
        let number = reader.u32().map_err(|_| damaged())?;
        let (nonce, sealed) = rest.split_first_chunk::<12>().ok_or_else(damaged)?;
        if magic != *MAGIC {
            return Err(damaged());
        }
        let key = self.data_key_numbered(Purpose::Secrets, number)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let length = Aead::new(&key)
            .open(*nonce, &aad(head, name), &mut buffer)
            .map_err(|_| damaged())?;
        Ok(SecretBytes::new(buffer.get(..length).ok_or_else(damaged)?.to_vec()))
    }

    fn write_sealed(&self, name: &str, file: &[u8]) -> Result<(), SecretError> {
        let folder = self.dir.join(FOLDER);
        self.disk.create_dir(&folder)?;
        Ok(replace_file(&*self.disk, &folder.join(file_name(name)), file)?)
    }
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
