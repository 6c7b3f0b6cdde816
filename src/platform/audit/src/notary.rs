//! Who signs checkpoints. It remembers, durably, which log it signs and the last head of that, and signs only what
//! continues it: whoever controls the store cannot have a second history signed, under this log's name or a new one. Made
//! so that the whole of it can live in another process than the store, beside a key in hardware.

mod change;
mod head_signer;

pub use head_signer::{HeadSigner, NotarizeError, SignerIdentity};

use crate::change::KeyChange;
use crate::checkpoint::Checkpoint;
use crate::heads::{HEADS, Heads};
use crate::keep::Keep;
use crate::key::{NotAKey, Point, VerifierKey};
use crate::note::{Note, NoteSignature};
use crate::signing::{SIGNING, Signing, Which};
use crate::software::{KEY, SOFTWARE, SoftwareSigner};
use crate::tree::Hash;
use aws_lc_rs::digest::{SHA256, digest};
use std::sync::Arc;

/// Most logs whose heads are remembered; those of the oldest go. A log begins anew with each disk that was put back and
/// goes on by its owner's word.
pub const LOGS_MAX: usize = 256;

/// P-256 keys that live in hardware; what is kept of one is a blob that only that hardware can use.
pub trait HardwareKeys: Send + Sync + 'static {
    /// What they are, for people: "TPM key".
    fn kind(&self) -> &'static str;

    /// Makes a key, and proves that it signs. May take as long as a TPM does, as all of these.
    fn create(&self) -> Result<Vec<u8>, SignerError>;

    /// The public key of a blob. Asks no hardware.
    fn public_key(&self, blob: &[u8]) -> Result<Point, SignerError>;

    /// The ECDSA signature over a SHA-256 digest, in ASN.1 (RFC 3279, section 2.2.3).
    fn sign(&self, blob: &[u8], digest: &[u8; 32]) -> Result<Vec<u8>, SignerError>;
}

/// Why a key does not sign: one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// Not now: the TPM is gone, busy or locked out. The same may work later.
    #[error("{0}")]
    Waiting(String),
    /// Never again: another TPM made the key, or this one was cleared.
    #[error("{0}")]
    Lost(String),
    /// Something is broken: the disk, a kept secret.
    #[error("{0}")]
    Failed(String),
}

/// The keys with their memory.
pub struct Notary {
    keep: Arc<dyn Keep>,
    software: SoftwareSigner,
    hardware: Option<Arc<dyn HardwareKeys>>,
    wants_hardware: bool,
    /// The hardware said that it can never use the key again.
    is_lost: bool,
    signing: Signing,
    heads: Heads,
    /// Where what was kept and is missing was. As long as anything is, nothing is signed.
    lost: Option<String>,
}

impl std::fmt::Debug for Notary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notary")
            .field("heads", &self.heads)
            .finish_non_exhaustive()
    }
}

impl Notary {
    /// Puts keys and their memory together; the software key is made where there is none. Asks no hardware. Where something
    /// that was kept is missing, nothing is signed, and nothing takes its place, before another log is allowed to begin.
    pub fn open(keep: Arc<dyn Keep>, hardware: Option<Arc<dyn HardwareKeys>>) -> Result<Self, SignerError> {
        let mut software = SoftwareSigner::open(&*keep)?;
        let (signing, heads) = (Signing::load(&*keep)?, Heads::load(&*keep)?);
        let found = [
            // One that says nothing is an old one that somebody put back: a mark comes after the first head.
            (HEADS, !heads.as_ref().is_none_or(Heads::is_empty)),
            (KEY, !software.is_fresh()),
            (SIGNING, signing.is_some()),
        ];
        let missing = found.iter().filter(|(name, found)| !found && keep.is_marked(name));
        let places: Vec<String> = missing.map(|(name, _)| keep.place(name)).collect();
        if places.is_empty() {
            software.keep(&*keep)?;
        }
        Ok(Self {
            software,
            signing: signing.unwrap_or_default(),
            heads: heads.unwrap_or_default(),
            lost: (!places.is_empty()).then(|| places.join(", ")),
            hardware,
            wants_hardware: false,
            is_lost: false,
            keep,
        })
    }

    /// Why nothing is signed: something that was kept is missing.
    pub fn lost(&self) -> Option<NotarizeError> {
        let places = self.lost.clone()?;
        Some(NotarizeError::Lost { places })
    }

    /// Whether a key in hardware is to sign, where there is hardware. Takes effect by [`Notary::plan`].
    pub fn want_hardware(&mut self, wants_hardware: bool) {
        self.wants_hardware = wants_hardware;
    }

    /// What sort of key signs.
    pub fn kind(&self) -> &str {
        match &self.signing.current {
            Which::Software => SOFTWARE,
            Which::Hardware { kind, .. } => kind,
        }
    }

    /// The public key that signs.
    pub fn public_key(&self) -> Point {
        self.point(&self.signing.current)
    }

    /// The key for whoever verifies the log `origin`.
    pub fn key(&self, origin: &str) -> Result<VerifierKey, NotAKey> {
        VerifierKey::of_log(origin, &self.public_key())
    }

