//! The audit log's notary: it signs a head only when a proof shows that it continues the one that was signed last. Which
//! key signs follows the keyring: as long as it has a `tpm` slot, one in the TPM.

use crate::hardware::TpmKeys;
use crate::reply::{Reason, Reply};
use crate::sealer::TpmSealer;
use crate::state::Refusal;
use lamchat_audit::checkpoint::Checkpoint;
use lamchat_audit::notary::{HardwareKeys, NotarizeError, Notary, SignerError};
use lamchat_audit::tree::Hash;
use lamchat_seal::Keyring;
use std::sync::Arc;

/// The notary of an open keyring; its software key is made at the first time.
pub(crate) fn notary(keyring: &Arc<Keyring>, tpm: Option<TpmSealer>) -> Result<Notary, Refusal> {
    let hardware = tpm.map(|tpm| {
        let keyring = Arc::clone(keyring);
        Arc::new(TpmKeys { tpm, keyring }) as Arc<dyn HardwareKeys>
    });
    Notary::open(Arc::clone(keyring) as Arc<_>, hardware).map_err(|error| refused(error.into()))
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

/// The change of the key that is due, as the entry that announces it.
pub(crate) fn plan(notary: &mut Notary) -> Result<Reply, Refusal> {
    let plan = notary.plan().map_err(|error| refused(error.into()))?;
    Ok(Reply::Bytes(
        plan.map(|plan| plan.entry(0).encode()).unwrap_or_default(),
    ))
}

/// Changes the key.
pub(crate) fn change(
    notary: &mut Notary,
    checkpoint: &Checkpoint,
    proof: &[Hash],
    entry: &[u8],
    peaks: &[Hash],
) -> Result<Reply, Refusal> {
    let change = notary.change(checkpoint, proof, entry, peaks).map_err(refused)?;
    Ok(Reply::Bytes(change.line().into_bytes()))
}

/// The last change of the key of the log `origin`.
pub(crate) fn last_change(notary: &Notary, origin: &str) -> Reply {
    let change = notary.last_change(origin);
    Reply::Bytes(change.map(|change| change.line().into_bytes()).unwrap_or_default())
}

/// Lets another log begin: somebody has opened the keys by hand for a disk that is older than its anchor.
pub(crate) fn allow_another_log(notary: &mut Notary) -> Result<Reply, Refusal> {
    let allowed = notary.allow_another_log();
    allowed.map(|()| Reply::Done).map_err(|error| refused(error.into()))
}

/// Where what the notary kept was, of what is missing; nothing if all of it is there.
pub(crate) fn lost(notary: &Notary) -> Reply {
    let places = match notary.lost() {
        Some(NotarizeError::Lost { places }) => places,
        _ => String::new(),
    };
    Reply::Bytes(places.into_bytes())
}

/// The head that is signed last of the log `origin`, which must be the one that is signed here; `None` before the first.
pub(crate) fn head_of(notary: &Notary, origin: &str) -> Result<Option<Checkpoint>, Refusal> {
    if let Some(lost) = notary.lost() {
        return Err(refused(lost));
    }
    match notary.active() {
        Some(active) if active.origin != origin => Err(refused(NotarizeError::AnotherLog {
            signed: active.origin.clone(),
            asked: origin.to_owned(),
        })),
        active => Ok(active.cloned()),
    }
}

fn refused(error: NotarizeError) -> Refusal {
    let reason = match error {
        NotarizeError::Fork { .. } | NotarizeError::AnotherLog { .. } | NotarizeError::Lost { .. } => Reason::Fork,
        NotarizeError::Signer(SignerError::Failed(_)) => Reason::Disk,
        NotarizeError::Signer(_) => Reason::Tpm,
        NotarizeError::NotThePlan | NotarizeError::Key(_) => Reason::NotAllowed,
    };
    Refusal(reason, error.to_string())
}
