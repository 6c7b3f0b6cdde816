//! Credentials (Part 1, 24): what only the TPM with a certain endorsement key *and* a certain attestation key can open.
//! Making one is pure computation, on the auditor's laptop; opening one is the TPM's.

use crate::bytes::{Reader, put_sized};
use crate::crypto::{KeyError, Point, agree, cfb_encrypt, hmac_sha256, kdfa};
use crate::error::TpmError;
use crate::quote::EndorsementKind;
use crate::session::Auth;
use crate::tpm::Tpm;
use crate::wire::{self, Kind, PublicArea, Template};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents};
use lamchat_base::{Entropy, Secret};
use zeroize::Zeroizing;

/// Longest challenge: a digest.
pub const CHALLENGE_BYTES_MAX: usize = 32;

/// A challenge for one TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// TPM2B_ID_OBJECT's contents: the HMAC and the encrypted challenge.
    pub blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET's contents: the seed, encrypted to the endorsement key.
    pub secret: Vec<u8>,
}

/// Makes a credential for the TPM with endorsement key `endorsement` (RSA-2048 or P-256, from the templates of the EK
/// Credential Profile) and an object named `name`; only that TPM, holding that object, gives `challenge` back.
pub fn make_credential(
    endorsement: &PublicArea,
    name: &[u8; 34],
    challenge: &Secret<CHALLENGE_BYTES_MAX>,
    entropy: &dyn Entropy,
) -> Result<Credential, KeyError> {
    let (secret, seed) = match (endorsement.point(), endorsement.rsa()) {
        (Some(point), _) => seed_for_point(&point)?,
        (None, Some((modulus, exponent))) => seed_for_rsa(&modulus, exponent, entropy)?,
        (None, None) => return Err(KeyError),
    };
    // Part 1, 24.4 and 24.5: the names of the keys are part of their derivation, so a credential fits one object.
    let key = kdfa(&seed, "STORAGE", name, &[], 128);
    let mac_key = kdfa(&seed, "INTEGRITY", &[], &[], 256);
    let mut identity = Zeroizing::new(Vec::with_capacity(CHALLENGE_BYTES_MAX + 2));
    put_sized(&mut identity, challenge.expose()).map_err(|_| KeyError)?;
    let mut key_iv = Zeroizing::new(key.to_vec());
    key_iv.extend_from_slice(&[0; 16]);
    cfb_encrypt(&key_iv, &mut identity)?;
    let mac = hmac_sha256(&mac_key, &[&identity, name]);
    let mut blob = Vec::new();
    put_sized(&mut blob, mac.as_slice()).map_err(|_| KeyError)?;
    blob.extend_from_slice(&identity);
    Ok(Credential { blob, secret })
}

/// Part 1, C.6.4: the seed is agreed with a fresh key, whose public half is the secret.
fn seed_for_point(point: &Point) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), KeyError> {
    let (public, seed) = agree(point, "IDENTITY")?;
    let mut secret = Vec::new();
    put_sized(&mut secret, &public.x).map_err(|_| KeyError)?;
    put_sized(&mut secret, &public.y).map_err(|_| KeyError)?;
    Ok((secret, seed))
}

/// Part 1, B.10.4: a random seed, encrypted with OAEP and the label "IDENTITY" with its zero.
fn seed_for_rsa(
    modulus: &[u8],
    exponent: u32,
    entropy: &dyn Entropy,
) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), KeyError> {
    let bytes = exponent.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).ok_or(KeyError)?;
    let components = PublicKeyComponents {
        n: modulus,
        e: bytes.get(first..).ok_or(KeyError)?,
    };
    let key: PublicEncryptingKey = components.try_into().map_err(|_| KeyError)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| KeyError)?;
    let mut seed = Zeroizing::new(vec![0u8; 32]);
    entropy.fill(&mut seed);
    let mut secret = vec![0u8; key.ciphertext_size()];
    let written = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, &seed, &mut secret, Some(b"IDENTITY\0"))
        .map_err(|_| KeyError)?
        .len();
    secret.truncate(written);
    Ok((secret, seed))
}

/// Why a credential did not open.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// It was made for another TPM or another attestation key, or was changed.
    #[error("the credential is for another TPM or another attestation key")]
    AnotherTpm,
    /// The TPM failed.
    #[error(transparent)]
    Tpm(TpmError),
}

impl From<TpmError> for ActivateError {
    fn from(error: TpmError) -> Self {
        match error {
            TpmError::Integrity => Self::AnotherTpm,
            // An RSA decryption that fails, or a point of another key, is a wrong value.
            TpmError::Refused { code, .. } if code & 0xbf == 0x84 => Self::AnotherTpm,
            other => Self::Tpm(other),
        }
    }
}

impl Tpm {
    /// Opens a credential that was made for this TPM's endorsement key of `kind` and its attestation key.
    pub fn activate_credential(
        &mut self,
        kind: EndorsementKind,
        credential: &Credential,
    ) -> Result<Secret<CHALLENGE_BYTES_MAX>, ActivateError> {
        match self.activate(kind, credential) {
            // libtpms (swtpm) reports an RSA decryption that failed as its own failure, and goes on working.
            Err(ActivateError::Tpm(TpmError::OutOfOrder(_))) if self.clock().is_ok() => Err(ActivateError::AnotherTpm),
            other => other,
        }
    }

    fn activate(
        &mut self,
        kind: EndorsementKind,
        credential: &Credential,
    ) -> Result<Secret<CHALLENGE_BYTES_MAX>, ActivateError> {
        self.scope(|tpm| {
            let (key, _) = tpm.primary(wire::ENDORSEMENT, Template::Attestation)?;
            let (endorsement, _) = tpm.endorsement_key(kind)?;
            // Small TPMs hold three objects; the storage root, if it is not persistent, is the third.
            let (root, root_public) = tpm.storage_root()?;
            let mut own = tpm.session(Kind::Hmac, &root, &root_public)?;
            let kind_of_session = if kind.is_high() { Kind::Hmac } else { Kind::Policy };
            let mut second = tpm.session(kind_of_session, &root, &root_public)?;
            if !kind.is_high() {
                // The endorsement key's policy: PolicySecret of the endorsement hierarchy, whose value is empty.
                let request = wire::policy_secret(&second.handle, wire::ENDORSEMENT)?;
                tpm.run(&request, &mut [Auth::plain(&mut own, &[])])?;
            }
            let request = wire::activate_credential(&key, &endorsement, &credential.blob, &credential.secret)?;
            let first = Auth {
                session: &mut own,
                value: &[],
                decrypt: false,
                encrypt: true,
            };
            let answer = tpm.run(&request, &mut [first, Auth::plain(&mut second, &[])])?;
            let mut reader = Reader(&answer.parameters);
            let challenge = reader.sized().map_err(TpmError::malformed("ActivateCredential"))?;
            // A credential of another program may be shorter; it is none of ours.
            let mut bytes = Zeroizing::new([0u8; CHALLENGE_BYTES_MAX]);
            if challenge.len() != bytes.len() {
                return Err(ActivateError::AnotherTpm);
            }
            bytes.copy_from_slice(challenge);
            Ok(Secret::new(*bytes))
        })
    }
}
