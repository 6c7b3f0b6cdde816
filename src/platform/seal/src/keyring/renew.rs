//! A new master key and new data keys, where the `file` slot goes: whoever copied the disk while it was there has the
//! master key that it wrapped, and with it everything that this master key wraps later.

use super::unlock::{WRAPPING_FILE, remove_wrapping_key};
use super::{AUDIT, DATABASE, Keyring, KeyringError, OpenError, Purpose, SECRETS, newest, random_key};
use crate::format::{Ring, WrappedKey};
use crate::recovery::RecoveryKey;
use crate::sealer::Sealer;
use crate::slot::{Slot, SlotKind, SlotLock};
use lamchat_base::{Secret, SecretBytes};
use lamchat_disk::Disk;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of an authentication tag.
const TAG_BYTES: usize = 16;
/// The purposes of which a former key is of no use once what it encrypted is encrypted anew: media and content name the
/// number of their key in rows of the database.
const FORGOTTEN: [u8; 3] = [DATABASE, SECRETS, AUDIT];

/// What opens a slot, for wrapping a new master key by it.
#[derive(Debug)]
pub enum SlotKey {
    /// A passphrase.
    Passphrase(SecretBytes),
    /// A recovery key.
    Recovery(RecoveryKey),
    /// The TPM, with its PIN where the slot asks for one.
    Tpm(Arc<dyn Sealer>),
}

/// Why there are no new keys. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// No such slot, or another kind.
    #[error("slot {0} is no file slot")]
    NotFile(u32),
    /// It is the only one, or what is left is a TPM alone.
    #[error(
        "without the file slot nobody, or this machine's TPM alone, could open the keys: make a recovery key first (`lamchat seal add-recovery`)"
    )]
    Alone,
    /// Of this slot the key is not there.
    #[error(
        "what opens slot {id}, a {kind} slot, is needed to wrap the new master key by it; remove the slot first if nobody has it any more"
    )]
    Missing {
        /// The slot.
        id: u32,
        /// What it is.
        kind: SlotKind,
    },
    /// What was typed does not open this slot.
    #[error("slot {id}: {source}")]
    Slot {
        /// The slot.
        id: u32,
        /// Why not.
        source: OpenError,
    },
    /// A wrapped key does not open.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The disk refused.
    #[error("the keyring could not be written: {0}")]
    Io(#[from] io::Error),
}

impl Keyring {
    /// This keyring without the file slot `id`, under a new master key that each other slot wraps, and with a new data
    /// key for each purpose beside the former ones; this one writes nothing any more. `keys`: what opens each other slot.
    /// `now_ms`: when the recovery keys among them were typed back. Durable on return.
    pub fn renew(&self, id: u32, keys: &[(u32, SlotKey)], now_ms: u64) -> Result<Self, RenewError> {
        let changing = self.changing.lock();
        let ring = self.ring.read().clone();
        let is_file = |slot: &Slot| slot.id == id && slot.lock == SlotLock::File;
        if !ring.slots.iter().any(is_file) {
            return Err(RenewError::NotFile(id));
        }
        let left: Vec<&Slot> = ring.slots.iter().filter(|slot| slot.id != id).collect();
        if !left.iter().any(|slot| slot.lock.kind().is_portable()) {
            return Err(RenewError::Alone);
        }
        let master = random_key(&*self.entropy);
        let slots = left.into_iter().map(|slot| {
            let key = keys.iter().find(|(of, _)| *of == slot.id);
            let (_, key) = key.ok_or(RenewError::Missing {
                id: slot.id,
                kind: slot.lock.kind(),
            })?;
            let wrapped = self.wrap_again(&ring.id, slot, key, &master, now_ms);
            wrapped.map_err(|source| RenewError::Slot { id: slot.id, source })
        });
        let slots = slots.collect::<Result<Vec<_>, _>>()?;
        let empty = Ring {
            id: ring.id,
            generation: ring.generation,
            slots,
            keys: Vec::new(),
        };
        let renewed = Self::assemble(
            Arc::clone(&self.disk),
            &self.dir,
            Arc::clone(&self.entropy),
            master,
            empty.clone(),
        );
        let mut next = empty;
        for key in &ring.keys {
            next.keys.push(self.rewrap(&ring, key, &renewed)?);
        }
        next.keys.push(renewed.new_database_key(&next));
        for purpose in Purpose::ALL.map(Purpose::code).into_iter().chain([AUDIT]) {
            let key = random_key(&*self.entropy);
            next.keys.push(renewed.new_key(&next, purpose, key.expose()));
        }
        renewed.store(next)?;
        // Under the former master key the file would have the file slot again, whose wrapping key is about to go.
        self.replaced.store(true, Ordering::Relaxed);
        // After the keyring: a power cut in between leaves a wrapping key that wraps nothing.
        remove_wrapping_key(&*self.disk, &self.dir)?;
        drop(changing);
        Ok(renewed)
    }

