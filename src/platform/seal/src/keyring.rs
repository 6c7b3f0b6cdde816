//! The keyring itself: create, open, release data keys, change slots. Who holds one holds the master key.

mod error;
mod purpose;
mod renew;
mod slots;
mod status;
mod unlock;
mod wrap;

pub use error::{CreateError, KeyringError, OpenError, VerifyRecoveryError};
pub use purpose::Purpose;
pub(crate) use purpose::{AUDIT, DATABASE, DISK, SECRETS};
pub use renew::{RenewError, SlotKey};
pub use status::Status;
pub(crate) use unlock::unlock_ring;
pub(crate) use wrap::{mac_key, newest, random_key, random_long_key};

use crate::data_keys::{DataKeys, ReleasedKey};
use crate::format::{self, Parsed, Ring};
use crate::passphrase::PassphraseCost;
use crate::recovery::{RecoveryKey, RecoveryKeyError};
use crate::sealer::Sealer;
use crate::slot::{Slot, SlotError, SlotInfo, SlotLock};
use lamchat_base::{Entropy, Secret, SecretBytes};
use lamchat_disk::{Disk, RealDisk, read_file, replace_file};
use parking_lot::{Mutex, RwLock};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use unlock::read_wrapping_key;

/// The keyring's file in the data folder.
pub(crate) const RING_FILE: &str = "keyring";
/// Longest keyring file that is read.
const RING_BYTES_MAX: u64 = 16 << 20;

/// How to unlock a keyring, or what its first slot is.
#[derive(Debug, Clone)]
pub enum Unlock {
    /// By the wrapping key in the file `keyring.key`.
    File,
    /// By a passphrase. The bytes are used as they are; cut a line end off before.
    Passphrase(SecretBytes),
    /// By a recovery key.
    Recovery(RecoveryKey),
    /// By the TPM behind this sealer.
    Tpm(Arc<dyn Sealer>),
}

impl Unlock {
    /// What somebody typed to unlock: a recovery key if it looks like one, a passphrase otherwise.
    pub fn typed(text: &str) -> Result<Self, RecoveryKeyError> {
        if RecoveryKey::is_meant(text) {
            return RecoveryKey::parse(text).map(Self::Recovery);
        }
        Ok(Self::Passphrase(SecretBytes::new(text.as_bytes().to_vec())))
    }
}

