//! The operator's approvers: people of the operator who each sign a release, besides the release key. A box that has
//! their keys takes a release only when enough of them did.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use lamchat_attestation::Sha256;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

/// Approvers of an operator, and approvals of a bundle, at most.
pub const APPROVERS_MAX: usize = 16;
/// Bytes of an approval: the digest of the approver's key, and r and s.
const APPROVAL_BYTES: usize = 32 + 64;
/// Bytes of all approvals in a bundle, at most.
pub(crate) const APPROVALS_BYTES_MAX: usize = 1 + APPROVAL_BYTES * APPROVERS_MAX;

/// Why the approvals of a release do not suffice, or approvers cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalsError {
    /// More than there can be.
    #[error("at most {APPROVERS_MAX} approvers can be named")]
    TooMany,
    /// None, or the same twice.
    #[error("each approver's key is named once, and at least one")]
    Keys,
    /// The threshold cannot be reached, or is no threshold.
    #[error("{threshold} of {approvers} approvers cannot be asked for")]
    Threshold {
        /// What was asked for.
        threshold: usize,
        /// How many there are.
        approvers: usize,
    },
    /// The file that names approvers is none.
    #[error("the file of approvers is not what `image keys approvers` wrote")]
    File,
    /// One approver's approval is of something else.
    #[error("the approval of the key {0} is not for this update")]
    Wrong(Sha256),
    /// Too few.
    #[error("the update has {found} of the {needed} approvals that this box asks for")]
    TooFew {
        /// How many of them there are.
        found: usize,
        /// How many there have to be.
        needed: usize,
    },
}

/// The name of an approver: SHA-256 of the key's point, uncompressed.
pub fn approver(key: &[u8; 65]) -> Sha256 {
    Sha256::of(key)
}

/// Signatures by their approvers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approvals(BTreeMap<[u8; 32], [u8; 64]>);

impl Approvals {
    /// Adds one, in place of an earlier one of the same key.
    ///
    /// # Errors
    /// There are too many.
    pub fn add(&mut self, key: &[u8; 65], signature: [u8; 64]) -> Result<(), ApprovalsError> {
        self.0.insert(approver(key).0, signature);
        if self.0.len() > APPROVERS_MAX {
            return Err(ApprovalsError::TooMany);
        }
        Ok(())
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Bytes in a bundle.
    pub(crate) fn length(&self) -> usize {
        1 + APPROVAL_BYTES * self.0.len()
    }

    /// Reads the count and as many approvals, in the order of their names.
    pub(crate) fn read(bundle: &mut dyn Read) -> std::io::Result<Result<Self, ApprovalsError>> {
        let mut count = [0];
        bundle.read_exact(&mut count)?;
        let [count] = count.map(usize::from);
        if count > APPROVERS_MAX {
            return Ok(Err(ApprovalsError::TooMany));
        }
        let mut approvals = BTreeMap::new();
        for _ in 0..count {
            let (mut name, mut signature) = ([0; 32], [0; 64]);
            bundle.read_exact(&mut name)?;
            bundle.read_exact(&mut signature)?;
            // One way to write a bundle: in order, and nobody twice.
            if approvals.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Ok(Err(ApprovalsError::Keys));
            }
            approvals.insert(name, signature);
        }
        Ok(Ok(Self(approvals)))
    }

    pub(crate) fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        // At most APPROVERS_MAX.
        out.write_all(&[self.0.len() as u8])?;
        for (name, signature) in &self.0 {
            out.write_all(name)?;
            out.write_all(signature)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    threshold: usize,
    keys: Vec<String>,
}

fn point(hex: &str) -> Option<[u8; 65]> {
    let mut point = [0; 65];
    if hex.len() != 2 * point.len() {
        return None;
    }
    for (place, byte) in point.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(point)
}

/// Whose approval a box asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approvers {
    keys: Vec<[u8; 65]>,
    threshold: usize,
}

impl Approvers {
    /// Nobody's: the release key alone decides.
    pub fn none() -> Self {
        Self::default()
    }

    /// `threshold` of these keys, points of P-256, uncompressed.
    ///
    /// # Errors
    /// No keys, too many or one twice; a threshold of 0 or above their number.
    pub fn new(keys: Vec<[u8; 65]>, threshold: usize) -> Result<Self, ApprovalsError> {
        if keys.len() > APPROVERS_MAX {
            return Err(ApprovalsError::TooMany);
        }
        if keys.is_empty() || keys.iter().collect::<BTreeSet<_>>().len() != keys.len() {
            return Err(ApprovalsError::Keys);
        }
        if !(1..=keys.len()).contains(&threshold) {
            return Err(ApprovalsError::Threshold {
                threshold,
                approvers: keys.len(),
            });
        }
        Ok(Self { keys, threshold })
    }

    /// Of a box's file `approvers.json`: `{"threshold": 2, "keys": ["04…", …]}`, the points in hexadecimal.
    ///
    /// # Errors
    /// It is no such file, or [`Approvers::new`] refuses.
    pub fn from_json(json: &[u8]) -> Result<Self, ApprovalsError> {
        let Named { threshold, keys } = serde_json::from_slice(json).map_err(|_| ApprovalsError::File)?;
        let keys: Option<Vec<_>> = keys.iter().map(|key| point(key)).collect();
        Self::new(keys.ok_or(ApprovalsError::File)?, threshold)
    }

    /// That file.
    pub fn to_json(&self) -> String {
        let hex = |key: &[u8; 65]| key.iter().map(|byte| format!("{byte:02x}")).collect();
        let keys: Vec<String> = self.keys.iter().map(hex).collect();
        serde_json::json!({"threshold": self.threshold, "keys": keys}).to_string()
    }

    /// Counts the approvals of `message` by these keys; those of others do not matter.
    ///
    /// # Errors
    /// Too few, or one of them is not for this message.
    pub fn check(&self, message: &[u8], approvals: &Approvals) -> Result<(), ApprovalsError> {
        let mut found = 0;
        for key in &self.keys {
            let name = approver(key);
            if let Some(signature) = approvals.0.get(&name.0) {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
                key.verify(message, signature)
                    .map_err(|_| ApprovalsError::Wrong(name))?;
                found += 1;
            }
        }
        if found < self.threshold {
            return Err(ApprovalsError::TooFew {
                found,
                needed: self.threshold,
            });
        }
        Ok(())
    }
}
