//! The anchor in the TPM: where the audit log and the database stood, so that an older copy of the disk is noticed at
//! start. What is kept of it beside the keyring says where it is and how often it was written.

mod place;
mod record;

use crate::hardware::asking_key;
use crate::reply::{Reason, Reply};
use crate::sealer::TpmSealer;
use crate::state::{Holder, Refusal};
use lamchat_base::Secret;
use lamchat_seal::{Keyring, Mark, SlotKind};
use lamchat_tpm::{Anchor, AnchorError};
use place::{free_place, is_ours, place_of};
use record::{RECORD, Record};
use std::ops::RangeInclusive;

/// Where anchors are made, one for each installation. The owner's indices are 0x01800000 to 0x01BFFFFF (TCG Registry of
/// Reserved TPM 2.0 Handles and Localities, 2.2.2); the ones before are the counters'.
const INDICES: RangeInclusive<u32> = 0x0180_4C20..=0x0180_4C3F;

/// How the anchor is found at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchored {
    /// There never was one: nothing to compare with.
    Never,
    /// This one.
    At {
        /// The anchor.
        anchor: Anchor,
        /// Whether it is older than what was written last: somebody put the TPM's memory back.
        put_back: bool,
    },
    /// It was there, and the TPM does not have it: it was cleared, or somebody deleted the anchor.
    Gone(String),
    /// The TPM does not answer.
    Unknown(String),
}

impl Holder {
    /// The anchor, as the TPM has it.
    pub(crate) fn anchored(&self) -> Result<Reply, Refusal> {
        let anchored = self.read_anchor()?;
        self.note_anchored(&anchored);
        Ok(Reply::Anchored(anchored))
    }

    fn read_anchor(&self) -> Result<Anchored, Refusal> {
        let keyring = self.keyring()?;
        let record = Record::load(&keyring, self.setup.clock.now_ms())?;
        let is_marked = keyring.has_mark(Mark::Anchor);
        let record = match record.filter(|_| has_tpm_slot(&keyring)) {
            // Before there were marks, nothing was made in the TPM before the first write.
            Some(record) if is_marked || record.written.is_some() => record,
            None if is_marked && has_tpm_slot(&keyring) => {
                return Ok(Anchored::Gone(missing(&keyring)));
            }
            _ => return Ok(Anchored::Never),
        };
        // A full disk keeps nobody from reading: then the next start does it, or the next write of the anchor.
        if let Err(error) = keyring.set_marks(&[Mark::Anchor]) {
            tracing::warn!(%error, "the keyring does not say yet that there is an anchor");
        }
        let Some(tpm) = self.setup.tpm.plain() else {
            return Ok(Anchored::Unknown(self.setup.tpm.status.sentence.clone()));
        };
        let key = asking_key(&keyring).map_err(|error| disk(&error))?;
        let found = tpm.in_tpm(|tpm| tpm.read_anchor(record.index, &key));
        Ok(match (found, record.written) {
            (Ok(anchor), written) => Anchored::At {
                anchor,
                put_back: written.is_some_and(|written| is_older(&anchor, &written)),
            },
            // Its place was made when the slot was sealed, and nobody but us can have made it.
            (Err(AnchorError::Unwritten), None) => Anchored::Never,
            (Err(AnchorError::Tpm(error)), _) => Anchored::Unknown(error.to_string()),
            (Err(error), _) => Anchored::Gone(error.to_string()),
        })
    }

