//! Whether the audit log goes on: an export of it has to have the head that the bundle names, and those of before.

use super::Failure;
use crate::cli::audit::read_export;
use lamchat_attestation::{Checkpoint, Sha256, Verdict, public_key_info};
use lamchat_audit::verify::{Trust, VerifyError, verify};
use lamchat_audit::{Note, VerifierKey};
use std::path::Path;

/// Why the log in an export is not the one that the bundles name.
#[derive(Debug, thiserror::Error)]
pub enum NotTheLog {
    /// Its entries or signatures are wrong, or it has other heads.
    #[error("the export of the audit log does not have the heads that were named: {0}")]
    Heads(VerifyError),
    /// Another key signed it.
    #[error("the export of the audit log is not signed by the key that the quote is bound to")]
    Key,
}

impl NotTheLog {
    /// The name of this reason, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Heads(_) => "audit-export-differs",
            Self::Key => "audit-export-key",
        }
    }
}

/// Verifies an export against the head of this bundle and `before`, heads of earlier ones (signed notes). Another log's
/// heads, which were accepted as such, are left out.
///
/// # Errors
/// The export cannot be used: it is none, too old or too short. The inner error: it is another log.
pub fn check(export: &Path, verdict: &Verdict, before: &[&[u8]]) -> Result<Result<(), NotTheLog>, Failure> {
    let file = read_export(export)?;
    let unusable = |why: &str| Failure(format!("{}: {why}", export.display()));
    let (Some(head), Some(note)) = (&verdict.audit, &verdict.mark.audit_checkpoint) else {
        return Err(unusable("the bundle names no head of an audit log to compare with"));
    };
    let same = |note: &&&[u8]| Checkpoint::parse(note).is_some_and(|before| before.origin == head.origin);
    let mut trust = Trust::default();
    for bytes in before.iter().filter(same).copied().chain([note.as_slice()]) {
        let text = std::str::from_utf8(bytes).map_err(|_| unusable("a head that was named is not text"))?;
        trust
            .previous
            .push(Note::parse(text).map_err(|error| unusable(&error.to_string()))?);
    }
    match verify(&file, &trust) {
        Ok(found) if found.keys.iter().any(|span| is_named(&span.key, verdict)) => Ok(Ok(())),
        Ok(_) => Ok(Err(NotTheLog::Key)),
        Err(error @ (VerifyError::Export(_) | VerifyError::BeginsLater { .. })) => Err(unusable(&error.to_string())),
        Err(VerifyError::Shrunk { earlier, now }) => Err(unusable(&format!(
            "it has {now} entries, {earlier} were named before: make the export after the bundle"
        ))),
        Err(error) => Ok(Err(NotTheLog::Heads(error))),
    }
}

fn is_named(key: &VerifierKey, verdict: &Verdict) -> bool {
    let fingerprint = key.point().map(|point| Sha256::of(&public_key_info(point)));
    let mut audit = verdict.keys.iter().filter(|key| key.usage == "audit");
    audit.any(|named| Some(named.sha256) == fingerprint)
}
