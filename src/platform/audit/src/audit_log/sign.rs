//! Signing the log's head, and changing the key that signs it.
//!
//! What must never happen here: a head that another key signed shown before that key is known, or somebody who waits for
//! whoever signs without having asked for a signature.

use super::rows::{HEAD_ROW, head, keep_change};
use super::{AuditError, AuditLog, Keys, Trouble};
use crate::change::CHANGES_MAX;
use crate::checkpoint::Checkpoint;
use crate::log::{self, META};
use crate::notary::{NotarizeError, SignerIdentity};
use crate::note::Note;
use crate::tree::Hash;

/// After a change of the key that failed once it was announced, the next one waits: each costs an entry.
const CHANGE_PAUSE_MS: u64 = 15 * 60 * 1000;
/// Changes that may follow one another at once: a lost key to the fallback, and that to a new one in hardware.
const CHANGES_AT_ONCE: usize = 2;

impl AuditLog {
    /// Signs the head if it is not signed yet, and keeps it. Many appends between two calls cost one signature. A change
    /// of the key that is due happens first.
    pub fn sign(&self) -> Result<Note, AuditError> {
        let signing = self.signing.lock();
        // What a change needs may be missing while the present key signs well.
        let changed = self.change_keys();
        let mut signed = self.sign_head();
        // The key may have turned out to be lost just now; then another one takes over.
        if matches!(signed, Err(AuditError::Notarize(NotarizeError::Signer(_)))) && self.change_keys()? {
            signed = self.sign_head();
        }
        let trouble = match (&signed, changed) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(_), Err(error)) => Some(format!("the {} signs for now: {error}", self.keys.read().kind)),
            (Ok(_), Ok(_)) => None,
        };
        self.note_trouble(trouble);
        drop(signing);
        signed
    }

    fn note_trouble(&self, sentence: Option<String>) {
        let mut trouble = self.trouble.lock();
        *trouble = sentence.map(|sentence| Trouble {
            since_ms: trouble
                .as_ref()
                .map_or_else(|| self.clock.now_ms(), |known| known.since_ms),
            sentence,
        });
    }

    fn change_keys(&self) -> Result<bool, AuditError> {
        let mut changed = false;
        for _ in 0..CHANGES_AT_ONCE {
            if !self.change_key()? {
                break;
            }
            changed = true;
        }
        Ok(changed)
    }

    /// Changes the key if that is due: the entry that announces it, then the checkpoint that both keys sign.
    fn change_key(&self) -> Result<bool, AuditError> {
        let now_ms = self.clock.now_ms();
        let signed = self.signer.identity(&self.origin)?.signed;
        if now_ms < *self.change_after_ms.lock() || self.keys.read().chain.spans().len() > CHANGES_MAX {
            return Ok(false);
        }
        // A log of which nothing is signed begins with the key that is there. In one that was put back, or whose last
        // signature was not kept, nothing is announced before a head is signed.
        let kept = head(&self.store.read())?.map(|head| head.text);
        if signed == 0
            || log::size(&self.store.read())? < signed
            || kept != Some(self.checkpoint(signed, signed)?.0.to_string())
        {
            return Ok(false);
        }
        let Some(plan) = self.signer.plan()? else {
            return Ok(false);
        };
        *self.change_after_ms.lock() = now_ms.saturating_add(CHANGE_PAUSE_MS);
        let entry = plan.entry(now_ms);
        let bytes = entry.encode();
        let number = self
            .store
            .write_blocking(move |txn| log::append(txn, &entry).map_err(AuditError::from))?;
        let (checkpoint, proof) = self.checkpoint(signed, number.saturating_add(1))?;
        let peaks = log::peaks(&self.store.read(), number)?;
        let change = self.signer.change(&checkpoint, &proof, &bytes, &peaks)?;
        self.with_new_key(|| keep_change(&self.store, &change))?;
        *self.change_after_ms.lock() = 0;
        Ok(true)
    }

    /// Keeps what the key that signs now has signed first. Nobody sees it before that key is known here, and nobody waits
    /// for the signer by it.
    fn with_new_key(&self, keep: impl FnOnce() -> Result<(), AuditError>) -> Result<(), AuditError> {
        let identity = self.signer.identity(&self.origin);
        let mut keys = self.keys.write();
        // Also where the signer has gone meanwhile: what it signed is good.
        keep()?;
        *keys = Keys::of(identity?, &self.store.read())?;
        Ok(())
    }

    /// The checkpoint of the first `size` entries, and its proof from the first `signed` ones.
    fn checkpoint(&self, signed: u64, size: u64) -> Result<(Checkpoint, Vec<Hash>), AuditError> {
        let read = self.store.read();
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size,
            root: log::frontier(&read, size)?.root(),
        };
        let proof = if signed <= size {
            log::consistency(&read, signed, size)?
        } else {
            Vec::new()
        };
        Ok((checkpoint, proof))
    }

    fn sign_head(&self) -> Result<Note, AuditError> {
        let read = self.store.read();
        let SignerIdentity { key, signed, .. } = self.signer.identity(&self.origin)?;
        let (checkpoint, proof) = self.checkpoint(signed, log::size(&read)?)?;
        // A kept head is good as long as the signer knows of no later one: then the database was put back.
        let kept = head(&read)?.filter(|head| head.text == checkpoint.to_string() && signed == checkpoint.size);
        if let Some(head) = kept {
            return Ok(head);
        }
        let note = self.signer.sign(&checkpoint, &proof)?;
        let row = note.to_string();
        let keep = || {
            let kept = self.store.write_blocking(move |txn| {
                txn.put(META, HEAD_ROW, row.into_bytes());
                Ok::<_, AuditError>(())
            });
            Ok(kept?)
        };
        // A log without its TPM of before begins with another key.
        let is_new = signed == 0 || key != self.keys.read().key;
        if is_new { self.with_new_key(keep) } else { keep() }?;
        Ok(note)
    }
}