    /// Makes the anchor's place in the TPM where a slot is about to be sealed to it, and there is none yet. Whether the slot
    /// is to have the mark: then no copy of the keyring opens by the TPM that does not know of the anchor. A TPM without
    /// room for it seals all the same; the anchor is tried again.
    pub(crate) fn prepare_anchor(&self, keyring: &Keyring) -> Result<Option<Mark>, Refusal> {
        let Some(tpm) = self.setup.tpm.plain().filter(|_| !has_tpm_slot(keyring)) else {
            return Ok(None);
        };
        let now_ms = self.setup.clock.now_ms();
        let key = asking_key(keyring).map_err(|error| disk(&error))?;
        let kept = Record::load(keyring, now_ms)?;
        let is_ours = |record: &Record| tpm.in_tpm(|tpm| is_ours(tpm, record.index, &key)).unwrap_or(false);
        let record = match kept.filter(is_ours) {
            Some(record) => record,
            None => match tpm.in_tpm(|tpm| free_place(tpm, self.setup.on_box)) {
                Ok(index) => Record::new(index, now_ms),
                Err(error) => {
                    tracing::warn!(%error, "the TPM has no place for the anchor yet");
                    return Ok(None);
                }
            },
        };
        // Before the index is made, so that none is forgotten in the TPM.
        record.store(keyring)?;
        match tpm.in_tpm(|tpm| tpm.ensure_anchor(record.index, &key)) {
            Ok(()) => Ok(Some(Mark::Anchor)),
            Err(error) => {
                tracing::warn!(%error, "the TPM has no place for the anchor yet");
                Ok(None)
            }
        }
    }

    /// Writes the anchor, as far as the budget goes. Nothing is written where it says the same already, or where no slot
    /// is sealed to a TPM. An older one is taken, and another place in the TPM, only once and after somebody has opened the
    /// keys by hand in this start.
    pub(crate) fn anchor(&self, anchor: Anchor) -> Result<Reply, Refusal> {
        let keyring = self.keyring()?;
        let Some(tpm) = self.setup.tpm.plain().filter(|_| has_tpm_slot(&keyring)) else {
            return Ok(Reply::Done);
        };
        let now_ms = self.setup.clock.now_ms();
        let key = asking_key(&keyring).map_err(|error| disk(&error))?;
        let (by_hand, is_marked) = (self.may_anchor_anew(), keyring.has_mark(Mark::Anchor));
        let mut record = match Record::load(&keyring, now_ms)? {
            Some(record) => record,
            None if is_marked && !by_hand => {
                let sentence = format!("the anchor is not written: {}", missing(&keyring));
                return Err(Refusal(Reason::NotAllowed, sentence));
            }
            None => {
                let ours = || tpm.in_tpm(|tpm| place_of(tpm, &key));
                let ours = if is_marked { ours() } else { Ok(None) };
                let found = match ours {
                    Ok(None) => tpm.in_tpm(|tpm| free_place(tpm, self.setup.on_box)),
                    Ok(Some(index)) => Ok(index),
                    Err(error) => Err(error),
                };
                let record = Record::new(found.map_err(|error| refused(&error))?, now_ms);
                // Before the index is made, so that none is forgotten in the TPM.
                record.store(&keyring)?;
                record
            }
        };
        match &record.written {
            Some(written) if *written == anchor && !by_hand => {
                keyring.set_marks(&[Mark::Anchor]).map_err(|error| disk(&error))?;
                return Ok(Reply::Done);
            }
            Some(written) if anchor.commit < written.commit && !by_hand => return Err(set_back()),
            _ => {}
        }
        let anew = by_hand || (record.written.is_none() && !is_marked);
        if !anew && is_behind(tpm, &record, &key, &anchor) {
            return Err(set_back());
        }
        if !record.budget.take(now_ms) {
            let sentence = "the TPM's memory is spared: the anchor is written again within the hour";
            return Err(Refusal(Reason::NotNow, sentence.to_owned()));
        }
        record.writes = record.writes.saturating_add(1);
        // The budget is spent before: a TPM that fails after the write must not be written again and again.
        record.store(&keyring)?;
        let written = write(tpm, &record, &key, &anchor, (anew, self.setup.on_box));
        record.index = written.map_err(|error| refused(&error))?;
        record.written = Some(anchor);
        record.store(&keyring)?;
        keyring.set_marks(&[Mark::Anchor]).map_err(|error| disk(&error))?;
        self.anchor_begins();
        Ok(Reply::Done)
    }

