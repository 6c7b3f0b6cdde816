//! Whether a bundle goes on from the one before: the TPM's counters and clock, and as far as two heads tell it, the audit
//! log. What a bundle leaves for the next one is a [`Mark`]; the auditor keeps it beside the enrolment.

use crate::checkpoint::Checkpoint;
use crate::evidence::Evidence;
use crate::limits::{CHECKPOINT_BYTES_MAX, NONCE_BYTES_MAX, NONCE_BYTES_MIN};
use crate::quote::{ClockInfo, Quote};
use crate::rejection::Rejection;
use crate::sha256::Sha256;
use crate::text::{NUMBER_MAX, Reader, TextError, Writer};
use serde::Serialize;

const FORMAT: &str = "lamchat-attestation-seen-1";
const MARK: &[&str] = &[
    "format",
    "ak_sha256",
    "nonce",
    "resets",
    "restarts",
    "clock_ms",
    "firmware",
    "audit_checkpoint",
    "audit_unproved_since",
];

/// What is remembered of a bundle that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Digest of the attestation key (TPMT_PUBLIC).
    pub ak_sha256: Sha256,
    /// The nonce that it answered.
    pub nonce: Vec<u8>,
    /// Resets of the TPM.
    pub resets: u32,
    /// Restarts of the TPM since the last reset.
    pub restarts: u32,
    /// The TPM's clock, in milliseconds.
    pub clock_ms: u64,
    /// The version of the TPM's firmware.
    pub firmware: u64,
    /// The head of the audit log, as the box named it: a signed note.
    pub audit_checkpoint: Option<Vec<u8>>,
    /// An earlier head, where nobody has seen an export yet that has both: what came since was compared by its length
    /// alone.
    pub audit_unproved_since: Option<Vec<u8>>,
}

impl Mark {
    /// What this bundle leaves. Nothing of it is verified here.
    pub(crate) fn of(evidence: &Evidence, quote: &Quote<'_>) -> Self {
        Self {
            ak_sha256: Sha256::of(&evidence.tpm.ak_public),
            nonce: evidence.nonce.clone(),
            resets: quote.clock.reset_count,
            restarts: quote.clock.restart_count,
            clock_ms: quote.clock.clock_ms.min(NUMBER_MAX),
            firmware: quote.firmware,
            audit_checkpoint: evidence.claims.audit_checkpoint.clone(),
            audit_unproved_since: None,
        }
    }

    /// The heads that an export has to have before the log counts as continued.
    pub fn heads(&self) -> impl Iterator<Item = &[u8]> {
        let heads = [&self.audit_unproved_since, &self.audit_checkpoint];
        heads.into_iter().flatten().map(Vec::as_slice)
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.open();
        out.member("format");
        out.string(FORMAT);
        out.member("ak_sha256");
        out.hex(&self.ak_sha256.0);
        out.member("nonce");
        out.hex(&self.nonce);
        out.member("resets");
        out.number(self.resets.into());
        out.member("restarts");
        out.number(self.restarts.into());
        out.member("clock_ms");
        out.number(self.clock_ms);
        out.member("firmware");
        out.hex(&self.firmware.to_be_bytes());
        out.member("audit_checkpoint");
        out.optional(self.audit_checkpoint.as_deref(), Writer::base64);
        out.member("audit_unproved_since");
        out.optional(self.audit_unproved_since.as_deref(), Writer::base64);
        out.close();
        out.finish()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is not of this format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TextError> {
        let mut text = Reader::new(bytes)?;
        let mut members = text.open(MARK)?;
        text.member(&mut members, "format")?;
        text.constant(FORMAT)?;
        text.member(&mut members, "ak_sha256")?;
        let ak_sha256 = text.sha256()?;
        text.member(&mut members, "nonce")?;
        let nonce = text.hex(NONCE_BYTES_MIN, NONCE_BYTES_MAX)?;
        let count = |text: &mut Reader<'_>| u32::try_from(text.number()?).map_err(|_| text.wrong());
        text.member(&mut members, "resets")?;
        let resets = count(&mut text)?;
        text.member(&mut members, "restarts")?;
        let restarts = count(&mut text)?;
        text.member(&mut members, "clock_ms")?;
        let clock_ms = text.number()?;
        text.member(&mut members, "firmware")?;
        let firmware = text.hex(8, 8)?.try_into().map_err(|_| text.wrong())?;
        let head = |text: &mut Reader<'_>| {
            let note = text.base64(CHECKPOINT_BYTES_MAX)?;
            match Checkpoint::parse(&note) {
                Some(_) => Ok(note),
                None => Err(text.wrong()),
            }
        };
        text.member(&mut members, "audit_checkpoint")?;
        let audit_checkpoint = text.optional(head)?;
        text.member(&mut members, "audit_unproved_since")?;
        let audit_unproved_since = text.optional(head)?;
        text.close(&members)?;
        text.end()?;
        Ok(Self {
            ak_sha256,
            nonce,
            resets,
            restarts,
            clock_ms,
            firmware: u64::from_be_bytes(firmware),
            audit_checkpoint,
            audit_unproved_since,
        })
    }
}

