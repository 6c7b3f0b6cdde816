//! The audit log's key in the TPM. It is kept as a blob in the holder's own secrets, not under a persistent handle: a TPM
//! has room for seven of those, whoever owns it can take one away, and a blob costs only the time to load it.

use crate::sealer::TpmSealer;
use lamchat_audit::key::Point;
use lamchat_audit::notary::{HardwareKeys, SignerError};
use lamchat_base::{Secret, SecretBytes};
use lamchat_seal::Keyring;
use lamchat_tpm::{SigningKey, TpmError};
use std::sync::Arc;
use std::time::Instant;

/// The holder's own secret with what proves to the TPM that this installation asks: 32 random bytes.
const ASKS: &str = "tpm-asks";
/// What it is, for people.
pub(crate) const KIND: &str = "TPM key";

/// Keys of one TPM for one keyring.
pub(crate) struct TpmKeys {
    pub tpm: TpmSealer,
    pub keyring: Arc<Keyring>,
}

/// What proves to the TPM that this installation asks; made at the first time.
pub(crate) fn asking_key(keyring: &Keyring) -> Result<Secret<32>, String> {
    let kept = keyring.own(ASKS).map_err(|error| error.to_string())?;
    if let Some(kept) = kept {
        let bytes = <[u8; 32]>::try_from(kept.expose()).map_err(|_| format!("the kept secret {ASKS} is malformed"))?;
        return Ok(Secret::new(bytes));
    }
    let key = keyring.random_key();
    let kept = keyring.keep_own(ASKS, &SecretBytes::new(key.expose().to_vec()));
    kept.map(|()| key).map_err(|error| error.to_string())
}

impl TpmKeys {
    fn asking_key(&self) -> Result<Secret<32>, SignerError> {
        asking_key(&self.keyring).map_err(SignerError::Failed)
    }
}

impl HardwareKeys for TpmKeys {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn create(&self) -> Result<Vec<u8>, SignerError> {
        let key = self.asking_key()?;
        let made = self.tpm.in_tpm(|tpm| {
            let made = tpm.create_signing_key(&key)?;
            // Nobody should rely on one that never signed.
            tpm.sign(&made, &key, &[0; 32])?;
            Ok(made)
        });
        made.map(|made| made.encode()).map_err(failed)
    }

    fn public_key(&self, blob: &[u8]) -> Result<Point, SignerError> {
        parse(blob)?
            .public
            .point()
            .map(|point| point.uncompressed())
            .ok_or_else(malformed)
    }

    fn sign(&self, blob: &[u8], digest: &[u8; 32]) -> Result<Vec<u8>, SignerError> {
        let (signer, key) = (parse(blob)?, self.asking_key()?);
        let began = Instant::now();
        let signature = self.tpm.in_tpm(|tpm| tpm.sign(&signer, &key, digest)).map_err(failed)?;
        tracing::debug!(
            milliseconds = began.elapsed().as_millis(),
            "the TPM signed a head of the audit log"
        );
        Ok(asn1(&signature))
    }
}

fn parse(blob: &[u8]) -> Result<SigningKey, SignerError> {
    SigningKey::parse(blob).map_err(|_| malformed())
}

fn malformed() -> SignerError {
    SignerError::Failed("the audit log's key in the TPM is kept damaged".to_owned())
}

fn failed(error: TpmError) -> SignerError {
    match error {
        TpmError::Integrity => SignerError::Lost(
            "the audit log's key was made by another TPM, or by this one before it was cleared".to_owned(),
        ),
        error => SignerError::Waiting(format!("the audit log waits to be signed by the TPM: {error}")),
    }
}

/// ECDSA-Sig-Value of RFC 3279, section 2.2.3: a sequence of two integers.
fn asn1(signature: &[u8; 64]) -> Vec<u8> {
    let (r, s) = signature.split_at(32);
    let body = [integer(r), integer(s)].concat();
    // At most 2 × (2 + 33) bytes: one byte of length.
    [&[0x30, body.len() as u8], &body[..]].concat()
}

/// Without leading zeros, but for one where the number would look negative.
fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number
        .iter()
        .take(number.len().saturating_sub(1))
        .take_while(|byte| **byte == 0)
        .count();
    let number = number.get(zeros..).unwrap_or_default();
    let sign: &[u8] = if number.first().is_some_and(|byte| byte & 0x80 != 0) {
        &[0]
    } else {
        &[]
    };
    [&[0x02, (sign.len() + number.len()) as u8], sign, number].concat()
}

#[cfg(test)]
mod tests {
    use super::asn1;

    #[test]
    fn signatures_are_der() {
        let mut signature = [0; 64];
        assert_eq!(asn1(&signature), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        (signature[31], signature[32]) = (0x7f, 0x80);
        let der = asn1(&signature);
        assert_eq!(der.get(..7), Some(&[0x30, 38, 2, 1, 0x7f, 2, 33][..]));
        assert_eq!(der.get(7..10), Some(&[0, 0x80, 0][..]));
        assert_eq!(asn1(&[0xff; 64]).len(), 2 + 2 * 35);
    }
}
