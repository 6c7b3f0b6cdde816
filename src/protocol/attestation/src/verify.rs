//! The verifier (RFC 9334): evidence, a nonce and what an auditor expects in; a verdict or the first reason against it
//! out. The order of the checks is part of the interface.

use crate::appraisal::{self, AppraisalError};
use crate::checkpoint::Checkpoint;
use crate::claims::KeyUse;
use crate::continuity::{self, Mark};
use crate::enrolment::Enrolment;
use crate::event_log::EventLog;
use crate::evidence::Evidence;
use crate::manifest::{Image, Manifest};
use crate::public::{AttestationKey, EndorsementKey};
use crate::quote::{Quote, parse_signature};
use crate::rejection::Rejection;
use crate::sha256::Sha256;
use crate::trust::{CertifiedKey, Trust};
use crate::verdict::{Since, Verdict};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// What the auditor brings.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The nonce that was given to the box.
    pub nonce: &'a [u8],
    /// What may be running.
    pub manifest: &'a Manifest,
    /// Makers' roots and auditors' keys.
    pub trust: &'a Trust,
    /// The enrolment of the box.
    pub enrolment: &'a Enrolment,
    /// The last bundle of the same box that was verified.
    pub previous: Option<&'a Evidence>,
    /// What the auditor remembers of the last bundle that was accepted ([`Verdict::mark`]).
    pub seen: Option<&'a Mark>,
    /// Whether the audit log may be another one than before: a new epoch, after a backup was restored. Counters and clock
    /// are compared all the same.
    pub accept_new_log: bool,
    /// The time, in seconds since 1970.
    pub time: u64,
}

/// Verifies a bundle's file.
///
/// # Errors
/// The first reason against it, in this order: the file's form; magic and type of the quote; its PCR selection; nonce
/// and qualifying data; signature and attestation key; the endorsement key's chain and the enrolment; event log;
/// continuity with the previous bundle and with what is remembered; digests in the reference manifest.
pub fn verify(bundle: &[u8], policy: &Policy<'_>) -> Result<Verdict, Rejection> {
    let evidence = Evidence::from_bytes(bundle)?;
    let quote = Quote::parse(&evidence.tpm.quote)?;
    quote.check_selection(&policy.manifest.pcrs)?;
    check_nonce(&evidence, &quote, policy)?;
    check_signature(&evidence)?;
    let certified = check_keys(&evidence, policy)?;
    check_values(&evidence, &quote, policy)?;
    let log = check_log(&evidence, policy.manifest)?;
    let shown = appraisal::appraise(&log, policy.manifest)?;
    let audit = read_checkpoint(&evidence)?;
    let since = check_continuity(&evidence, &quote, audit.as_ref(), policy)?;
    let image = check_digests(&evidence, &shown.started, &log, policy.manifest)?;
    Ok(Verdict::new(
        policy, &evidence, &quote, &log, image, audit, since, &certified,
    ))
}

fn check_nonce(evidence: &Evidence, quote: &Quote<'_>, policy: &Policy<'_>) -> Result<(), Rejection> {
    if evidence.nonce != policy.nonce {
        let before = policy.previous.map(|previous| &previous.nonce);
        let mut before = before.into_iter().chain(policy.seen.map(|seen| &seen.nonce));
        let stale = before.any(|nonce| *nonce == evidence.nonce);
        return Err(if stale {
            Rejection::StaleNonce
        } else {
            Rejection::ForeignNonce
        });
    }
    let expected = evidence.claims.qualifying_data(&evidence.nonce);
    if quote.extra_data != expected.0 {
        return Err(Rejection::QualifyingData);
    }
    if !evidence.claims.keys.iter().any(|key| key.usage == KeyUse::Signing) {
        return Err(Rejection::NoSigningKey);
    }
    Ok(())
}

/// The signature, then what the key that made it is.
fn check_signature(evidence: &Evidence) -> Result<(), Rejection> {
    let key = AttestationKey::parse(&evidence.tpm.ak_public).map_err(Rejection::AttestationKey)?;
    let signature = parse_signature(&evidence.tpm.signature).ok_or(Rejection::SignatureForm)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.point)
        .verify(&evidence.tpm.quote, &signature)
        .map_err(|_| Rejection::Signature)?;
    key.check_attributes().map_err(Rejection::AttestationKey)
}

/// From a maker's root to the endorsement key, and by the auditor's word from there to the attestation key.
fn check_keys(evidence: &Evidence, policy: &Policy<'_>) -> Result<CertifiedKey, Rejection> {
    let certified = CertifiedKey::verify(&evidence.tpm.ek_certificates, policy.trust, policy.time)?;
    policy.enrolment.check(policy.trust)?;
    let enrolled = EndorsementKey::parse(&policy.enrolment.ek_public).map_err(Rejection::EndorsementKey)?;
    certified.check_key(&enrolled)?;
    if evidence.tpm.ak_public != policy.enrolment.ak_public {
        return Err(Rejection::OtherAttestationKey);
    }
    Ok(certified)
}

