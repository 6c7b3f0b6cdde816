//! Where the signer keeps what must outlive it, out of reach of whoever writes the store.

use crate::notary::SignerError;
use lamchat_base::SecretBytes;
use lamchat_seal::{Keyring, Mark};

/// Small secrets by name. A keyring keeps them under a key that it never releases.
///
/// Whoever can delete one must not make the next one the first: so what was kept is marked, once it is durable and before
/// anything comes of it, where nothing can be deleted unnoticed.
pub trait Keep: Send + Sync + 'static {
    /// What is kept under `name`.
    fn load(&self, name: &str) -> Result<Option<SecretBytes>, SignerError>;

    /// Keeps `secret` in place of what was there. Durable on return.
    fn store(&self, name: &str, secret: &SecretBytes) -> Result<(), SignerError>;

    /// Whether something was kept under `name`, and marked.
    fn is_marked(&self, name: &str) -> bool;

    /// Marks what is kept under these names. Durable on return; costs nothing where it is marked already.
    fn mark(&self, names: &[&str]) -> Result<(), SignerError>;

    /// Where what is kept under `name` lies, for people.
    fn place(&self, name: &str) -> String;
}

impl Keep for Keyring {
    fn load(&self, name: &str) -> Result<Option<SecretBytes>, SignerError> {
        self.own(name).map_err(failed)
    }

    fn store(&self, name: &str, secret: &SecretBytes) -> Result<(), SignerError> {
        self.keep_own(name, secret).map_err(failed)
    }

    fn is_marked(&self, name: &str) -> bool {
        Mark::of(name).is_some_and(|mark| self.has_mark(mark))
    }

    fn mark(&self, names: &[&str]) -> Result<(), SignerError> {
        let marks: Vec<Mark> = names.iter().filter_map(|name| Mark::of(name)).collect();
        self.set_marks(&marks)
            .map_err(|error| failed(format!("the keyring could not be written: {error}")))
    }

    fn place(&self, name: &str) -> String {
        self.own_path(name).display().to_string()
    }
}

pub(crate) fn failed(error: impl std::fmt::Display) -> SignerError {
    SignerError::Failed(format!("the signer of the audit log: {error}"))
}
