//! The keyring itself: create, open, release data keys, change slots. Who holds one holds the master key.

mod error;
mod renew;
mod slots;
mod unlock;

pub use error::{CreateError, KeyringError, OpenError, VerifyRecoveryError};
pub use renew::{RenewError, SlotKey};
pub(crate) use unlock::unlock_ring;

use crate::cipher::{self, NONCE_BYTES};
use crate::data_keys::{DataKeys, ReleasedKey};
use crate::format::{self, Parsed, Ring, WrappedKey};
use crate::marks::Mark;
use crate::passphrase::PassphraseCost;
use crate::recovery::{RecoveryKey, RecoveryKeyError};
use crate::sealer::Sealer;
use crate::slot::{Slot, SlotError, SlotInfo, SlotKind, SlotLock};
use lamchat_base::{Entropy, Secret, SecretBytes};
use lamchat_disk::{Disk, RealDisk, read_file, replace_file};
use parking_lot::{Mutex, RwLock};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use unlock::{read_wrapping_key, remove_wrapping_key};
use zeroize::Zeroizing;

/// The keyring's file in the data folder.
pub(crate) const RING_FILE: &str = "keyring";
/// Longest keyring file that is read.
const RING_BYTES_MAX: u64 = 16 << 20;
/// The purpose number of the database key, whose 64 bytes set it apart from [`Purpose`].
pub(crate) const DATABASE: u8 = 1;
/// The purpose number of [`Purpose::Secrets`].
pub(crate) const SECRETS: u8 = 3;
/// The purpose number of the keys that are never released.
pub(crate) const AUDIT: u8 = 5;
/// The purpose number of the key of a disk, 64 bytes: for process 1 of the box alone.
pub(crate) const DISK: u8 = 6;

/// What a data key encrypts. (The database has a longer one, [`ReleasedKey::Database`].)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Wraps the key of each media blob.
    Media,
    /// Small secrets of the server: signing key, TLS keys.
    Secrets,
    /// The content of events, kept apart from what must outlive it.
    Content,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Media, Self::Secrets, Self::Content];

    /// The number in the keyring's format.
    pub fn code(self) -> u8 {
        match self {
            Self::Media => 2,
            Self::Secrets => SECRETS,
            Self::Content => 4,
        }
    }

    /// The purpose with this number.
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.code() == code)
    }
}

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

/// What to tell the owner at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// All slots.
    pub slots: Vec<SlotInfo>,
    /// Whether a TPM opens them, and nothing that lies on the disk does.
    pub hardware_sealed: bool,
    /// One or two plain sentences.
    pub sentence: &'static str,
}

impl Status {
    /// What these slots are worth.
    pub fn of(slots: Vec<SlotInfo>) -> Self {
        let has = |kind| slots.iter().any(|slot: &SlotInfo| slot.kind == kind);
        let sentence = if has(SlotKind::File) {
            "keys are not hardware-sealed: the file slot keeps their wrapping key beside them, so whoever copies the disk can read everything"
        } else if has(SlotKind::Tpm) {
            "keys are sealed: they open by this machine's TPM, by recovery key or by passphrase only"
        } else {
            "keys are not hardware-sealed: they open by recovery key or passphrase only"
        };
        Self {
            hardware_sealed: has(SlotKind::Tpm) && !has(SlotKind::File),
            slots,
            sentence,
        }
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

    pub(crate) fn new_database_key(&self, ring: &Ring) -> WrappedKey {
        self.new_key(ring, DATABASE, random_long_key(&*self.entropy).expose())
    }

    pub(crate) fn new_key(&self, ring: &Ring, purpose: u8, key: &[u8]) -> WrappedKey {
        let number = newest(ring, purpose).map_or(0, |newest| newest.number) + 1;
        self.wrap_as(ring, purpose, number, key)
    }

    /// A data key with this number, wrapped.
    pub(crate) fn wrap_as(&self, ring: &Ring, purpose: u8, number: u32, key: &[u8]) -> WrappedKey {
        let mut nonce = [0u8; NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        let sealed = cipher::wrap(
            &wrapping_key(&self.master),
            nonce,
            &key_aad(&ring.id, purpose, number),
            key,
        );
        WrappedKey {
            purpose,
            number,
            nonce,
            sealed,
        }
    }

    pub(crate) fn unwrap_key<const N: usize>(
        &self,
        ring: &Ring,
        wrapped: &WrappedKey,
    ) -> Result<Secret<N>, KeyringError> {
        let aad = key_aad(&ring.id, wrapped.purpose, wrapped.number);
        cipher::unwrap(&wrapping_key(&self.master), wrapped.nonce, &aad, &wrapped.sealed)
            .map_err(|_| KeyringError::Damaged)
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

pub(crate) fn newest(ring: &Ring, purpose: u8) -> Option<&WrappedKey> {
    ring.keys
        .iter()
        .filter(|key| key.purpose == purpose)
        .max_by_key(|key| key.number)
}

pub(crate) fn random_key(entropy: &dyn Entropy) -> Secret<32> {
    let mut key = Zeroizing::new([0u8; 32]);
    entropy.fill(key.as_mut_slice());
    Secret::new(*key)
}

/// Two AES-256 keys, as XTS wants them.
pub(crate) fn random_long_key(entropy: &dyn Entropy) -> Secret<64> {
    let mut key = Zeroizing::new([0u8; 64]);
    entropy.fill(key.as_mut_slice());
    Secret::new(*key)
}

/// What wraps data keys.
fn wrapping_key(master: &Secret<32>) -> Secret<32> {
    cipher::derive(master, b"lamchat keyring", b"wrap data keys")
}

/// What authenticates the file.
pub(crate) fn mac_key(master: &Secret<32>) -> Secret<32> {
    cipher::derive(master, b"lamchat keyring", b"authenticate file")
}

/// Binds a wrapped data key to its keyring, purpose and number.
fn key_aad(ring_id: &[u8; 16], purpose: u8, number: u32) -> Vec<u8> {
    let mut aad = b"lamchat data key".to_vec();
    aad.extend_from_slice(ring_id);
    aad.push(purpose);
    aad.extend_from_slice(&number.to_be_bytes());
    aad
}
