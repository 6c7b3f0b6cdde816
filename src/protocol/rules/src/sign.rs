//! The exchange's own signing key, and SHA-256.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use lamchat_base::Secret;

/// An Ed25519 key with the name under which other servers find it.
///
/// What is kept is the seed, in locked memory. The library has no say in where the key that it makes of it lies, so that
/// one lives as long as a signature takes and is cleared then: 12 µs a signature instead of 7.
pub struct SigningKey {
    seed: Secret<32>,
    public: [u8; 32],
    id: String,
}

/// The bytes are not an Ed25519 seed, or the name has other characters than `A-Za-z0-9_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 signing key")]
pub struct BadKey;

impl SigningKey {
    /// From 32 random bytes and the version of the key, the part after `ed25519:`.
    pub fn from_seed(seed: &[u8; 32], version: &str) -> Result<Self, BadKey> {
        // "The key identifier's name [...] characters from the set a-z, A-Z, 0-9 and _" (appendix 3.2).
        if version.is_empty() || !version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(BadKey);
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| BadKey)?;
        Ok(Self {
            seed: Secret::new(*seed),
            public: pair.public_key().as_ref().try_into().map_err(|_| BadKey)?,
            id: format!("ed25519:{version}"),
        })
    }

    /// The key's identifier: `ed25519:` and its version.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key in unpadded base64.
    pub fn public_base64(&self) -> String {
        STANDARD_NO_PAD.encode(self.public)
    }

    /// The signature of `message` in unpadded base64.
    #[expect(clippy::expect_used, reason = "of this very seed a key was made before")]
    pub fn sign_base64(&self, message: &[u8]) -> String {
        let pair = Ed25519KeyPair::from_seed_unchecked(self.seed.expose()).expect("a seed that was good");
        STANDARD_NO_PAD.encode(pair.sign(message).as_ref())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// The SHA-256 hash of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0u8; 32];
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    hash
}