/// The listed values are those that the quote's digest is over (TCG Part 2, 10.12.4).
fn check_values(evidence: &Evidence, quote: &Quote<'_>, policy: &Policy<'_>) -> Result<(), Rejection> {
    let listed = evidence.tpm.pcrs.iter().map(|value| value.pcr);
    if !listed.eq(policy.manifest.pcrs.iter().copied()) {
        return Err(Rejection::PcrList);
    }
    let parts: Vec<&[u8]> = evidence
        .tpm
        .pcrs
        .iter()
        .map(|value| value.sha256.0.as_slice())
        .collect();
    if quote.pcr_digest != Sha256::of_parts(&parts).0 {
        return Err(Rejection::PcrValues);
    }
    Ok(())
}

/// The log that leads to the quoted values; without one, the quoted values must be the manifest's.
fn check_log<'a>(evidence: &'a Evidence, manifest: &Manifest) -> Result<EventLog<'a>, Rejection> {
    if evidence.tpm.event_log.is_empty() {
        appraisal::check_unlogged(&evidence.tpm.pcrs, manifest)?;
        return Ok(EventLog::absent());
    }
    let log = EventLog::parse(&evidence.tpm.event_log)?;
    log.check_replay(&evidence.tpm.pcrs)?;
    Ok(log)
}

fn read_checkpoint(evidence: &Evidence) -> Result<Option<Checkpoint>, Rejection> {
    let note = evidence.claims.audit_checkpoint.as_ref();
    note.map(|note| Checkpoint::parse(note).ok_or(Rejection::Checkpoint))
        .transpose()
}

/// Continuity with the previous bundle, which is verified on its own first, and with what the auditor remembers.
fn check_continuity(
    evidence: &Evidence,
    quote: &Quote<'_>,
    audit: Option<&Checkpoint>,
    policy: &Policy<'_>,
) -> Result<Since, Rejection> {
    let now = Sha256::of(&evidence.tpm.ak_public);
    let check = |before: &Mark| continuity::check(before, &quote.clock, audit, policy.accept_new_log);
    let mut since = Since::default();
    if let Some(previous) = policy.previous {
        if previous.tpm.ak_public != evidence.tpm.ak_public {
            return Err(Rejection::Previous {
                what: "it is of another attestation key",
            });
        }
        since.bundle = Some(check(&sound(previous)?)?);
    }
    if let Some(seen) = policy.seen {
        if seen.ak_sha256 != now {
            return Err(Rejection::OtherMemory);
        }
        since.memory = Some(check(seen)?);
    }
    Ok(since)
}

/// What a previous bundle leaves, if its quote is the attestation key's and bound to its claims.
fn sound(previous: &Evidence) -> Result<Mark, Rejection> {
    let unsound = |_| Rejection::Previous {
        what: "its quote is not sound",
    };
    let quote = Quote::parse(&previous.tpm.quote).map_err(|_| unsound(Rejection::Signature))?;
    check_signature(previous).map_err(unsound)?;
    if quote.extra_data != previous.claims.qualifying_data(&previous.nonce).0 {
        return Err(unsound(Rejection::QualifyingData));
    }
    read_checkpoint(previous).map_err(unsound)?;
    Ok(Mark::of(previous, &quote))
}

/// The image that runs, when the manifest has images: by PCR 4, by PCR 11, and by the digests in the claims.
fn check_digests<'a>(
    evidence: &Evidence,
    started: &[Sha256],
    log: &EventLog<'_>,
    manifest: &'a Manifest,
) -> Result<Option<&'a Image>, Rejection> {
    let binary = evidence.claims.binary;
    let unknown = Rejection::BinaryUnknown { binary };
    if manifest.images.is_empty() {
        return match evidence.claims.uki {
            Some(uki) => Err(Rejection::UkiUnknown { uki }),
            None if manifest.binaries.contains(&binary) => Ok(None),
            None => Err(unknown),
        };
    }
    if started.is_empty() {
        return Err(AppraisalError::NoImage.into());
    }
    let uki = evidence.claims.uki.ok_or(Rejection::UkiMissing)?;
    let image = manifest.images.iter().find(|image| image.uki == uki);
    let image = image.ok_or(Rejection::UkiUnknown { uki })?;
    if started.iter().any(|digest| *digest != image.authenticode) {
        return Err(Rejection::UkiOther { uki });
    }
    let value = log.replay(11);
    if !image.pcr11.contains(&value) {
        return Err(Rejection::Pcr11 { uki, value });
    }
    if image.binary != binary {
        return Err(unknown);
    }
    Ok(Some(image))
}
