//! Where the signer keeps what must outlive it, out of reach of whoever writes the store.

use crate::notary::SignerError;
use lamchat_base::SecretBytes;
use lamchat_seal::Keyring;

/// Small secrets by name. A keyring keeps them under a key that it never releases.
pub trait Keep: Send + Sync + 'static {
    /// What is kept under `name`.
    fn load(&self, name: &str) -> Result<Option<SecretBytes>, SignerError>;

    /// Keeps `secret` in place of what was there. Durable on return.
    fn store(&self, name: &str, secret: &SecretBytes) -> Result<(), SignerError>;
}

impl Keep for Keyring {
    fn load(&self, name: &str) -> Result<Option<SecretBytes>, SignerError> {
        self.own(name).map_err(failed)
    }

    fn store(&self, name: &str, secret: &SecretBytes) -> Result<(), SignerError> {
        self.keep_own(name, secret).map_err(failed)
    }
}

pub(crate) fn failed(error: impl std::fmt::Display) -> SignerError {
    SignerError::Failed(format!("the signer of the audit log: {error}"))
}
