//! Unlocking: from a wrapping key, a passphrase, a recovery key or a TPM to the master key.

use super::{OpenError, Unlock, mac_key};
use crate::format::{Parsed, Reader, Ring};
use crate::recovery::RecoveryKey;
use crate::sealer::Sealer;
use crate::slot::{SlotKind, SlotLock};
use aws_lc_rs::digest;
use lamchat_base::Secret;
use lamchat_disk::{Disk, read_file};
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// The insecure wrapping key of the `file` slot.
pub(super) const WRAPPING_FILE: &str = "keyring.key";
/// Longest wrapping key file that is read.
const WRAPPING_BYTES_MAX: u64 = 4096;
const WRAPPING_MAGIC: &[u8; 8] = b"LAMKEYF1";

/// Finds the slot that opens, and checks the whole keyring with the master key that comes out.
pub(crate) fn unlock_ring(
    parsed: &Parsed,
    unlock: &Unlock,
    read_wrapping_key: impl FnOnce() -> Result<Secret<32>, OpenError>,
) -> Result<Secret<32>, OpenError> {
    let ring = &parsed.ring;
    let master = match unlock {
        Unlock::File => {
            let mut slots = ring.slots.iter();
            let slot = slots
                .find(|slot| slot.lock == SlotLock::File)
                .ok_or(OpenError::NoSlot(SlotKind::File))?;
            slot.open(&ring.id, &read_wrapping_key()?)
                .map_err(|_| OpenError::Forged)?
        }
        Unlock::Passphrase(passphrase) => {
            let mut error = OpenError::NoSlot(SlotKind::Passphrase);
            let opened = ring.slots.iter().find_map(|slot| {
                let SlotLock::Passphrase { cost, salt } = &slot.lock else {
                    return None;
                };
                error = OpenError::WrongPassphrase;
                slot.open(&ring.id, &cost.derive(passphrase.expose(), salt)?).ok()
            });
            opened.ok_or(error)?
        }
        Unlock::Recovery(key) => open_by_recovery(ring, key)?.1,
        Unlock::Tpm(sealer) => open_by_tpm(ring, &**sealer)?,
    };
    if parsed.is_authentic(&mac_key(&master)) {
        Ok(master)
    } else {
        Err(OpenError::Forged)
    }
}

/// The slot (its place in the keyring) that a recovery key opens, and the master key.
pub(super) fn open_by_recovery(ring: &Ring, key: &RecoveryKey) -> Result<(usize, Secret<32>), OpenError> {
    let mut error = OpenError::NoSlot(SlotKind::Recovery);
    let opened = ring.slots.iter().enumerate().find_map(|(at, slot)| {
        let SlotLock::Recovery { salt, .. } = &slot.lock else {
            return None;
        };
        error = OpenError::WrongRecoveryKey;
        Some((at, slot.open(&ring.id, &key.derive(salt)).ok()?))
    });
    opened.ok_or(error)
}

/// Tries each `tpm` slot; the error is the one of the last that did not open.
fn open_by_tpm(ring: &Ring, sealer: &dyn Sealer) -> Result<Secret<32>, OpenError> {
    let mut error = OpenError::NoSlot(SlotKind::Tpm);
    for slot in &ring.slots {
        let SlotLock::Tpm { blob } = &slot.lock else {
            continue;
        };
        match sealer.unseal(blob) {
            // The TPM gave something, but not what wrapped this master key: the blob was exchanged.
            Ok(wrapping) => match slot.open(&ring.id, &wrapping) {
                Ok(master) => return Ok(master),
                Err(_) => error = OpenError::Forged,
            },
            Err(refusal) => error = OpenError::Sealer(refusal),
        }
    }
    Err(error)
}

/// Removes the wrapping key of a slot that is gone, and what a power cut left of writing one. Durable on return.
pub(super) fn remove_wrapping_key(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for name in [WRAPPING_FILE.to_owned(), format!("{WRAPPING_FILE}.new")] {
        match disk.remove(&dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    disk.sync_dir(dir)
}

pub(super) fn wrapping_file_bytes(wrapping: &Secret<32>) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(48));
    bytes.extend_from_slice(WRAPPING_MAGIC);
    bytes.extend_from_slice(wrapping.expose());
    let checksum = digest::digest(&digest::SHA256, &bytes);
    bytes.extend(checksum.as_ref().iter().take(8));
    bytes
}

pub(super) fn read_wrapping_key(disk: &dyn Disk, dir: &Path) -> Result<Secret<32>, OpenError> {
    let path = dir.join(WRAPPING_FILE);
    let bytes = match read_file(disk, &path, WRAPPING_BYTES_MAX) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::WrappingKey(path)),
        Err(error) => return Err(error.into()),
    };
    let mut reader = Reader(&bytes);
    let key = reader.take::<8>().and_then(|_| reader.take::<32>()).map(Zeroizing::new);
    match key.map(|key| Secret::new(*key)) {
        Ok(key) if *wrapping_file_bytes(&key) == *bytes => Ok(key),
        _ => Err(OpenError::WrappingKey(path)),
    }
}
