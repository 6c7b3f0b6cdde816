//! Whoever signs a log's heads, as the log sees it, and why it does not.

use super::{Notary, SignerError};
use crate::change::{KeyChange, Plan};
use crate::checkpoint::Checkpoint;
use crate::key::{NotAKey, VerifierKey};
use crate::note::Note;
use crate::tree::Hash;
use parking_lot::Mutex;

/// Why a checkpoint was not signed.
#[derive(Debug, thiserror::Error)]
pub enum NotarizeError {
    /// The checkpoint contradicts one that was signed earlier.
    #[error(
        "the audit log is not the continuation of its signed head of size {signed}: the database was put back to an older state, or changed from outside. Nothing is signed any more"
    )]
    Fork {
        /// Size of the head that was signed.
        signed: u64,
        /// Size of the checkpoint that was refused.
        asked: u64,
    },
    /// The log is not the one that is signed here, and nobody has said that another one may begin.
    #[error(
        "{asked} is another audit log than {signed}, which is signed here: the database was exchanged. Nothing is signed any more"
    )]
    AnotherLog {
        /// Origin of the log that is signed.
        signed: String,
        /// Origin of the one that was refused.
        asked: String,
    },
    /// What the signer kept is gone: somebody deleted it, for who does not remember signs anything.
    #[error(
        "{places} is missing, so what was signed of the audit log is not known, and nothing is signed any more. Put it back \
         from where it went and start again; or start again with the recovery key at hand (`lamchat seal add-recovery` makes \
         one), by which another log begins"
    )]
    Lost {
        /// Where it was: one file, or more with commas between.
        places: String,
    },
    /// A change of the key that is not the one that was planned, or that its entry does not announce.
    #[error("the entry does not announce the change of the audit log's key that is due")]
    NotThePlan,
    /// The origin cannot be the name of a key.
    #[error(transparent)]
    Key(#[from] NotAKey),
    /// The key or its memory failed.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// Whoever signs a log's heads, as the log sees it: a [`Notary`] here, or the way to one in another process. Calls block.
pub trait HeadSigner: Send + Sync + 'static {
    /// Who it is for the log `origin`.
    fn identity(&self, origin: &str) -> Result<SignerIdentity, NotarizeError>;

    /// Signs a checkpoint whose `proof` shows that it continues the last one, as [`Notary::sign`] does.
    fn sign(&self, checkpoint: &Checkpoint, proof: &[Hash]) -> Result<Note, NotarizeError>;

    /// The change of the key that is due: [`Notary::plan`].
    fn plan(&self) -> Result<Option<Plan>, NotarizeError>;

    /// Changes the key as planned: [`Notary::change`].
    fn change(
        &self,
        checkpoint: &Checkpoint,
        proof: &[Hash],
        entry: &[u8],
        peaks: &[Hash],
    ) -> Result<KeyChange, NotarizeError>;

    /// The last change of the key of the log `origin`: [`Notary::last_change`].
    fn last_change(&self, origin: &str) -> Result<Option<KeyChange>, NotarizeError>;
}

/// A signer, to one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerIdentity {
    /// The key for whoever verifies the log.
    pub key: VerifierKey,
    /// What sort of key it is, for people: "software key".
    pub kind: String,
    /// The size of the last head that was signed; 0 if there was none. The proof that signing wants goes from here to
    /// the new head.
    pub signed: u64,
}

impl HeadSigner for Mutex<Notary> {
    fn identity(&self, origin: &str) -> Result<SignerIdentity, NotarizeError> {
        let notary = self.lock();
        Ok(SignerIdentity {
            key: notary.key(origin)?,
            kind: notary.kind().to_owned(),
            signed: notary.signed_size(origin),
        })
    }

    fn sign(&self, checkpoint: &Checkpoint, proof: &[Hash]) -> Result<Note, NotarizeError> {
        self.lock().sign(checkpoint, proof)
    }

    fn plan(&self) -> Result<Option<Plan>, NotarizeError> {
        Ok(self.lock().plan()?)
    }

    fn change(
        &self,
        checkpoint: &Checkpoint,
        proof: &[Hash],
        entry: &[u8],
        peaks: &[Hash],
    ) -> Result<KeyChange, NotarizeError> {
        self.lock().change(checkpoint, proof, entry, peaks)
    }

    fn last_change(&self, origin: &str) -> Result<Option<KeyChange>, NotarizeError> {
        Ok(self.lock().last_change(origin))
    }
}