    /// Takes the anchor out of the TPM, once no slot is sealed to it any more.
    pub(crate) fn drop_anchor(&self) -> Result<(), Refusal> {
        let keyring = self.keyring()?;
        if has_tpm_slot(&keyring) {
            return Ok(());
        }
        self.take_anchor(&keyring)
    }

    /// Takes the anchor out of the TPM.
    pub(crate) fn take_anchor(&self, keyring: &Keyring) -> Result<(), Refusal> {
        let record = Record::load(keyring, self.setup.clock.now_ms())?;
        // The mark first: without its record it would look as if somebody had deleted that.
        keyring.take_mark(Mark::Anchor).map_err(|error| disk(&error))?;
        let Some(record) = record else {
            return Ok(());
        };
        keyring.forget_own(RECORD).map_err(|error| disk(&error))?;
        let key = asking_key(keyring).map_err(|error| disk(&error))?;
        if let Some(tpm) = self.setup.tpm.plain() {
            // Only what is ours: after a change of the board the same index may be somebody else's.
            let dropped = tpm.in_tpm(|tpm| match tpm.read_anchor(record.index, &key) {
                Ok(_) | Err(AnchorError::Unwritten) => Ok(tpm.delete_index(record.index)?),
                Err(error) => Err(error),
            });
            if let Err(error) = dropped {
                tracing::warn!(index = record.index, %error, "the anchor could not be taken out of the TPM");
            }
        }
        Ok(())
    }
}

/// Answers the index, which is another one if the former is not ours any more and `anew`. `owns_tpm`: see [`free_place`].
fn write(
    tpm: &TpmSealer,
    record: &Record,
    key: &Secret<32>,
    anchor: &Anchor,
    (anew, owns_tpm): (bool, bool),
) -> Result<u32, AnchorError> {
    tpm.in_tpm(|tpm| {
        let index = record.index;
        if anew {
            match tpm
                .ensure_anchor(index, key)
                .and_then(|()| tpm.write_anchor(index, key, anchor))
            {
                Err(AnchorError::Foreign(_) | AnchorError::AnotherInstallation) => {}
                other => return other.map(|()| index),
            }
            let index = free_place(tpm, owns_tpm)?;
            tpm.ensure_anchor(index, key)?;
            tpm.write_anchor(index, key, anchor)?;
            return Ok(index);
        }
        tpm.write_anchor(index, key, anchor).map(|()| index)
    })
}

/// Whether the TPM has a later one. What is kept of it may be an older copy that somebody put back.
fn is_behind(tpm: &TpmSealer, record: &Record, key: &Secret<32>, anchor: &Anchor) -> bool {
    let present = tpm.in_tpm(|tpm| tpm.read_anchor(record.index, key));
    present.is_ok_and(|present| anchor.commit < present.commit)
}

fn is_older(anchor: &Anchor, than: &Anchor) -> bool {
    anchor != than && (anchor.commit, anchor.audit_entries) < (than.commit, than.audit_entries)
}

fn has_tpm_slot(keyring: &Keyring) -> bool {
    keyring.slots().iter().any(|slot| slot.kind == SlotKind::Tpm)
}

fn disk(error: &dyn std::fmt::Display) -> Refusal {
    Refusal(Reason::Disk, error.to_string())
}

fn refused(error: &AnchorError) -> Refusal {
    Refusal(Reason::Tpm, format!("the TPM's anchor was not written: {error}"))
}

fn set_back() -> Refusal {
    let sentence = "the anchor is never set back, but by somebody who opened the keys by hand";
    Refusal(Reason::NotAllowed, sentence.to_owned())
}

/// Somebody has deleted what is kept of the anchor.
fn missing(keyring: &Keyring) -> String {
    format!(
        "{}, which says where the TPM has its anchor, is missing (put it back from where it went, and start again)",
        keyring.own_path(RECORD).display()
    )
}
