//! A key without hardware: a sealed secret. Whoever opens what it is sealed under has it, so against the server's own
//! operator it proves nothing that a witness has not signed; what is shown calls it a software key. Where the log is
//! signed by a TPM, it is the fallback for the day on which that TPM breaks.

use crate::keep::{Keep, failed};
use crate::key::Point;
use crate::notary::SignerError;
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use lamchat_base::SecretBytes;

/// The sealed secret with the key: PKCS #8.
const KEY: &str = "audit-key";
/// What it is, for people.
pub(crate) const SOFTWARE: &str = "software key";

/// The key.
#[derive(Debug)]
pub(crate) struct SoftwareSigner {
    pair: EcdsaKeyPair,
    public: Point,
}

impl SoftwareSigner {
    /// The kept key, or a new one.
    pub fn open(keep: &dyn Keep) -> Result<Self, SignerError> {
        let pkcs8 = match keep.load(KEY)? {
            Some(pkcs8) => pkcs8,
            None => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
                let pkcs8 = SecretBytes::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec());
                keep.store(KEY, &pkcs8)?;
                pkcs8
            }
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.expose()).map_err(failed)?;
        let public = pair.public_key().as_ref().try_into().map_err(failed)?;
        Ok(Self { pair, public })
    }

    /// The public key.
    pub fn public_key(&self) -> Point {
        self.public
    }

    /// The signature over a SHA-256 digest, in ASN.1.
    pub fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, SignerError> {
        let digest = Digest::import_less_safe(digest, &SHA256).map_err(failed)?;
        Ok(self.pair.sign_digest(&digest).map_err(failed)?.as_ref().to_vec())
    }
}
