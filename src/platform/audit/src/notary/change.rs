//! Changing the key: planned, announced in the log, and signed by the old key and the new one.
//!
//! What must never happen here: a new key that signs before everything of the change is durable, or without the old one
//! where that still can.

use super::{NotarizeError, Notary, SignerError};
use crate::change::{KeyChange, Plan, is_last};
use crate::checkpoint::Checkpoint;
use crate::note::Note;
use crate::signing::{Signing, Which};
use crate::software::SOFTWARE;
use crate::tree::Hash;

impl Notary {
    /// The change of the key that is due; makes the new key. The caller appends [`Plan::entry`] to the log and calls
    /// [`Notary::change`]. Until then everything stays as it is.
    pub fn plan(&mut self) -> Result<Option<Plan>, SignerError> {
        if self.lost.is_some() {
            return Ok(None);
        }
        let wanted = match (&self.signing.current, &self.hardware) {
            (Which::Software, Some(hardware)) if self.wants_hardware => match &self.signing.next {
                Some(next) => next.clone(),
                None => {
                    let blob = hardware.create()?;
                    let next = Which::Hardware {
                        point: hardware.public_key(&blob)?,
                        kind: hardware.kind().to_owned(),
                        blob,
                    };
                    let signing = Signing {
                        next: Some(next.clone()),
                        ..self.signing.clone()
                    };
                    signing.store(&*self.keep)?;
                    self.signing = signing;
                    next
                }
            },
            (Which::Hardware { .. }, _) if !self.wants_hardware || self.is_lost => Which::Software,
            _ => return Ok(None),
        };
        let fallback = matches!(wanted, Which::Hardware { .. }).then(|| self.software.public_key());
        Ok(Some(Plan {
            from: self.public_key(),
            from_kind: self.kind().to_owned(),
            to: self.point(&wanted),
            to_kind: match &wanted {
                Which::Software => SOFTWARE.to_owned(),
                Which::Hardware { kind, .. } => kind.clone(),
            },
            fallback,
        }))
    }

    /// Changes the key as planned: signs the checkpoint whose last entry is `entry`, by both keys; from then on the new
    /// one signs. Only where the old one is lost, or hardware is not wanted any more and does not answer, the new one
    /// signs alone.
    pub fn change(
        &mut self,
        checkpoint: &Checkpoint,
        proof: &[Hash],
        entry: &[u8],
        peaks: &[Hash],
    ) -> Result<KeyChange, NotarizeError> {
        self.may_sign()?;
        let plan = self.plan()?.ok_or(NotarizeError::NotThePlan)?;
        if Plan::of(entry).as_ref() != Some(&plan) || !is_last(checkpoint, peaks, entry) {
            return Err(NotarizeError::NotThePlan);
        }
        let next = match &self.signing.next {
            Some(next) if self.point(next) == plan.to => next.clone(),
            _ => Which::Software,
        };
        let heads = self.heads.after(checkpoint, proof)?;
        let mut signatures = Vec::new();
        match self.signature(&self.signing.current, checkpoint) {
            Ok(signature) => signatures.push(signature),
            Err(NotarizeError::Signer(SignerError::Waiting(_) | SignerError::Lost(_)))
                if self.is_lost || !self.wants_hardware => {}
            Err(NotarizeError::Signer(error @ SignerError::Lost(_))) => {
                self.is_lost = true;
                return Err(error.into());
            }
            Err(error) => return Err(error),
        }
        signatures.push(self.signature(&next, checkpoint)?);
        let change = KeyChange {
            number: checkpoint.size.saturating_sub(1),
            peaks: peaks.to_vec(),
            entry: entry.to_vec(),
            note: Note {
                text: checkpoint.to_string(),
                signatures,
            },
        };
        self.remember(heads)?;
        let changed = Signing {
            current: next,
            next: None,
            last_change: Some(change.clone()),
        };
        changed.store(&*self.keep)?;
        (self.signing, self.is_lost) = (changed, false);
        self.mark()?;
        Ok(change)
    }
}
