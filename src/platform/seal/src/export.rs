//! The keyring in a backup: only the slots that a person can open, and a key for the backup's own stream.

use crate::cipher;
use crate::format::{self, FormatError, Parsed, Ring};
use crate::keyring::{CreateError, DATABASE, DISK, Keyring, OpenError, RING_FILE, Unlock, mac_key, unlock_ring};
use crate::marks::MARK;
use crate::passphrase::PassphraseCost;
use crate::slot::{SlotError, SlotKind};
use lamchat_base::{Entropy, Secret};
use lamchat_disk::{Disk, RealDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the keyring cannot go into a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// Only slots that belong to this machine are there, which a backup must not hold.
    #[error(
        "the keyring has no recovery or passphrase slot, so nobody could open the backup: add one with `lamchat seal add-recovery` or `lamchat seal add-passphrase`, then try again"
    )]
    NoPortableSlot,
}

/// Why the keyring of a backup did not open.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Damaged, or too new.
    #[error("the keyring in the backup cannot be used: {0}")]
    Format(#[from] FormatError),
    /// Not its passphrase, or forged.
    #[error("the keyring in the backup did not open: {0}")]
    Unlock(#[source] OpenError),
}

impl Keyring {
    /// The keyring with only those slots that a person can open, to be kept at the start of a backup.
    pub fn export_for_backup(&self) -> Result<Vec<u8>, ExportError> {
        let mut ring: Ring = self.ring.read().clone();
        ring.slots.retain(|slot| slot.lock.kind().is_portable());
        if ring.slots.is_empty() {
            return Err(ExportError::NoPortableSlot);
        }
        // Whoever finds a backup and its passphrase must not have the disk as well; where it is restored is another disk.
        // Nor are the records there of which marks tell.
        ring.keys.retain(|key| key.purpose != DISK && key.purpose != MARK);
        Ok(format::encode(&ring, &mac_key(&self.master)))
    }

    /// The key of one backup, which has its own random `salt`.
    pub fn backup_key(&self, salt: &[u8; 32]) -> Secret<32> {
        backup_key(&self.master, salt)
    }
}

/// The keyring of a backup, unlocked but not yet anywhere.
pub struct BackupKeyring {
    master: Secret<32>,
    parsed: Parsed,
}

impl std::fmt::Debug for BackupKeyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BackupKeyring(…)")
    }
}

impl BackupKeyring {
    /// Unlocks what [`Keyring::export_for_backup`] gave.
    pub fn open(exported: &[u8], unlock: &Unlock) -> Result<Self, ImportError> {
        let parsed = format::parse_copy(exported)?;
        let no_file = || Err(OpenError::NoSlot(SlotKind::File));
        let master = unlock_ring(&parsed, unlock, no_file).map_err(ImportError::Unlock)?;
        Ok(Self { master, parsed })
    }

    /// The key of the backup with this `salt`.
    pub fn backup_key(&self, salt: &[u8; 32]) -> Secret<32> {
        backup_key(&self.master, salt)
    }

    /// Writes the keyring to the folder `dir`, which must have none. The database gets a new key, so that the two
    /// databases that started as one share no ciphertext; a file slot is made only if asked for. Durable on return.
    pub fn install(self, dir: &Path, file_slot: bool, entropy: Arc<dyn Entropy>) -> Result<Keyring, CreateError> {
        self.install_on(RealDisk::shared(), dir, file_slot, entropy)
    }

    /// [`BackupKeyring::install`] on a given disk.
    pub fn install_on(
        self,
        disk: Arc<dyn Disk>,
        dir: &Path,
        file_slot: bool,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Keyring, CreateError> {
        disk.create_dir(dir)?;
        if disk.list(dir)?.iter().any(|name| name == RING_FILE) {
            return Err(CreateError::Exists(PathBuf::from(dir).join(RING_FILE)));
        }
        let keyring = Keyring::assemble(disk, dir, entropy, self.master, self.parsed.ring);
        let mut ring = keyring.ring.read().clone();
        let key = keyring.new_database_key(&ring);
        // Marks come from programs that did not know them: what they tell of was left behind.
        ring.keys.retain(|key| key.purpose != DATABASE && key.purpose != MARK);
        ring.keys.push(key);
        ring.slots.retain(|slot| slot.lock.kind().is_portable());
        if file_slot {
            ring.slots
                .push(match keyring.new_slot(&ring, &Unlock::File, PassphraseCost::DEFAULT) {
                    Ok(slot) => slot,
                    Err(SlotError::Io(error)) => return Err(error.into()),
                    Err(_) => return Err(CreateError::Passphrase),
                });
        }
        keyring.store(ring)?;
        Ok(keyring)
    }
}

fn backup_key(master: &Secret<32>, salt: &[u8; 32]) -> Secret<32> {
    cipher::derive(master, salt, b"lamchat backup")
}
