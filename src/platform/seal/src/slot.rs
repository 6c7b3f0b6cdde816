//! Slots: each wraps the same master key, for another way to unlock.

use crate::cipher::{self, NONCE_BYTES, TamperedError};
use crate::passphrase::PassphraseCost;
use lamchat_base::{Entropy, Secret};

/// A way to unlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// A wrapping key in the file `keyring.key` beside the keyring: protects nothing on a stolen disk.
    File,
    /// A passphrase, through argon2id.
    Passphrase,
}

impl SlotKind {
    /// The number in the file. 3 (recovery) and 4 (tpm) are taken for what comes later.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Passphrase => 2,
        }
    }
}

impl std::fmt::Display for SlotKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Passphrase => "passphrase",
        })
    }
}

/// A slot as the owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotInfo {
    /// Names the slot for removal; never reused while a later slot exists.
    pub id: u32,
    /// How it unlocks.
    pub kind: SlotKind,
}

/// Why a slot was not added or removed. The keyring is unchanged; after `Io` the file `keyring.key` may be left.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// There is only one wrapping key file.
    #[error("the keyring has a file slot already")]
    FileSlotExists,
    /// No such slot.
    #[error("the keyring has no slot {0}")]
    Unknown(u32),
    /// Without any slot nobody could open the keyring again.
    #[error("this is the last slot of the keyring; add another one before removing it")]
    Last,
    /// An empty passphrase, or argon2id parameters out of range.
    #[error("the passphrase is empty or its cost is out of range")]
    Passphrase,
    /// More slots than the format holds.
    #[error("the keyring has {SLOTS_MAX} slots already; remove one first")]
    TooMany,
    /// The disk refused.
    #[error("the keyring could not be written: {0}")]
    Io(#[from] std::io::Error),
}

/// Most slots of a keyring.
pub const SLOTS_MAX: usize = 32;

/// A slot in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub id: u32,
    pub lock: SlotLock,
    pub nonce: [u8; NONCE_BYTES],
    /// The master key and the tag.
    pub sealed: Vec<u8>,
}

/// What the wrapping key of a slot comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SlotLock {
    File,
    Passphrase { cost: PassphraseCost, salt: [u8; 32] },
}

impl SlotLock {
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::File => SlotKind::File,
            Self::Passphrase { .. } => SlotKind::Passphrase,
        }
    }
}

impl Slot {
    /// Wraps `master` under `wrapping`.
    pub fn seal(
        ring_id: &[u8; 16],
        id: u32,
        lock: SlotLock,
        wrapping: &Secret<32>,
        master: &Secret<32>,
        entropy: &dyn Entropy,
    ) -> Self {
        let mut nonce = [0u8; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let sealed = cipher::wrap(wrapping, nonce, &slot_aad(ring_id, id, &lock), master.expose());
        Self {
            id,
            lock,
            nonce,
            sealed,
        }
    }

    /// The master key.
    pub fn open(&self, ring_id: &[u8; 16], wrapping: &Secret<32>) -> Result<Secret<32>, TamperedError> {
        cipher::unwrap(
            wrapping,
            self.nonce,
            &slot_aad(ring_id, self.id, &self.lock),
            &self.sealed,
        )
    }
}

/// Binds a wrapped master key to its keyring, its slot and its parameters.
fn slot_aad(ring_id: &[u8; 16], id: u32, lock: &SlotLock) -> Vec<u8> {
    let mut aad = b"lamchat keyring slot".to_vec();
    aad.extend_from_slice(ring_id);
    aad.push(lock.kind().code());
    aad.extend_from_slice(&id.to_be_bytes());
    if let SlotLock::Passphrase { cost, salt } = lock {
        for part in [cost.memory_kib, cost.passes, cost.lanes] {
            aad.extend_from_slice(&part.to_be_bytes());
        }
        aad.extend_from_slice(salt);
    }
    aad
}
