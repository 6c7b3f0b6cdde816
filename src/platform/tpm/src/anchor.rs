//! The anchor: where the audit log and the store stood when they were last anchored, kept in the TPM, so that a disk
//! that was rolled back is noticed at start. And the budget that keeps NV memory from wearing out.

use crate::bytes::{MalformedError, Reader};
use crate::crypto::{hmac_sha256, same, sha256};
use crate::error::{NvFault, TpmError};
use crate::session::Auth;
use crate::tpm::Tpm;
use crate::wire::{self, Kind, NvPublic};
use lamchat_base::Secret;
use std::ops::RangeInclusive;

/// Bytes of the anchor's NV index.
pub const ANCHOR_BYTES: usize = 64;
const VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;

/// What is anchored. 64 bytes: version 1 (1), zeros (7), audit head (32), log size (8), commit (8), and the first 8
/// bytes of the SHA-256 of the 56 before, against a write that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The audit log's root hash.
    pub audit_head: [u8; 32],
    /// Entries in the audit log.
    pub audit_entries: u64,
    /// The store's commit number.
    pub commit: u64,
}

/// How a disk stands to its anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// At the anchor or beyond it; beyond, the log's consistency with the anchored head is still to be checked.
    NotBehind,
    /// Behind it: an older copy of the disk. Opens only by recovery key, as a new epoch.
    Behind {
        /// Anchored commit.
        anchored: u64,
        /// The disk's commit.
        found: u64,
    },
    /// As many entries, another head: a forked log.
    Forked,
}

/// Why there is no anchor to compare with.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The index does not exist: never made, or the TPM was cleared.
    #[error("the TPM has no anchor at NV index {0:#x}")]
    Absent(u32),
    /// The index exists, is ours, and was never written: the anchoring of the first start did not happen.
    #[error("the anchor was never written")]
    Unwritten,
    /// Something else lives under this index, or it holds something else.
    #[error("the NV index {0:#x} is taken by something that is not our anchor")]
    Foreign(u32),
    /// The anchor belongs to another keyring.
    #[error("the anchor belongs to another installation")]
    AnotherInstallation,
    /// The TPM refused.
    #[error(transparent)]
    Tpm(TpmError),
}

impl From<TpmError> for AnchorError {
    fn from(error: TpmError) -> Self {
        match error {
            TpmError::AuthFailed { .. } => Self::AnotherInstallation,
            TpmError::Nv(NvFault::Unwritten) => Self::Unwritten,
            other => Self::Tpm(other),
        }
    }
}

impl Anchor {
    /// The bytes in the TPM.
    pub fn encode(&self) -> [u8; ANCHOR_BYTES] {
        let mut bytes = Vec::with_capacity(ANCHOR_BYTES);
        bytes.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&self.audit_head);
        bytes.extend_from_slice(&self.audit_entries.to_be_bytes());
        bytes.extend_from_slice(&self.commit.to_be_bytes());
        let check = sha256(&[&bytes]);
        bytes.extend(check.iter().take(CHECK_BYTES));
        let mut out = [0u8; ANCHOR_BYTES];
        for (into, from) in out.iter_mut().zip(bytes) {
            *into = from;
        }
        out
    }

    /// Takes apart what [`Anchor::encode`] made.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedError> {
        let (body, check) = bytes
            .split_at_checked(ANCHOR_BYTES - CHECK_BYTES)
            .ok_or(MalformedError)?;
        let wanted = sha256(&[body]);
        if check.len() != CHECK_BYTES || !same(check, wanted.get(..CHECK_BYTES).unwrap_or_default()) {
            return Err(MalformedError);
        }
        let mut reader = Reader(body);
        if reader.array::<8>()? != [VERSION, 0, 0, 0, 0, 0, 0, 0] {
            return Err(MalformedError);
        }
        let anchor = Self {
            audit_head: reader.array()?,
            audit_entries: reader.u64()?,
            commit: reader.u64()?,
        };
        reader.end()?;
        Ok(anchor)
    }

    /// How a disk with `found` stands to this anchor.
    pub fn compare(&self, found: &Self) -> Standing {
        if found.commit < self.commit || found.audit_entries < self.audit_entries {
            Standing::Behind {
                anchored: self.commit,
                found: found.commit,
            }
        } else if found.audit_entries == self.audit_entries && found.audit_head != self.audit_head {
            Standing::Forked
        } else {
            Standing::NotBehind
        }
    }
}

