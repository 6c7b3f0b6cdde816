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
pub(crate) const KEY: &str = "audit-key";
/// What it is, for people.
pub(crate) const SOFTWARE: &str = "software key";

/// The key.
#[derive(Debug)]
pub(crate) struct SoftwareSigner {
    pair: EcdsaKeyPair,
    public: Point,
    /// Until it is kept: PKCS #8.
    fresh: Option<SecretBytes>,
}

impl SoftwareSigner {
    /// The kept key, or a new one, which is not kept yet: [`SoftwareSigner::keep`].
    pub fn open(keep: &dyn Keep) -> Result<Self, SignerError> {
        let kept = keep.load(KEY)?;
        let fresh = match &kept {
            Some(_) => None,
            None => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
                Some(SecretBytes::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()))
            }
        };
        let pkcs8 = kept.as_ref().or(fresh.as_ref()).map_or(&[][..], SecretBytes::expose);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).map_err(failed)?;
        let public = pair.public_key().as_ref().try_into().map_err(failed)?;
        Ok(Self { pair, public, fresh })
    }

    /// Keeps a new key. Durable on return.
    pub fn keep(&mut self, keep: &dyn Keep) -> Result<(), SignerError> {
        if let Some(pkcs8) = &self.fresh {
            keep.store(KEY, pkcs8)?;
            self.fresh = None;
        }
        Ok(())
    }

    /// Whether the key was not there.
    pub fn is_fresh(&self) -> bool {
        self.fresh.is_some()
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