    /// The same slot around another master key.
    fn wrap_again(
        &self,
        ring_id: &[u8; 16],
        slot: &Slot,
        key: &SlotKey,
        master: &Secret<32>,
        now_ms: u64,
    ) -> Result<Slot, OpenError> {
        let (wrapping, wrong, lock) = match (&slot.lock, key) {
            (SlotLock::Passphrase { cost, salt }, SlotKey::Passphrase(passphrase)) => {
                let wrapping = cost.derive(passphrase.expose(), salt);
                (wrapping, OpenError::WrongPassphrase, slot.lock.clone())
            }
            (SlotLock::Recovery { salt, .. }, SlotKey::Recovery(key)) => {
                let lock = SlotLock::Recovery {
                    verified_ms: now_ms.max(1),
                    salt: *salt,
                };
                (Some(key.derive(salt)), OpenError::WrongRecoveryKey, lock)
            }
            (SlotLock::Tpm { blob }, SlotKey::Tpm(sealer)) => {
                let wrapping = sealer.unseal(blob).map_err(OpenError::Sealer)?;
                (Some(wrapping), OpenError::Forged, slot.lock.clone())
            }
            (lock, _) => return Err(OpenError::NoSlot(lock.kind())),
        };
        match wrapping {
            Some(wrapping) if slot.open(ring_id, &wrapping).is_ok_and(|found| found == self.master) => {
                Ok(Slot::seal(ring_id, slot.id, lock, &wrapping, master, &*self.entropy))
            }
            _ => Err(wrong),
        }
    }

    /// A data key under the master key of `renewed`, with the number that it has.
    fn rewrap(&self, ring: &Ring, key: &WrappedKey, renewed: &Self) -> Result<WrappedKey, KeyringError> {
        let (purpose, number) = (key.purpose, key.number);
        match key.sealed.len().checked_sub(TAG_BYTES) {
            Some(32) => Ok(renewed.wrap_as(ring, purpose, number, self.unwrap_key::<32>(ring, key)?.expose())),
            Some(64) => Ok(renewed.wrap_as(ring, purpose, number, self.unwrap_key::<64>(ring, key)?.expose())),
            _ => Err(KeyringError::Damaged),
        }
    }

    /// Whether something may still be under keys of before.
    pub fn has_former(&self) -> bool {
        let ring = self.ring.read();
        let count = |purpose| ring.keys.iter().filter(|key| key.purpose == purpose).count();
        FORGOTTEN.into_iter().any(|purpose| count(purpose) > 1)
    }

    /// Seals the holder's own secrets anew, and forgets the former keys of what is encrypted anew: the database, secrets,
    /// and these. The exchange has done its part before. Durable on return.
    pub fn forget_former(&self) -> Result<(), crate::sealed::SecretError> {
        self.reseal_own()?;
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        let keep: Vec<(u8, u32)> = FORGOTTEN
            .into_iter()
            .filter_map(|purpose| newest(&ring, purpose).map(|key| (purpose, key.number)))
            .collect();
        let before = ring.keys.len();
        ring.keys
            .retain(|key| !FORGOTTEN.contains(&key.purpose) || keep.contains(&(key.purpose, key.number)));
        if ring.keys.len() < before {
            self.store(ring)?;
        }
        drop(changing);
        Ok(())
    }
}

/// Removes a wrapping key that wraps nothing any more, and what a power cut left of writing one.
pub(super) fn tidy(disk: &dyn Disk, dir: &Path, ring: &Ring) -> io::Result<()> {
    let names = disk.list(dir)?;
    let has_slot = ring.slots.iter().any(|slot| slot.lock == SlotLock::File);
    let fresh = format!("{WRAPPING_FILE}.new");
    let is_left = |name: &String| *name == fresh || (name == WRAPPING_FILE && !has_slot);
    let left: Vec<&String> = names.iter().filter(|name| is_left(name)).collect();
    for name in &left {
        disk.remove(&dir.join(name))?;
    }
    if left.is_empty() { Ok(()) } else { disk.sync_dir(dir) }
}