/// An unlocked keyring. Share it in an [`Arc`].
pub struct Keyring {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) master: Secret<32>,
    pub(crate) ring: RwLock<Ring>,
    /// Held while the file changes, so that readers of `ring` never wait for the disk.
    pub(crate) changing: Mutex<()>,
    /// [`Keyring::renew`] has put another one in its place: whoever still has this one must not write the file any more.
    pub(crate) replaced: AtomicBool,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// Whether `dir` has a keyring.
    pub fn exists(dir: &Path) -> bool {
        dir.join(RING_FILE).exists()
    }

    /// [`Keyring::exists`] on a given disk.
    pub fn exists_on(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
        Ok(disk.list(dir)?.iter().any(|name| name == RING_FILE))
    }

    /// Makes a keyring with new random keys and one slot in the folder `dir`, which is created if need be. Durable on
    /// return. `cost` is for a passphrase.
    pub fn create(
        dir: &Path,
        first: &Unlock,
        cost: PassphraseCost,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, CreateError> {
        Self::create_on(RealDisk::shared(), dir, first, cost, entropy)
    }

    /// [`Keyring::create`] on a given disk.
    pub fn create_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        first: &Unlock,
        cost: PassphraseCost,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, CreateError> {
        disk.create_dir(dir)?;
        if Self::exists_on(&*disk, dir)? {
            return Err(CreateError::Exists(dir.join(RING_FILE)));
        }
        let mut id = [0u8; 16];
        entropy.fill(&mut id);
        let ring = Ring {
            id,
            generation: 0,
            slots: Vec::new(),
            keys: Vec::new(),
        };
        let keyring = Self::assemble(disk, dir, entropy.clone(), random_key(&*entropy), ring);
        let mut ring = keyring.ring.read().clone();
        ring.keys.push(keyring.new_database_key(&ring));
        for purpose in Purpose::ALL {
            ring.keys
                .push(keyring.new_key(&ring, purpose.code(), random_key(&*entropy).expose()));
        }
        ring.slots.push(match keyring.new_slot(&ring, first, cost) {
            Ok(slot) => slot,
            Err(SlotError::Io(error)) => return Err(error.into()),
            Err(SlotError::Sealer(error)) => return Err(CreateError::Sealer(error)),
            Err(_) => return Err(CreateError::Passphrase),
        });
        keyring.store(ring)?;
        Ok(keyring)
    }

    /// The slots of the keyring in the folder `dir`, without opening it: nothing proves that they are the owner's.
    pub fn peek(dir: &Path) -> Result<Vec<SlotInfo>, OpenError> {
        Self::peek_on(&RealDisk, dir)
    }

    /// [`Keyring::peek`] on a given disk.
    pub fn peek_on(disk: &dyn Disk, dir: &Path) -> Result<Vec<SlotInfo>, OpenError> {
        Ok(read_ring(disk, dir)?.ring.slots.iter().map(Slot::info).collect())
    }

    /// Opens the keyring of the folder `dir`. A damaged copy of the two in the file is repaired.
    pub fn open(dir: &Path, unlock: &Unlock, entropy: Arc<dyn Entropy>) -> Result<Self, OpenError> {
        Self::open_on(RealDisk::shared(), dir, unlock, entropy)
    }

    /// [`Keyring::open`] on a given disk.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        unlock: &Unlock,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let parsed = read_ring(&*disk, dir)?;
        let master = unlock_ring(&parsed, unlock, || read_wrapping_key(&*disk, dir))?;
        renew::tidy(&*disk, dir, &parsed.ring)?;
        let damaged = parsed.one_copy_only;
        let keyring = Self::assemble(disk, dir, entropy, master, parsed.ring);
        if damaged {
            let ring = keyring.ring.read().clone();
            keyring.store(ring)?;
        }
        Ok(keyring)
    }

    /// All keys that the exchange may have.
    pub fn release(&self) -> Result<Vec<ReleasedKey>, KeyringError> {
        let ring = self.ring.read();
        let released = ring.keys.iter().filter_map(|wrapped| {
            let number = wrapped.number;
            match Purpose::of(wrapped.purpose) {
                Some(purpose) => {
                    let key = self.unwrap_key(&ring, wrapped);
                    Some(key.map(|key| ReleasedKey::Data { purpose, number, key }))
                }
                None if wrapped.purpose == DATABASE => {
                    let key = self.unwrap_key(&ring, wrapped);
                    Some(key.map(|key| ReleasedKey::Database { number, key }))
                }
                // The holder's own, and those of programs to come.
                None => None,
            }
        });
        released.collect()
    }

    /// [`Keyring::release`] for a process that is holder and exchange at once: a restore, a test. Small secrets are kept
    /// below the folder `dir`.
    pub fn data_keys(&self, dir: &Path) -> Result<DataKeys, KeyringError> {
        let (disk, entropy) = (Arc::clone(&self.disk), Arc::clone(&self.entropy));
        Ok(DataKeys::new(disk, dir, entropy, self.release()?))
    }

    /// Makes a new data key, which encrypts everything of its purpose from now on; older ones stay readable. Durable on
    /// return. The answer is for [`DataKeys::add`].
    pub fn rotate(&self, purpose: Purpose) -> Result<ReleasedKey, KeyringError> {
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        let key = random_key(&*self.entropy);
        let wrapped = self.new_key(&ring, purpose.code(), key.expose());
        let number = wrapped.number;
        ring.keys.push(wrapped);
        self.store(ring)?;
        drop(changing);
        Ok(ReleasedKey::Data { purpose, number, key })
    }

    /// The data key of this purpose with this number.
    pub(crate) fn key(&self, purpose: u8, number: u32) -> Result<Secret<32>, KeyringError> {
        let ring = self.ring.read();
        let mut keys = ring.keys.iter();
        let wrapped = keys.find(|key| key.purpose == purpose && key.number == number);
        self.unwrap_key(&ring, wrapped.ok_or(KeyringError::Unknown { number })?)
    }

    /// All slots, in the order in which they were added.
    pub fn slots(&self) -> Vec<SlotInfo> {
        self.ring.read().slots.iter().map(Slot::info).collect()
    }

    /// The `tpm` slots with their blobs.
    pub fn blobs(&self) -> Vec<(u32, Vec<u8>)> {
        blobs(&self.ring.read())
    }

    /// [`Keyring::blobs`] of the keyring in the folder `dir`, without opening it: nothing proves that they are the owner's.
    pub fn peek_blobs_on(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u32, Vec<u8>)>, OpenError> {
        Ok(blobs(&read_ring(disk, dir)?.ring))
    }

    /// How well the keys are protected.
    pub fn status(&self) -> Status {
        Status::of(self.slots())
    }

    pub(crate) fn assemble(
        disk: Arc<dyn Disk>,
        dir: &Path,
        entropy: Arc<dyn Entropy>,
        master: Secret<32>,
        ring: Ring,
    ) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            entropy,
            master,
            ring: RwLock::new(ring),
            changing: Mutex::new(()),
            replaced: AtomicBool::new(false),
        }
    }

    /// Writes `ring` as the next generation and makes it the one that is read. With `changing`, once others may have this
    /// keyring.
    pub(crate) fn store(&self, mut ring: Ring) -> io::Result<()> {
        if self.replaced.load(Ordering::Relaxed) {
            return Err(io::Error::other(
                "its keys were replaced by new ones just now: try again",
            ));
        }
        ring.generation += 1;
        let file = format::file_bytes(&format::encode(&ring, &mac_key(&self.master)));
        replace_file(&*self.disk, &self.dir.join(RING_FILE), &file)?;
        *self.ring.write() = ring;
        Ok(())
    }
}

fn read_ring(disk: &dyn Disk, dir: &Path) -> Result<Parsed, OpenError> {
    let path = dir.join(RING_FILE);
    let bytes = match read_file(disk, &path, RING_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::Missing(path)),
        Err(error) => return Err(error.into()),
    };
    format::parse_file(&bytes).map_err(|source| OpenError::Format { path, source })
}

fn blobs(ring: &Ring) -> Vec<(u32, Vec<u8>)> {
    let blobs = ring.slots.iter().filter_map(|slot| match &slot.lock {
        SlotLock::Tpm { blob } => Some((slot.id, blob.clone())),
        _ => None,
    });
    blobs.collect()
}
