//! The chain of the endorsement key: its certificate and intermediates out of the TPM, and what the operator's files add.

use crate::error::AttestError;
use lamchat_attestation::EndorsementKey;
use lamchat_attestation::limits::{CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX};
use lamchat_tpm::{EndorsementKind, Tpm, TpmError};
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

/// An endorsement key with a chain that can be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Which of the TPM's endorsement keys.
    pub(crate) kind: EndorsementKind,
    /// Its certificate, then the intermediates.
    pub(crate) certificates: Vec<Vec<u8>>,
}

/// Finds the endorsement key that has a certificate, always the same one: RSA before P-256, the low range before the high
/// one, the TPM's own certificate before one of `files` (DER).
pub(crate) fn find(tpm: &mut Tpm, files: &[Vec<u8>]) -> Result<Chain, AttestError> {
    let kinds = EndorsementKind::ALL;
    for kind in kinds {
        let kept = tpm.endorsement_certificates(kind)?;
        if let Some(leaf) = kept
            .certificate
            .as_deref()
            .and_then(|bytes| split(bytes).into_iter().next())
        {
            let intermediates = split(&kept.intermediates.concat());
            return Ok(chain(kind, leaf, intermediates, files));
        }
    }
    for kind in kinds.into_iter().filter(|_| !files.is_empty()) {
        let endorsement = match tpm.endorsement(kind) {
            Ok(endorsement) => endorsement,
            // Not every TPM has both.
            Err(TpmError::Refused { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let Ok(key) = EndorsementKey::parse(endorsement.public.bytes()) else {
            continue;
        };
        let key = key.subject_public_key();
        let leaf = files.iter().find(|file| {
            read(file).is_some_and(|file| *file.tbs_certificate.subject_pki.subject_public_key.data == *key)
        });
        if let Some(leaf) = leaf {
            let intermediates = split(&endorsement.intermediates.concat());
            return Ok(chain(kind, leaf.clone(), intermediates, files));
        }
    }
    Err(AttestError::NoCertificate)
}

/// The leaf, and every other certificate that is no root: roots are the verifier's.
fn chain(kind: EndorsementKind, leaf: Vec<u8>, kept: Vec<Vec<u8>>, files: &[Vec<u8>]) -> Chain {
    let mut certificates = vec![leaf];
    for candidate in kept.into_iter().chain(files.iter().cloned()) {
        let intermediate = read(&candidate).is_some_and(|candidate| candidate.issuer() != candidate.subject());
        if intermediate && !certificates.contains(&candidate) && certificates.len() < CERTIFICATES_MAX {
            certificates.push(candidate);
        }
    }
    Chain { kind, certificates }
}

fn read(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, certificate) = parse_x509_certificate(der).ok()?;
    (rest.is_empty() && der.len() <= CERTIFICATE_BYTES_MAX).then_some(certificate)
}

/// Certificates one after another (EK Credential Profile 2.5, 2.2.1.5.2: several in one index, one across several), with
/// the zeros or FF between and behind them with which makers fill an index. What follows bytes that are neither is left.
pub(crate) fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|byte| !matches!(byte, 0 | 0xFF)) {
        rest = rest.get(start..).unwrap_or_default();
        let Ok((behind, _)) = parse_x509_certificate(rest) else {
            break;
        };
        let length = rest.len() - behind.len();
        found.extend(rest.get(..length).map(<[u8]>::to_vec));
        rest = behind;
    }
    found
}