/// The authorization value of the anchor's index, from a key of the installation.
fn auth_value(key: &Secret<32>) -> zeroize::Zeroizing<[u8; 32]> {
    hmac_sha256(key.expose(), &[b"lamchat anchor 1"])
}

impl Tpm {
    /// Makes the anchor's index if it is not there, readable and writable with `key` alone.
    pub fn ensure_anchor(&mut self, index: u32, key: &Secret<32>) -> Result<(), AnchorError> {
        self.scope(|tpm| {
            let wanted = anchor_public(index)?;
            match tpm.nv_public(index)? {
                Some(found) if found.is_like(&wanted) => Ok(()),
                Some(_) => Err(AnchorError::Foreign(index)),
                None => {
                    let (root, public) = tpm.storage_root()?;
                    let mut session = tpm.session(Kind::Hmac, &root, &public)?;
                    let request = wire::nv_define(&wanted, auth_value(key).as_slice())?;
                    tpm.run_as_owner(&request, &mut session, true)?;
                    Ok(())
                }
            }
        })
    }

    /// Writes `anchor`. Costs one write of NV memory: ask a [`WriteBudget`] first.
    pub fn write_anchor(&mut self, index: u32, key: &Secret<32>, anchor: &Anchor) -> Result<(), AnchorError> {
        self.scope(|tpm| {
            let handle = tpm.anchor_index(index)?.handle()?;
            let (root, public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &public)?;
            let value = auth_value(key);
            let auth = Auth {
                session: &mut session,
                value: value.as_slice(),
                decrypt: true,
                encrypt: false,
            };
            tpm.run(&wire::nv_write(&handle, &handle, &anchor.encode())?, &mut [auth])?;
            Ok(())
        })
    }

    /// Reads the anchor.
    pub fn read_anchor(&mut self, index: u32, key: &Secret<32>) -> Result<Anchor, AnchorError> {
        self.scope(|tpm| {
            // One that was never written is read as well: the TPM says so only to who has its key.
            let found = tpm.anchor_index(index)?;
            let handle = found.handle()?;
            let (root, public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &public)?;
            let request = wire::nv_read(&handle, &handle, found.data_bytes, 0)?;
            let data = tpm.read_part(&request, &mut session, auth_value(key).as_slice(), found.data_bytes)?;
            Anchor::parse(&data).map_err(|_| AnchorError::Foreign(index))
        })
    }

    /// Deletes what was made in `indices` as anchors are made, byte for byte, but what is `kept`. Answers how many. Whoever
    /// calls this says that nobody else makes anchors here.
    pub fn reclaim_anchors(&mut self, indices: RangeInclusive<u32>, kept: &[u32]) -> Result<usize, TpmError> {
        self.reclaim(indices, kept, anchor_public)
    }

    fn anchor_index(&mut self, index: u32) -> Result<NvPublic, AnchorError> {
        let found = self.nv_public(index)?.ok_or(AnchorError::Absent(index))?;
        if found.is_like(&anchor_public(index)?) {
            Ok(found)
        } else {
            Err(AnchorError::Foreign(index))
        }
    }
}

fn anchor_public(index: u32) -> Result<NvPublic, TpmError> {
    NvPublic::data(
        index,
        u16::try_from(ANCHOR_BYTES).map_err(|_| TpmError::Unencodable("anchor"))?,
    )
}

