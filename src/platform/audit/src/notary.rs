//! Who signs checkpoints. It remembers, durably, the last head that it signed of each log and signs only what continues
//! it: whoever controls the store cannot have a second history signed. Made so that the whole of it can live in another
//! process than the store, beside a key in hardware.

use crate::checkpoint::Checkpoint;
use crate::key::{NotAKey, Point, VerifierKey};
use crate::note::{Note, NoteSignature};
use crate::tree::{Hash, is_consistent};
use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;

/// Most logs whose heads are remembered. A log begins anew with each restored backup.
pub const LOGS_MAX: usize = 256;

/// A P-256 key that signs.
pub trait CheckpointSigner: Send + Sync + 'static {
    /// What it is, for people: "software key".
    fn kind(&self) -> &'static str;

    /// The public key.
    fn public_key(&self) -> Point;

    /// The ECDSA signature over a SHA-256 digest, in ASN.1 (RFC 3279, section 2.2.3). May take as long as a TPM does.
    fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, SignerError>;
}

/// Where the signer keeps what it signed last, out of reach of whoever writes the store.
pub trait HeadMemory: Send + Sync + 'static {
    /// The last head of each log, in no order.
    fn load(&self) -> Result<Vec<Checkpoint>, SignerError>;

    /// Keeps them in place of the ones before. Durable on return.
    fn store(&self, heads: &[Checkpoint]) -> Result<(), SignerError>;
}

/// The key or its memory failed: one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SignerError(pub String);

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
    /// There are heads of too many logs.
    #[error("heads of more than {LOGS_MAX} audit logs are remembered")]
    TooManyLogs,
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
}

/// A signer with its memory.
pub struct Notary {
    signer: Box<dyn CheckpointSigner>,
    memory: Box<dyn HeadMemory>,
    heads: Vec<Checkpoint>,
}

impl std::fmt::Debug for Notary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notary")
            .field("heads", &self.heads)
            .finish_non_exhaustive()
    }
}

impl Notary {
    /// Puts a signer and its memory together.
    pub fn new(signer: Box<dyn CheckpointSigner>, memory: Box<dyn HeadMemory>) -> Result<Self, SignerError> {
        let heads = memory.load()?;
        Ok(Self { signer, memory, heads })
    }

    /// What sort of key signs.
    pub fn kind(&self) -> &'static str {
        self.signer.kind()
    }

    /// The key for whoever verifies the log `origin`.
    pub fn key(&self, origin: &str) -> Result<VerifierKey, NotAKey> {
        VerifierKey::of_log(origin, &self.signer.public_key())
    }

    /// The size of the last head of the log `origin` that was signed; 0 if there was none. The proof that
    /// [`Notary::sign`] wants goes from here to the new head.
    pub fn signed_size(&self, origin: &str) -> u64 {
        self.head(origin).map_or(0, |head| head.size)
    }

    /// The last head of the log `origin` that was signed.
    pub fn head(&self, origin: &str) -> Option<&Checkpoint> {
        self.heads.iter().find(|head| head.origin == origin)
    }

    /// Signs a checkpoint whose `proof` shows that it continues the last one. "A log MUST not sign any checkpoint which
    /// is inconsistent with any checkpoint it previously signed." (c2sp.org/tlog-checkpoint)
    pub fn sign(&mut self, checkpoint: &Checkpoint, proof: &[Hash]) -> Result<Note, NotarizeError> {
        let key = self.key(&checkpoint.origin)?;
        if let Some(head) = self.head(&checkpoint.origin)
            && !is_consistent(head.size, &head.root, checkpoint.size, &checkpoint.root, proof)
        {
            return Err(NotarizeError::Fork {
                signed: head.size,
                asked: checkpoint.size,
            });
        }
        if self.head(&checkpoint.origin) != Some(checkpoint) {
            let mut heads = self.heads.clone();
            heads.retain(|head| head.origin != checkpoint.origin);
            if heads.len() >= LOGS_MAX {
                return Err(NotarizeError::TooManyLogs);
            }
            heads.push(checkpoint.clone());
            // Before the signature is out: what is signed and forgotten could be contradicted.
            self.memory.store(&heads)?;
            self.heads = heads;
        }
        let text = checkpoint.to_string();
        let hash = digest(&SHA256, text.as_bytes());
        let hash = hash
            .as_ref()
            .try_into()
            .map_err(|_| SignerError("no SHA-256".to_owned()))?;
        let signature = NoteSignature {
            name: key.name().to_owned(),
            key_id: key.id(),
            bytes: self.signer.sign(hash)?,
        };
        Ok(Note {
            text,
            signatures: vec![signature],
        })
    }
}
