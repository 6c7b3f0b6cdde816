//! The audit log's notary: it signs a head only when a proof shows that it continues the one that was signed last.

use crate::reply::{Reason, Reply};
use crate::state::Refusal;
use lamchat_audit::checkpoint::Checkpoint;
use lamchat_audit::notary::{CheckpointSigner, NotarizeError, Notary, SignerError};
use lamchat_audit::software::{SealedHeads, SoftwareSigner};
use lamchat_audit::tree::Hash;
use lamchat_seal::Keyring;
use std::sync::Arc;

/// The key that signs: the one place that chooses it.
fn signer(keyring: &Arc<Keyring>) -> Result<Box<dyn CheckpointSigner>, SignerError> {
    Ok(Box::new(SoftwareSigner::open(keyring)?))
}

/// The notary of an open keyring; its key is made at the first time.
pub(crate) fn notary(keyring: &Arc<Keyring>) -> Result<Notary, Refusal> {
    let memory = Box::new(SealedHeads(Arc::clone(keyring)));
    let notary = signer(keyring).and_then(|signer| Notary::new(signer, memory));
    notary.map_err(|error| refused(error.into()))
}

/// Who signs the log `origin`.
pub(crate) fn identity(notary: &Notary, origin: &str) -> Result<Reply, Refusal> {
    Ok(Reply::LogIdentity {
        key: notary.key(origin).map_err(|error| refused(error.into()))?,
        kind: notary.kind().to_owned(),
        signed: notary.signed_size(origin),
    })
}

/// Signs.
pub(crate) fn sign(notary: &mut Notary, checkpoint: &Checkpoint, proof: &[Hash]) -> Result<Reply, Refusal> {
    notary.sign(checkpoint, proof).map(Reply::Note).map_err(refused)
}

fn refused(error: NotarizeError) -> Refusal {
    let reason = match error {
        NotarizeError::Fork { .. } => Reason::Fork,
        NotarizeError::Signer(_) => Reason::Disk,
        NotarizeError::TooManyLogs | NotarizeError::Key(_) => Reason::NotAllowed,
    };
    Refusal(reason, error.to_string())
}