/// How often the TPM's NV memory may be written. A maker that says how much it bears says 500,000 writes (STMicroelectronics,
/// ST33GTPMISPI, data brief DB4278 rev 1: "500 000 cycles on the full temperature range"); others say nothing, so a fifth
/// of that is planned with. One write an hour is 8,766 a year: 100,000 last for eleven years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteBudget {
    saved: u32,
    saved_max: u32,
    interval_ms: u64,
    filled_until_ms: u64,
}

impl WriteBudget {
    /// One write every `interval_ms`, and up to `saved_max` unused ones at once. Starts with all of them saved.
    pub fn new(interval_ms: u64, saved_max: u32, now_ms: u64) -> Self {
        Self {
            saved: saved_max,
            saved_max,
            interval_ms: interval_ms.max(1),
            filled_until_ms: now_ms,
        }
    }

    /// What has to outlive a restart: the saved writes, and until when (milliseconds since 1970) they are counted.
    pub fn state(&self) -> (u32, u64) {
        (self.saved, self.filled_until_ms)
    }

    /// A budget that goes on where [`WriteBudget::state`] was. A time that is still to come is not believed: it would
    /// hold every write back.
    #[must_use]
    pub fn resumed(self, saved: u32, filled_until_ms: u64, now_ms: u64) -> Self {
        Self {
            saved: saved.min(self.saved_max),
            filled_until_ms: filled_until_ms.min(now_ms),
            ..self
        }
    }

    /// Takes one write out of the budget; `false`: there is none, wait or leave it. A clock that goes back gives none.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let earned = now_ms.saturating_sub(self.filled_until_ms) / self.interval_ms;
        if earned > 0 {
            self.saved = u32::try_from(earned)
                .unwrap_or(u32::MAX)
                .saturating_add(self.saved)
                .min(self.saved_max);
            self.filled_until_ms = self
                .filled_until_ms
                .saturating_add(earned.saturating_mul(self.interval_ms));
        }
        match self.saved.checked_sub(1) {
            Some(left) => {
                self.saved = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::{Anchor, Standing, WriteBudget};

    const ANCHOR: Anchor = Anchor {
        audit_head: [7; 32],
        audit_entries: 10,
        commit: 1000,
    };

    #[test]
    fn every_changed_byte_of_an_anchor_is_noticed() {
        let bytes = ANCHOR.encode();
        assert_eq!(Anchor::parse(&bytes), Ok(ANCHOR));
        for place in 0..bytes.len() {
            let mut changed = bytes;
            changed[place] ^= 1;
            assert!(Anchor::parse(&changed).is_err());
            assert!(Anchor::parse(&bytes[..place]).is_err());
        }
        assert!(Anchor::parse(&[0; 64]).is_err());
    }

    #[test]
    fn a_disk_behind_its_anchor_is_told_from_one_ahead() {
        let with = |entries, commit, head| Anchor {
            audit_head: [head; 32],
            audit_entries: entries,
            commit,
        };
        assert_eq!(ANCHOR.compare(&ANCHOR), Standing::NotBehind);
        assert_eq!(ANCHOR.compare(&with(11, 1001, 8)), Standing::NotBehind);
        assert_eq!(ANCHOR.compare(&with(10, 1001, 8)), Standing::Forked);
        assert!(matches!(ANCHOR.compare(&with(10, 999, 7)), Standing::Behind { .. }));
        assert!(matches!(ANCHOR.compare(&with(9, 1001, 7)), Standing::Behind { .. }));
    }

    #[test]
    fn a_budget_is_spent_and_refills_slowly() {
        let mut budget = WriteBudget::new(1000, 3, 0);
        assert_eq!((0..5).filter(|_| budget.take(0)).count(), 3);
        assert!(!budget.take(999));
        assert!(budget.take(1999));
        assert!(!budget.take(1999));
        assert!(budget.take(2000));
        assert!(!budget.take(0));
        assert_eq!((0..9).filter(|_| budget.take(u64::MAX)).count(), 3);
    }
}
