//! Making and removing slots, and the changes that keep one's number: binding to a TPM anew, noting that a recovery key is
//! known.

use super::unlock::{WRAPPING_FILE, open_by_recovery, remove_wrapping_key, wrapping_file_bytes};
use super::{Keyring, Unlock, VerifyRecoveryError, random_key};
use crate::format::Ring;
use crate::marks::Mark;
use crate::passphrase::PassphraseCost;
use crate::recovery::RecoveryKey;
use crate::sealer::{BLOB_BYTES_MAX, Sealer, SealerError, SealerReason};
use crate::slot::{SLOTS_MAX, Slot, SlotError, SlotInfo, SlotKind, SlotLock};
use lamchat_base::Secret;
use lamchat_disk::replace_file;

/// What is stored for a recovery key that was verified at the very beginning of time, where 0 stands for "never".
const VERIFIED_MS_MIN: u64 = 1;

impl Keyring {
    /// Adds a way to unlock. Durable on return. Blocks while the passphrase is stretched.
    pub fn add_slot(&self, unlock: &Unlock, cost: PassphraseCost) -> Result<SlotInfo, SlotError> {
        self.add_slot_with(unlock, cost, None)
    }

    /// The same, and a mark with it: no copy of the keyring has the slot and not the mark.
    pub fn add_slot_with(
        &self,
        unlock: &Unlock,
        cost: PassphraseCost,
        mark: Option<Mark>,
    ) -> Result<SlotInfo, SlotError> {
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        let slot = self.new_slot(&ring, unlock, cost)?;
        let info = slot.info();
        ring.slots.push(slot);
        if let Some(mark) = mark {
            self.add_mark(&mut ring, mark);
        }
        self.store(ring)?;
        drop(changing);
        Ok(info)
    }

    /// Removes a way to unlock, and the file `keyring.key` with a file slot. Durable on return.
    ///
    /// The master key stays: somebody who copied the keyring together with what opened the slot keeps access to that
    /// copy, and to all that this master key wraps later. So a file slot goes by [`Keyring::renew`], wherever something
    /// is encrypted already. The blob of a `tpm` slot is to be retired then
    /// ([`Sealer::retire`]), so that no copy opens by that TPM any more.
    pub fn remove_slot(&self, id: u32) -> Result<(), SlotError> {
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        let at = ring
            .slots
            .iter()
            .position(|slot| slot.id == id)
            .ok_or(SlotError::Unknown(id))?;
        if ring.slots.len() == 1 {
            return Err(SlotError::Last);
        }
        let slot = ring.slots.remove(at);
        if ring.slots.iter().all(|left| left.lock.kind() == SlotKind::Tpm) {
            return Err(SlotError::OnlyTpm);
        }
        self.store(ring)?;
        if slot.lock == SlotLock::File {
            // After the keyring: a power cut in between leaves a wrapping key that wraps nothing.
            remove_wrapping_key(&*self.disk, &self.dir)?;
        }
        drop(changing);
        Ok(())
    }

    /// Notes in the slot that `key` opens that its owner typed it back at `now_ms` (since 1970). Durable on return.
    pub fn verify_recovery(&self, key: &RecoveryKey, now_ms: u64) -> Result<SlotInfo, VerifyRecoveryError> {
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        // The master key that comes out is ours: the slot's additional data names this keyring, whose file is
        // authenticated.
        let (at, _) = open_by_recovery(&ring, key)?;
        let mut info = None;
        let ring_id = ring.id;
        if let Some(slot) = ring.slots.get_mut(at)
            && let SlotLock::Recovery { salt, .. } = slot.lock
        {
            let lock = SlotLock::Recovery {
                verified_ms: now_ms.max(VERIFIED_MS_MIN),
                salt,
            };
            let wrapping = key.derive(&salt);
            *slot = Slot::seal(&ring_id, slot.id, lock, &wrapping, &self.master, &*self.entropy);
            info = Some(slot.info());
        }
        let info = info.ok_or(super::OpenError::WrongRecoveryKey)?;
        self.store(ring)?;
        drop(changing);
        Ok(info)
    }

    /// Binds the `tpm` slot `id` to what `sealer` seals to now. The slot keeps its number, and opens as before until the
    /// new binding is durable, which it is on return; then the blob of before is to be retired ([`Sealer::retire`]).
    pub fn rebind(&self, id: u32, sealer: &dyn Sealer) -> Result<(), SlotError> {
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        let mut slots = ring.slots.iter_mut();
        let slot = slots.find(|slot| slot.id == id).ok_or(SlotError::Unknown(id))?;
        if !matches!(slot.lock, SlotLock::Tpm { .. }) {
            let kind = slot.lock.kind();
            return Err(SlotError::NotTpm { id, kind });
        }
        let (lock, wrapping) = self.seal_to(sealer)?;
        *slot = Slot::seal(&ring.id, id, lock, &wrapping, &self.master, &*self.entropy);
        self.store(ring)?;
        drop(changing);
        Ok(())
    }

    /// A slot for `unlock`; for a file slot the wrapping key is durable on return.
    pub(crate) fn new_slot(&self, ring: &Ring, unlock: &Unlock, cost: PassphraseCost) -> Result<Slot, SlotError> {
        if ring.slots.len() >= SLOTS_MAX {
            return Err(SlotError::TooMany);
        }
        let id = ring.slots.iter().map(|slot| slot.id).max().unwrap_or(0) + 1;
        let (lock, wrapping) = match unlock {
            Unlock::File => {
                if ring.slots.iter().any(|slot| slot.lock == SlotLock::File) {
                    return Err(SlotError::FileSlotExists);
                }
                let wrapping = random_key(&*self.entropy);
                replace_file(
                    &*self.disk,
                    &self.dir.join(WRAPPING_FILE),
                    &wrapping_file_bytes(&wrapping),
                )?;
                (SlotLock::File, wrapping)
            }
            Unlock::Passphrase(passphrase) => {
                if passphrase.expose().is_empty() || !cost.is_sane() {
                    return Err(SlotError::Passphrase);
                }
                let salt = self.new_salt();
                let wrapping = cost.derive(passphrase.expose(), &salt).ok_or(SlotError::Passphrase)?;
                (SlotLock::Passphrase { cost, salt }, wrapping)
            }
            Unlock::Recovery(key) => {
                let salt = self.new_salt();
                let lock = SlotLock::Recovery { verified_ms: 0, salt };
                (lock, key.derive(&salt))
            }
            Unlock::Tpm(sealer) => self.seal_to(&**sealer)?,
        };
        Ok(Slot::seal(&ring.id, id, lock, &wrapping, &self.master, &*self.entropy))
    }

    /// A new wrapping key, sealed.
    fn seal_to(&self, sealer: &dyn Sealer) -> Result<(SlotLock, Secret<32>), SealerError> {
        let wrapping = random_key(&*self.entropy);
        let blob = sealer.seal(&wrapping)?;
        if !(1..=BLOB_BYTES_MAX).contains(&blob.len()) {
            return Err(SealerError {
                reason: SealerReason::Malformed,
                explanation: format!("a sealed key of {} bytes does not fit into the keyring", blob.len()),
            });
        }
        Ok((SlotLock::Tpm { blob }, wrapping))
    }

    fn new_salt(&self) -> [u8; 32] {
        let mut salt = [0u8; 32];
        self.entropy.fill(&mut salt);
        salt
    }
}