/// What the two heads of the audit log tell about each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditContinuity {
    /// Before there was no head to compare with.
    NotBefore,
    /// It is the same head.
    SameHead,
    /// It is longer: whether it is the same log with more entries, two heads alone do not tell.
    LengthOnly,
    /// An export of the log has both heads: it goes on from the one before.
    Consistent,
    /// It is another log, which the auditor accepted.
    NewLog,
}

/// What happened since the bundle before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Continuity {
    /// Resets of the TPM: boots of the box.
    pub resets: u32,
    /// Powered time that passed, in milliseconds; 0 when a power cut set the clock back.
    pub clock_ms: u64,
    /// The version of the TPM's firmware then.
    pub firmware_before: u64,
    /// The audit log.
    pub audit: AuditContinuity,
}

/// Nothing that only grows has shrunk since `before`. `accept_new_log`: the audit log may be another one.
pub(crate) fn check(
    before: &Mark,
    clock: &ClockInfo,
    audit: Option<&Checkpoint>,
    accept_new_log: bool,
) -> Result<Continuity, Rejection> {
    check_clock(before, clock)?;
    let audit_before = before.audit_checkpoint.as_ref();
    let audit_before = audit_before
        .map(|note| Checkpoint::parse(note).ok_or(Rejection::Checkpoint))
        .transpose()?;
    Ok(Continuity {
        resets: clock.reset_count - before.resets,
        clock_ms: clock.clock_ms.saturating_sub(before.clock_ms),
        firmware_before: before.firmware,
        audit: check_audit(audit_before.as_ref(), audit, accept_new_log)?,
    })
}

fn check_clock(before: &Mark, now: &ClockInfo) -> Result<(), Rejection> {
    if now.reset_count < before.resets {
        return Err(Rejection::ResetsWentBack {
            before: before.resets,
            now: now.reset_count,
        });
    }
    let same_boot = now.reset_count == before.resets;
    if same_boot && now.restart_count < before.restarts {
        return Err(Rejection::RestartsWentBack {
            before: before.restarts,
            now: now.restart_count,
        });
    }
    // After a power cut the clock may stand before what was reported; then the TPM says that it is not safe
    // (TCG Part 1, 36.3.2). Within one boot it never goes back.
    let may_go_back = !same_boot && !now.safe;
    if now.clock_ms < before.clock_ms && !may_go_back {
        return Err(Rejection::ClockWentBack {
            before: before.clock_ms,
            now: now.clock_ms,
        });
    }
    Ok(())
}

fn check_audit(
    before: Option<&Checkpoint>,
    now: Option<&Checkpoint>,
    accept_new_log: bool,
) -> Result<AuditContinuity, Rejection> {
    let wrong = |what| Err(Rejection::AuditWentBack { what });
    match (before, now) {
        (None, _) => Ok(AuditContinuity::NotBefore),
        (Some(_), None) => wrong("it is gone"),
        (Some(before), Some(now)) if before.origin != now.origin => {
            if accept_new_log {
                Ok(AuditContinuity::NewLog)
            } else {
                Err(Rejection::AuditIsAnother {
                    before: before.origin.clone(),
                    now: now.origin.clone(),
                })
            }
        }
        (Some(before), Some(now)) if now.size < before.size => wrong("it has fewer entries"),
        (Some(before), Some(now)) if now.size == before.size && now.root != before.root => {
            wrong("it has as many entries and another root")
        }
        (Some(before), Some(now)) if now.size == before.size => Ok(AuditContinuity::SameHead),
        _ => Ok(AuditContinuity::LengthOnly),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::Mark;
    use crate::sha256::Sha256;

    #[test]
    fn a_mark_is_what_was_written_and_nothing_else() {
        let checkpoint = format!("o\n4\n{}=\n\n\u{2014} o c2ln\n", "A".repeat(43));
        for audit_checkpoint in [None, Some(checkpoint.into_bytes())] {
            let mark = Mark {
                ak_sha256: Sha256([1; 32]),
                nonce: vec![2; 20],
                resets: u32::MAX,
                restarts: 0,
                clock_ms: 77,
                firmware: u64::MAX,
                audit_unproved_since: audit_checkpoint.clone(),
                audit_checkpoint,
            };
            let file = mark.to_bytes();
            assert_eq!(Mark::from_bytes(&file).unwrap(), mark);
            for end in 0..file.len() {
                assert!(Mark::from_bytes(file.get(..end).unwrap()).is_err());
            }
            let text = String::from_utf8(file).unwrap();
            assert!(Mark::from_bytes(text.replace("4294967295", "4294967296").as_bytes()).is_err());
            assert!(Mark::from_bytes(text.replace("seen-1", "seen-2").as_bytes()).is_err());
        }
    }
}
