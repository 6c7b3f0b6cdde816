//! The fingerprints of keys that are under the master key, taken from the sealed secrets themselves and not from what
//! the exchange says of them.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use lamchat_attestation::{BoundKey, KeyUse, Sha256};
use lamchat_base::SecretBytes;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::parse_x509_certificate;

/// The sealed secret of the server's signing key: 32 bytes of seed, then the key's version.
const SIGNING: &str = "signing-key";
/// The sealed secret of the listener's certificate by the own authority: certificate and key in PEM.
const TLS: &str = "tls-server";
/// The sealed secrets whose fingerprints are in evidence.
pub const SECRETS: [&str; 2] = [SIGNING, TLS];
const SEED_BYTES: usize = 32;

/// A sealed secret is not what its name says, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the sealed secret {name} cannot be used: {why}")]
pub struct OwnError {
    name: &'static str,
    why: String,
}

/// The fingerprints of the server's signing key and of the TLS key that the server made itself, as far as there are such
/// keys. `unseal` opens a sealed secret by its name.
pub fn fingerprints<E: std::fmt::Display>(
    unseal: impl Fn(&str) -> Result<Option<SecretBytes>, E>,
) -> Result<Vec<BoundKey>, OwnError> {
    let mut keys = Vec::new();
    let uses: [(_, _, Fingerprint); 2] = [(SIGNING, KeyUse::Signing, signing), (TLS, KeyUse::Tls, tls)];
    for (name, usage, fingerprint) in uses {
        let failed = |why: String| OwnError { name, why };
        let Some(secret) = unseal(name).map_err(|error| failed(error.to_string()))? else {
            continue;
        };
        let sha256 = fingerprint(&secret).ok_or_else(|| failed("it is malformed".to_owned()))?;
        keys.push(BoundKey { usage, sha256 });
    }
    Ok(keys)
}

/// From a sealed secret to the fingerprint of its public key; `None` if it is malformed.
type Fingerprint = fn(&SecretBytes) -> Option<Sha256>;

fn signing(secret: &SecretBytes) -> Option<Sha256> {
    let seed = secret.expose().get(..SEED_BYTES)?;
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    Some(Sha256::of(pair.public_key().as_ref()))
}

fn tls(secret: &SecretBytes) -> Option<Sha256> {
    let certificate = CertificateDer::from_pem_slice(secret.expose()).ok()?;
    let (_, certificate) = parse_x509_certificate(&certificate).ok()?;
    Some(Sha256::of(certificate.tbs_certificate.subject_pki.raw))
}
