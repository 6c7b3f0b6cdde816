//! A signer without hardware: its key and its memory are secrets of the key holder's own. Whoever opens the keyring has
//! them, so against the server's own operator it proves nothing that a witness has not signed; what is shown calls it a
//! software key.

use crate::checkpoint::Checkpoint;
use crate::key::Point;
use crate::notary::{CheckpointSigner, HeadMemory, SignerError};
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use lamchat_base::SecretBytes;
use lamchat_seal::Keyring;
use std::sync::Arc;

/// The secret with the key: PKCS #8.
const KEY: &str = "audit-key";
/// The secret with the heads: the texts of their checkpoints, one after the other.
const HEADS: &str = "audit-heads";
/// Lines of the text of a checkpoint.
const CHECKPOINT_LINES: usize = 3;

/// The key.
#[derive(Debug)]
pub struct SoftwareSigner {
    pair: EcdsaKeyPair,
    public: Point,
}

impl SoftwareSigner {
    /// The kept key, or a new one.
    pub fn open(keyring: &Keyring) -> Result<Self, SignerError> {
        let kept = keyring.own(KEY).map_err(failed)?;
        let pkcs8 = match kept {
            Some(pkcs8) => pkcs8,
            None => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
                let pkcs8 = SecretBytes::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec());
                keyring.keep_own(KEY, &pkcs8).map_err(failed)?;
                pkcs8
            }
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.expose()).map_err(failed)?;
        let public = pair.public_key().as_ref().try_into().map_err(failed)?;
        Ok(Self { pair, public })
    }
}

impl CheckpointSigner for SoftwareSigner {
    fn kind(&self) -> &'static str {
        "software key"
    }

    fn public_key(&self) -> Point {
        self.public
    }

    fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, SignerError> {
        let digest = Digest::import_less_safe(digest, &SHA256).map_err(failed)?;
        Ok(self.pair.sign_digest(&digest).map_err(failed)?.as_ref().to_vec())
    }
}

/// The memory.
#[derive(Debug)]
pub struct SealedHeads(pub Arc<Keyring>);

impl HeadMemory for SealedHeads {
    fn load(&self) -> Result<Vec<Checkpoint>, SignerError> {
        let Some(kept) = self.0.own(HEADS).map_err(failed)? else {
            return Ok(Vec::new());
        };
        let text = std::str::from_utf8(kept.expose()).map_err(failed)?;
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let heads = lines
            .chunks(CHECKPOINT_LINES)
            .map(|lines| Checkpoint::parse(&lines.concat()).map_err(failed));
        heads.collect()
    }

    fn store(&self, heads: &[Checkpoint]) -> Result<(), SignerError> {
        let text: String = heads.iter().map(Checkpoint::to_string).collect();
        self.0
            .keep_own(HEADS, &SecretBytes::new(text.into_bytes()))
            .map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> SignerError {
    SignerError(format!("the audit log's software key: {error}"))
}
