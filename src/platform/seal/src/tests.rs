//! The keyring as a whole, a file for each topic; here is what they share: a simulated disk's keyring, a TPM in pretence,
//! and randomness that can be foretold.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod backup;
mod damage;
mod data_keys;
mod marks;
mod power;
mod renewal;
mod secrets;
mod slots;
mod vectors;

use crate::{
    BackupKeyring, CreateError, DataKeys, ExportError, ImportError, Keyring, KeyringError, OpenError, PassphraseCost,
    Purpose, RecoveryKey, ReleasedKey, RenewError, Sealer, SealerError, SealerReason, SecretError, SlotError, SlotKey,
    SlotKind, Unlock, VerifyRecoveryError,
};
use lamchat_base::{Entropy, Secret, SecretBytes};
use lamchat_disk::simulation::SimulatedDisk;
use lamchat_disk::{Disk, read_file, replace_file};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const DIR: &str = "/data";

/// Gives 0, 1, 2, … so that the bytes of a file can be foretold.
#[derive(Debug, Default)]
struct Counting(AtomicU8);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn entropy() -> Arc<Counting> {
    Arc::new(Counting::default())
}

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(SecretBytes::new(text.as_bytes().to_vec()))
}

fn create(disk: &SimulatedDisk, unlock: &Unlock) -> Result<Keyring, CreateError> {
    Keyring::create_on(
        Arc::new(disk.clone()),
        Path::new(DIR),
        unlock,
        PassphraseCost::MINIMUM,
        entropy(),
    )
}

fn open(disk: &SimulatedDisk, unlock: &Unlock) -> Result<Keyring, OpenError> {
    Keyring::open_on(Arc::new(disk.clone()), Path::new(DIR), unlock, entropy())
}

fn contents(disk: &SimulatedDisk, path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
    read_file(disk, path.as_ref(), 1 << 20)
}

fn same_keys(one: &Keyring, other: &Keyring) -> bool {
    one.release().unwrap() == other.release().unwrap()
}

fn keys(keyring: &Keyring) -> DataKeys {
    keyring.data_keys(Path::new(DIR)).unwrap()
}

/// A TPM that seals by exclusive or, and whose policy can change.
#[derive(Debug, Default)]
struct PretendTpm {
    refusing: std::sync::atomic::AtomicBool,
    sealed: AtomicU8,
}

impl Sealer for PretendTpm {
    fn seal(&self, secret: &Secret<32>) -> Result<Vec<u8>, SealerError> {
        let number = self.sealed.fetch_add(1, Ordering::Relaxed);
        let bytes = secret.expose().iter().map(|byte| byte ^ 0x5A);
        Ok(std::iter::once(number).chain(bytes).collect())
    }

    fn unseal(&self, blob: &[u8]) -> Result<Secret<32>, SealerError> {
        let error = |reason, explanation: &str| SealerError {
            reason,
            explanation: explanation.to_owned(),
        };
        if self.refusing.load(Ordering::Relaxed) {
            return Err(error(SealerReason::Refused, "PCR 7 changed"));
        }
        let bytes: [u8; 32] = blob[1..]
            .try_into()
            .map_err(|_| error(SealerReason::Malformed, "length"))?;
        Ok(Secret::new(bytes.map(|byte| byte ^ 0x5A)))
    }
}

fn version(disk: &SimulatedDisk) -> u8 {
    contents(disk, "/data/keyring").unwrap()[11]
}