    /// The size of the last head of the log `origin` that was signed; 0 if there was none. The proof that
    /// [`Notary::sign`] wants goes from here to the new head.
    pub fn signed_size(&self, origin: &str) -> u64 {
        self.head(origin).map_or(0, |head| head.size)
    }

    /// The last head of the log `origin` that was signed.
    pub fn head(&self, origin: &str) -> Option<&Checkpoint> {
        self.heads.of(origin)
    }

    /// The last head of the log that is signed here; `None` before the first.
    pub fn active(&self) -> Option<&Checkpoint> {
        self.heads.active()
    }

    /// Lets one other log begin, in place of the one that is signed here: the caller knows from its owner that the
    /// database goes on from an older state, or that what was signed is not known. Over as soon as anything is signed.
    /// Durable on return.
    pub fn allow_another_log(&mut self) -> Result<(), SignerError> {
        let heads = self.heads.allowing_another();
        // First: until all of it is there, what is missing is missing.
        heads.store(&*self.keep)?;
        self.heads = heads;
        if self.lost.is_some() {
            self.signing.store(&*self.keep)?;
            self.software.keep(&*self.keep)?;
            self.lost = None;
        }
        Ok(())
    }

    /// The last change of the key, if it was of the log `origin`: for whoever did not get to keep it.
    pub fn last_change(&self, origin: &str) -> Option<KeyChange> {
        let change = self.signing.last_change.clone()?;
        change.checkpoint().filter(|checkpoint| checkpoint.origin == origin)?;
        Some(change)
    }

    /// Signs a checkpoint whose `proof` shows that it continues the last one. "A log MUST not sign any checkpoint which
    /// is inconsistent with any checkpoint it previously signed." (c2sp.org/tlog-checkpoint)
    pub fn sign(&mut self, checkpoint: &Checkpoint, proof: &[Hash]) -> Result<Note, NotarizeError> {
        self.may_sign()?;
        let heads = self.heads.after(checkpoint, proof)?;
        let is_new_log = self.head(&checkpoint.origin).is_none();
        let signature = match self.signature(&self.signing.current, checkpoint) {
            Err(NotarizeError::Signer(SignerError::Lost(_))) if is_new_log => self.start_over(checkpoint),
            Err(NotarizeError::Signer(SignerError::Waiting(_))) if is_new_log && !self.wants_hardware => {
                self.start_over(checkpoint)
            }
            Err(NotarizeError::Signer(error @ SignerError::Lost(_))) => {
                self.is_lost = true;
                Err(error.into())
            }
            other => other,
        }?;
        // Before the signature is out: what is signed and forgotten could be contradicted.
        self.remember(heads)?;
        self.mark()?;
        Ok(Note {
            text: checkpoint.to_string(),
            signatures: vec![signature],
        })
    }

    /// In a restored backup, away from the TPM of before, nobody has seen a signature of this log: it begins with the
    /// software key.
    fn start_over(&mut self, checkpoint: &Checkpoint) -> Result<NoteSignature, NotarizeError> {
        let software = Signing::default();
        software.store(&*self.keep)?;
        (self.signing, self.is_lost) = (software, false);
        self.signature(&Which::Software, checkpoint)
    }

    fn remember(&mut self, heads: Option<Heads>) -> Result<(), SignerError> {
        if let Some(heads) = heads {
            heads.store(&*self.keep)?;
            self.heads = heads;
        }
        Ok(())
    }

    fn may_sign(&self) -> Result<(), NotarizeError> {
        self.lost().map_or(Ok(()), Err)
    }

    /// Before the signature is out, and after everything is durable: what nobody has seen may be forgotten, and a power cut
    /// in between leaves nothing that looks deleted.
    fn mark(&self) -> Result<(), SignerError> {
        let is_default = self.signing == Signing::default();
        let kept: &[&str] = if is_default {
            &[HEADS, KEY]
        } else {
            &[HEADS, KEY, SIGNING]
        };
        self.keep.mark(kept)
    }

    fn point(&self, which: &Which) -> Point {
        match which {
            Which::Software => self.software.public_key(),
            Which::Hardware { point, .. } => *point,
        }
    }

    fn signature(&self, which: &Which, checkpoint: &Checkpoint) -> Result<NoteSignature, NotarizeError> {
        let key = VerifierKey::of_log(&checkpoint.origin, &self.point(which))?;
        let hash = digest(&SHA256, checkpoint.to_string().as_bytes());
        let hash: &[u8; 32] = hash
            .as_ref()
            .try_into()
            .map_err(|_| SignerError::Failed("no SHA-256".to_owned()))?;
        let bytes = match (which, &self.hardware) {
            (Which::Software, _) => self.software.sign(hash)?,
            (Which::Hardware { blob, .. }, Some(hardware)) => hardware.sign(blob, hash)?,
            (Which::Hardware { kind, .. }, None) => {
                let sentence = format!("the audit log is signed by a {kind}, and there is no TPM");
                return Err(SignerError::Waiting(sentence).into());
            }
        };
        Ok(NoteSignature {
            name: key.name().to_owned(),
            key_id: key.id(),
            bytes,
        })
    }
}
