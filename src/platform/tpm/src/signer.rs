//! The key that signs the audit log's heads: ECDSA on P-256, made in the TPM, usable there alone and only with a value
//! that the installation knows. It is kept as a blob below the storage root, not as a primary key: a primary key could
//! be made again by anybody who may use the TPM, with an authorization value of his own.

use crate::bytes::{MalformedError, Reader, put_sized};
use crate::crypto::hmac_sha256;
use crate::error::TpmError;
use crate::seal::created;
use crate::session::Auth;
use crate::tpm::Tpm;
use crate::wire::{self, Handle, Kind, PublicArea, Template};
use lamchat_base::Secret;

const MAGIC: &[u8; 8] = b"LAMSIG\0\x01";
/// Largest private part of a P-256 key.
const PRIVATE_BYTES_MAX: usize = 512;

/// A signing key as it is kept on disk: useless without the TPM that made it and the installation's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// TPM2B_PRIVATE's contents.
    pub private: Vec<u8>,
    /// TPMT_PUBLIC.
    pub public: PublicArea,
}

impl SigningKey {
    /// The bytes to keep: magic (8), then private and public part, each with two bytes of length.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        // Both are far below 65,535 bytes, which making and parsing check.
        let _private = put_sized(&mut out, &self.private);
        let _public = put_sized(&mut out, self.public.bytes());
        out
    }

    /// Takes apart what [`SigningKey::encode`] made: a signing key of our template and nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedError> {
        let mut reader = Reader(bytes);
        if reader.array::<8>()? != *MAGIC {
            return Err(MalformedError);
        }
        let private = reader.sized()?;
        let public = PublicArea::parse(reader.sized()?).map_err(|_| MalformedError)?;
        reader.end()?;
        if private.len() > PRIVATE_BYTES_MAX || !public.follows(Template::Signing) {
            return Err(MalformedError);
        }
        Ok(Self {
            private: private.to_vec(),
            public,
        })
    }
}

fn auth_value(key: &Secret<32>) -> zeroize::Zeroizing<[u8; 32]> {
    hmac_sha256(key.expose(), &[b"lamchat audit signing 1"])
}

impl Tpm {
    /// Makes a signing key that is used with `key`.
    pub fn create_signing_key(&mut self, key: &Secret<32>) -> Result<SigningKey, TpmError> {
        self.scope(|tpm| {
            let (root, root_public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &root_public)?;
            let value = auth_value(key);
            let request = wire::create(&root, value.as_slice(), &[], Template::Signing.public()?.bytes())?;
            let auth = Auth {
                session: &mut session,
                value: &[],
                decrypt: true,
                encrypt: false,
            };
            let answer = tpm.run(&request, &mut [auth])?;
            let (private, public) = created(&answer.parameters)?;
            Ok(SigningKey { private, public })
        })
    }

    /// Signs a SHA-256 digest: r and s, 32 bytes each.
    ///
    /// [`TpmError::AuthFailed`] with another `key`, [`TpmError::Integrity`] on another TPM.
    pub fn sign(&mut self, signer: &SigningKey, key: &Secret<32>, digest: &[u8; 32]) -> Result<[u8; 64], TpmError> {
        self.scope(|tpm| {
            let (root, root_public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &root_public)?;
            let request = wire::load(&root, &signer.private, signer.public.bytes())?;
            let loaded = tpm.run(&request, &mut [Auth::plain(&mut session, &[])])?;
            let handle = Handle {
                raw: loaded.handle.ok_or(TpmError::Malformed("Load"))?,
                name: signer.public.name().to_vec(),
            };
            let value = auth_value(key);
            let auth = Auth::plain(&mut session, value.as_slice());
            let answer = tpm.run(&wire::sign(&handle, digest)?, &mut [auth])?;
            wire::parse_signature(&answer.parameters)
        })
    }
}
