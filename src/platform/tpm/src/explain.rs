//! After a refusal: which condition does not hold, from what to what, and what that usually means.

use crate::blob::SealedBlob;
use crate::error::TpmError;
use crate::policy::SignedPolicy;
use crate::seal::approval;
use crate::tpm::Tpm;
use lamchat_hardware::catalogue;

/// One condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A PCR changed since sealing.
    PcrChanged {
        /// Which.
        pcr: u8,
        /// Its value at sealing.
        sealed: [u8; 32],
        /// Its value now.
        now: [u8; 32],
    },
    /// The release carries no approval for what was started, or only for an epoch that is not allowed any more.
    NotApproved {
        /// The PCRs that a release approves, as they are: number and value.
        now: Vec<(u8, [u8; 32])>,
        /// The allowed epochs.
        epochs: Vec<u64>,
    },
    /// The approval's signature is not by the operator's release key.
    BadApproval,
    /// The counter moved on: this blob was replaced by a newer one.
    CounterMoved {
        /// The value at sealing.
        sealed: u64,
        /// The value now.
        now: u64,
    },
    /// The counter is gone: the TPM was cleared, or the index was deleted.
    CounterGone {
        /// Its NV index.
        index: u32,
    },
    /// The storage root is another one: another TPM, or this one after it was cleared.
    AnotherTpm,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PcrChanged { pcr, sealed, now } => {
                write!(
                    f,
                    "PCR {pcr} changed from {} to {}. {}",
                    short(sealed),
                    short(now),
                    moved_by(*pcr)
                )?;
                match catalogue().ok().and_then(|catalogue| catalogue.value(*pcr, now)) {
                    Some(known) => write!(f, " What it has now says: {}.", known.says),
                    None => Ok(()),
                }
            }
            Self::NotApproved { now, epochs } => {
                let values: Vec<String> = now
                    .iter()
                    .map(|(pcr, value)| format!("PCR {pcr} {}", short(value)))
                    .collect();
                write!(
                    f,
                    "no approval by the release key fits what was started ({}) and one of the epochs {epochs:?}: \
                     an image that was not released by this operator, or one that was withdrawn",
                    values.join(", ")
                )
            }
            Self::BadApproval => {
                f.write_str("the approval that came with the image is not by the operator's release key")
            }
            Self::CounterMoved { sealed, now } => write!(
                f,
                "the counter against rollback stands at {now}, the secret was sealed at {sealed}: \
                 an older copy of the data came back, or the security floor was raised"
            ),
            Self::CounterGone { index } => write!(
                f,
                "the counter against rollback (NV index {index:#x}) is gone: the TPM was cleared or the index deleted"
            ),
            Self::AnotherTpm => f.write_str(
                "this is another TPM, or it was cleared: a new mainboard, the disk in another machine, or \
                 \"clear TPM\" in the firmware's setup",
            ),
        }
    }
}

/// All reasons in one line.
pub(crate) fn sentence(reasons: &[Reason]) -> String {
    let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
    reasons.join("; ")
}

/// The first eight bytes in hexadecimal: enough to compare by eye.
fn short(value: &[u8; 32]) -> String {
    let mut text: String = value.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    text.push('…');
    text
}

impl Tpm {
    /// Checks every condition of `blob` but the PIN, without opening it, and answers those that do not hold.
    pub fn explain(&mut self, blob: &SealedBlob, signed: &[SignedPolicy]) -> Result<Vec<Reason>, TpmError> {
        let mut reasons = Vec::new();
        let root = self.scope(|tpm| tpm.storage_root())?.1;
        if root.name() != blob.root_name {
            reasons.push(Reason::AnotherTpm);
        }
        let now = self.read_pcrs(&blob.fixed.selection())?;
        for (pcr, sealed) in blob.fixed.iter() {
            if let Some(now) = now.value(pcr)
                && now != sealed
            {
                reasons.push(Reason::PcrChanged {
                    pcr,
                    sealed: *sealed,
                    now: *now,
                });
            }
        }
        if let Some(image) = &blob.image {
            let now = self.read_pcrs(&image.signed.selection())?;
            match approval(image, signed, &now) {
                None => reasons.push(Reason::NotApproved {
                    now: now.iter().map(|(pcr, value)| (pcr, *value)).collect(),
                    epochs: image.epochs.clone(),
                }),
                Some(approval) if !approval.is_signed_by(&image.release_key) => reasons.push(Reason::BadApproval),
                Some(_) => {}
            }
        }
        match self.counter(blob.counter_index)? {
            Some(counter) if counter.name == blob.counter_name && counter.value == blob.counter_value => {}
            Some(counter) if counter.name == blob.counter_name => reasons.push(Reason::CounterMoved {
                sealed: blob.counter_value,
                now: counter.value,
            }),
            _ => reasons.push(Reason::CounterGone {
                index: blob.counter_index,
            }),
        }
        Ok(reasons)
    }
}

/// What a PCR contains, what moves it, and whether its value can be computed before it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrMeaning {
    /// What is measured into it.
    pub contains: &'static str,
    /// What usually changes it.
    pub moved_by: &'static str,
    /// Whether the next value can be computed in advance.
    pub predictable: &'static str,
}

/// What PCR `pcr` means: from `hardware/pcr.toml`, which cites its sources.
pub fn meaning(pcr: u8) -> PcrMeaning {
    let known = catalogue().ok().and_then(|catalogue| catalogue.pcr(pcr));
    known.map_or(
        PcrMeaning {
            contains: "nothing",
            moved_by: "There is no such PCR.",
            predictable: "no",
        },
        |known| PcrMeaning {
            contains: &known.contains,
            moved_by: &known.moved_by,
            predictable: &known.predictable,
        },
    )
}

fn moved_by(pcr: u8) -> &'static str {
    meaning(pcr).moved_by
}

#[cfg(test)]
mod tests {
    use super::{Reason, meaning};
    use crate::PCRS;

    #[test]
    fn a_value_that_follows_from_a_rule_is_told() {
        let changed = |now| {
            let (pcr, sealed) = (7, [1; 32]);
            Reason::PcrChanged { pcr, sealed, now }.to_string()
        };
        assert!(
            changed([0; 32]).contains("another bank than SHA-256"),
            "{}",
            changed([0; 32])
        );
        assert!(!changed([2; 32]).contains("says:"), "{}", changed([2; 32]));
    }

    #[test]
    fn every_pcr_has_a_meaning() {
        for pcr in 0..PCRS {
            assert_ne!(meaning(pcr).moved_by, "There is no such PCR.", "{pcr}");
        }
        assert!(meaning(7).contains.starts_with("Secure Boot"));
        assert_eq!(meaning(PCRS).contains, "nothing");
    }
}
