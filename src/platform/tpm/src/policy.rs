//! Policies (Part 1, 19.7): what has to hold before the TPM gives a secret out. Their digests are computed here, in
//! software, and are equal to the TPM's own (a test compares them with its trial sessions).

use crate::crypto::{Point, sha256};
use crate::error::TpmError;
use crate::pcr::{PcrSelection, PcrValues};
use crate::wire::{PolicyCode, PublicArea, operand_equal, selection_bytes};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// What a signed policy's reference begins with; the security epoch follows as eight bytes, big-endian.
const EPOCH_LABEL: &[u8] = b"lamchat-epoch";
/// The most branches of one PolicyOR (Part 3, 23.6).
pub const OR_BRANCHES_MAX: usize = 8;

/// One assertion of a policy, in the order in which the TPM is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These PCRs have these values (PolicyPCR, SHA-256 bank).
    Pcr(PcrValues),
    /// Whatever was asserted so far is approved by a signature of `key` for `policy_ref` (PolicyAuthorize).
    Authorize {
        /// The key that approves.
        key: Point,
        /// What the approval is for.
        policy_ref: Vec<u8>,
    },
    /// What was asserted so far is one of these (PolicyOR): 2 to 8 digests.
    Or(Vec<[u8; 32]>),
    /// The NV counter of this name has this value (PolicyNV, "equal").
    Counter {
        /// The counter's name once it is written.
        name: [u8; 34],
        /// Its value.
        value: u64,
    },
    /// The object's authorization value, the PIN, is known (PolicyAuthValue).
    AuthValue,
}

/// Assertions that all have to hold, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy(Vec<Step>);

impl Policy {
    /// These steps in this order.
    pub fn new(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The digest that an object under this policy carries.
    ///
    /// [`TpmError::Unencodable`] for a PolicyOR with fewer than two or more than eight branches.
    pub fn digest(&self) -> Result<[u8; 32], TpmError> {
        self.0.iter().try_fold([0u8; 32], |digest, step| step.extend(&digest))
    }
}

impl Step {
    fn extend(&self, digest: &[u8; 32]) -> Result<[u8; 32], TpmError> {
        Ok(match self {
            Self::Pcr(values) => sha256(&[
                digest,
                &PolicyCode::PCR,
                &selection_bytes(&values.selection())?,
                &values.digest(),
            ]),
            // Starts from zero: what was before is what the signature approved.
            Self::Authorize { key, policy_ref } => {
                let name = PublicArea::verifier(key)?.name();
                sha256(&[&sha256(&[&[0; 32], &PolicyCode::AUTHORIZE, &name]), policy_ref])
            }
            Self::Or(branches) => {
                if !(2..=OR_BRANCHES_MAX).contains(&branches.len()) {
                    return Err(TpmError::Unencodable("PolicyOR"));
                }
                sha256(&[&[0; 32], &PolicyCode::OR, branches.as_flattened()])
            }
            Self::Counter { name, value } => {
                sha256(&[digest, &PolicyCode::NV, &sha256(&[&operand_equal(*value)]), name])
            }
            Self::AuthValue => sha256(&[digest, &PolicyCode::AUTH_VALUE]),
        })
    }
}

/// A release's approval of its own measurements: with it, what was sealed under the release key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPolicy {
    /// The PCRs (PCR 11 on the image) as this release makes them.
    pub pcrs: PcrValues,
    /// The release's security epoch.
    pub epoch: u64,
    /// ECDSA on P-256 with SHA-256 over [`SignedPolicy::message`]: r and s, 32 bytes each.
    pub signature: [u8; 64],
}

impl SignedPolicy {
    /// What the release key signs (with SHA-256): the approved policy's digest and the reference of the epoch. Can be
    /// computed when the image is built, without a TPM.
    pub fn message(pcrs: &PcrValues, epoch: u64) -> Result<Vec<u8>, TpmError> {
        let approved = Policy::new(vec![Step::Pcr(pcrs.clone())]).digest()?;
        Ok([approved.as_slice(), &policy_ref(epoch)].concat())
    }

    /// Whether `key` signed it.
    pub fn is_signed_by(&self, key: &Point) -> bool {
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.uncompressed());
        Self::message(&self.pcrs, self.epoch).is_ok_and(|message| public.verify(&message, &self.signature).is_ok())
    }
}

/// The reference under which a release of `epoch` is approved.
pub fn policy_ref(epoch: u64) -> Vec<u8> {
    [EPOCH_LABEL, &epoch.to_be_bytes()].concat()
}

/// The branches of the PolicyOR over `epochs`. The TPM wants two at least, so a single one stands twice.
pub(crate) fn epoch_branches(key: &Point, epochs: &[u64]) -> Result<Vec<[u8; 32]>, TpmError> {
    let mut branches = epochs
        .iter()
        .map(|epoch| {
            let authorize = Step::Authorize {
                key: *key,
                policy_ref: policy_ref(*epoch),
            };
            authorize.extend(&[0; 32])
        })
        .collect::<Result<Vec<_>, _>>()?;
    if let [only] = branches.as_slice() {
        branches.push(*only);
    }
    Ok(branches)
}

/// What a secret is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// Our image: releases that the operator's key approves, of the allowed epochs, on this firmware.
    Image {
        /// The operator's release key.
        release_key: Point,
        /// The PCRs that a release approves: 11.
        signed: PcrSelection,
        /// The epochs that open it: 1 to 8.
        epochs: Vec<u64>,
        /// The PCRs that must stay as they are: 7.
        fixed: PcrSelection,
    },
    /// An ordinary distribution: these PCRs stay as they are. On PCR 7 alone it says little.
    Pcrs {
        /// The PCRs that must stay as they are.
        fixed: PcrSelection,
    },
}
