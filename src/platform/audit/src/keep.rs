//! Where the signer keeps what must outlive it, out of reach of whoever writes the store.

use crate::checkpoint::Checkpoint;
use crate::notary::SignerError;
use lamchat_base::SecretBytes;
use lamchat_seal::Keyring;

/// The sealed secret with the heads: the texts of their checkpoints, one after the other.
const HEADS: &str = "audit-heads";
/// Lines of the text of a checkpoint.
const CHECKPOINT_LINES: usize = 3;

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

/// The last head of each log.
pub(crate) fn load_heads(keep: &dyn Keep) -> Result<Vec<Checkpoint>, SignerError> {
    let Some(kept) = keep.load(HEADS)? else {
        return Ok(Vec::new());
    };
    let text = std::str::from_utf8(kept.expose()).map_err(failed)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let heads = lines.chunks(CHECKPOINT_LINES);
    heads
        .map(|lines| Checkpoint::parse(&lines.concat()).map_err(failed))
        .collect()
}

/// Keeps them in place of the ones before. Durable on return.
pub(crate) fn store_heads(keep: &dyn Keep, heads: &[Checkpoint]) -> Result<(), SignerError> {
    let text: String = heads.iter().map(Checkpoint::to_string).collect();
    keep.store(HEADS, &SecretBytes::new(text.into_bytes()))
}

pub(crate) fn failed(error: impl std::fmt::Display) -> SignerError {
    SignerError::Failed(format!("the signer of the audit log: {error}"))
}
