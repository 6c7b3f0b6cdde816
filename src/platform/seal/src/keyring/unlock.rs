//! Unlocking: from a wrapping key or a passphrase to the master key.

use super::{OpenError, Unlock, mac_key};
use crate::format::{Parsed, Reader};
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
    };
    if parsed.is_authentic(&mac_key(&master)) {
        Ok(master)
    } else {
        Err(OpenError::Forged)
    }
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
