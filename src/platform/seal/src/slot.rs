//! Slots: each wraps the same master key, for another way to unlock.

use crate::cipher::{self, NONCE_BYTES, TamperedError};
use crate::passphrase::PassphraseCost;
use crate::sealer::SealerError;
use lamchat_base::{Entropy, Secret};

/// A way to unlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// A wrapping key in the file `keyring.key` beside the keyring: protects nothing on a stolen disk.
    File,
    /// A passphrase, through argon2id.
    Passphrase,
    /// A recovery key: 48 digits on paper.
    Recovery,
    /// A wrapping key that a TPM keeps.
    Tpm,
}

impl SlotKind {
    /// The number in the file.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Passphrase => 2,
            Self::Recovery => 3,
            Self::Tpm => 4,
        }
    }

    /// Whether a slot opens anywhere with what a person knows or holds: those go into backups.
    pub fn is_portable(self) -> bool {
        matches!(self, Self::Passphrase | Self::Recovery)
    }
}

impl std::fmt::Display for SlotKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Passphrase => "passphrase",
            Self::Recovery => "recovery",
            Self::Tpm => "tpm",
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
    /// When the owner typed the key of a `recovery` slot back, in milliseconds since 1970.
    pub verified_ms: Option<u64>,
}

/// Why a slot was not added, changed or removed. The keyring is unchanged; after `Io` the file `keyring.key` may be left.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// There is only one wrapping key file.
    #[error("the keyring has a file slot already")]
    FileSlotExists,
    /// No such slot.
    #[error("the keyring has no slot {0}")]
    Unknown(u32),
    /// Another kind of slot than the operation is for.
    #[error("slot {id} is a {kind} slot, which cannot be bound to a TPM anew")]
    NotTpm {
        /// The slot.
        id: u32,
        /// What it is.
        kind: SlotKind,
    },
    /// Without any slot nobody could open the keyring again.
    #[error("this is the last slot of the keyring; add another one before removing it")]
    Last,
    /// With the TPM alone, a broken board or a firmware update would lose everything.
    #[error(
        "only this machine's TPM could open the keys then, and a broken board would lose them: make a recovery key \
         first (`lamchat seal add-recovery`)"
    )]
    OnlyTpm,
    /// An empty passphrase, or argon2id parameters out of range.
    #[error("the passphrase is empty or its cost is out of range")]
    Passphrase,
    /// The TPM did not seal.
    #[error("the TPM did not seal the key: {0}")]
    Sealer(#[from] SealerError),
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
    Passphrase {
        cost: PassphraseCost,
        salt: [u8; 32],
    },
    Recovery {
        /// When the key was typed back; 0: never.
        verified_ms: u64,
        salt: [u8; 32],
    },
    Tpm {
        blob: Vec<u8>,
    },
}

impl SlotLock {
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::File => SlotKind::File,
            Self::Passphrase { .. } => SlotKind::Passphrase,
            Self::Recovery { .. } => SlotKind::Recovery,
            Self::Tpm { .. } => SlotKind::Tpm,
        }
    }

    /// The parameters as they are in the file.
    pub fn parameters(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::File => {}
            Self::Passphrase { cost, salt } => {
                for part in [cost.memory_kib, cost.passes, cost.lanes] {
                    bytes.extend_from_slice(&part.to_be_bytes());
                }
                bytes.extend_from_slice(salt);
            }
            Self::Recovery { verified_ms, salt } => {
                bytes.extend_from_slice(&verified_ms.to_be_bytes());
                bytes.extend_from_slice(salt);
            }
            Self::Tpm { blob } => {
                // A blob has at most BLOB_BYTES_MAX bytes, checked where it comes in.
                bytes.extend_from_slice(&(blob.len() as u16).to_be_bytes());
                bytes.extend_from_slice(blob);
            }
        }
        bytes
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

    /// As the owner sees it.
    pub fn info(&self) -> SlotInfo {
        SlotInfo {
            id: self.id,
            kind: self.lock.kind(),
            verified_ms: match self.lock {
                SlotLock::Recovery { verified_ms, .. } if verified_ms > 0 => Some(verified_ms),
                _ => None,
            },
        }
    }
}

/// Binds a wrapped master key to its keyring, its slot and its parameters.
fn slot_aad(ring_id: &[u8; 16], id: u32, lock: &SlotLock) -> Vec<u8> {
    let mut aad = b"lamchat keyring slot".to_vec();
    aad.extend_from_slice(ring_id);
    aad.push(lock.kind().code());
    aad.extend_from_slice(&id.to_be_bytes());
    aad.extend_from_slice(&lock.parameters());
    aad
}
