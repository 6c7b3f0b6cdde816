//! The anchor in the TPM: where the audit log and the database stood, so that an older copy of the disk is noticed at
//! start. What is kept of it beside the keyring says where it is and how often it was written.

use crate::audit;
use crate::hardware::asking_key;
use crate::reply::{Reason, Reply};
use crate::sealer::TpmSealer;
use crate::state::{Holder, Keys, Refusal};
use lamchat_base::{Secret, SecretBytes};
use lamchat_seal::{Keyring, SlotKind};
use lamchat_tpm::{ANCHOR_BYTES, Anchor, AnchorError, Tpm, WriteBudget};
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicBool;

/// Where anchors are made, one for each installation. The owner's indices are 0x01800000 to 0x01BFFFFF (TCG Registry of
/// Reserved TPM 2.0 Handles and Localities, 2.2.2); the ones before are the counters'.
const INDICES: RangeInclusive<u32> = 0x0180_4C20..=0x0180_4C3F;
/// One write an hour in the long run.
const WRITE_INTERVAL_MS: u64 = 3600 * 1000;
/// And so many at once, for critical acts and starts in a row.
const WRITES_SAVED_MAX: u32 = 24;
/// The holder's own secret with the record.
const RECORD: &str = "anchor";

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

/// What is kept: `index`, `written` (hexadecimal), `writes`, `saved`, `until`, a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    index: u32,
    /// `None` until the first write is done.
    written: Option<Anchor>,
    /// How often this keyring has written it.
    writes: u64,
    budget: WriteBudget,
}

impl Record {
    fn new(index: u32, now_ms: u64) -> Self {
        Self {
            index,
            written: None,
            writes: 0,
            budget: WriteBudget::new(WRITE_INTERVAL_MS, WRITES_SAVED_MAX, now_ms),
        }
    }

    fn text(&self) -> String {
        let written = self.written.map_or(String::new(), |anchor| hex(&anchor.encode()));
        let (saved, until) = self.budget.state();
        format!("{}\n{written}\n{}\n{saved}\n{until}\n", self.index, self.writes)
    }

    fn parse(text: &str, now_ms: u64) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let record = Self::new(
            lines.next()?.parse().ok().filter(|index| INDICES.contains(index))?,
            now_ms,
        );
        let written = match lines.next()? {
            "" => None,
            digits => Some(Anchor::parse(&unhex(digits)?).ok()?),
        };
        let writes = lines.next()?.parse().ok()?;
        let (saved, until) = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?);
        lines.next().is_none().then_some(Self {
            written,
            writes,
            budget: record.budget.resumed(saved, until, now_ms),
            ..record
        })
    }

    fn load(keyring: &Keyring, now_ms: u64) -> Result<Option<Self>, Refusal> {
        let Some(kept) = keyring.own(RECORD).map_err(|error| disk(&error))? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(kept.expose()).ok();
        let record = text.and_then(|text| Self::parse(text, now_ms));
        record
            .map(Some)
            .ok_or_else(|| disk(&"what is kept of the anchor is malformed"))
    }

    fn store(&self, keyring: &Keyring) -> Result<(), Refusal> {
        let kept = keyring.keep_own(RECORD, &SecretBytes::new(self.text().into_bytes()));
        kept.map_err(|error| disk(&error))
    }
}

impl Holder {
    /// The anchor, as the TPM has it.
    pub(crate) fn anchored(&self) -> Result<Reply, Refusal> {
        let keyring = self.keyring()?;
        let record = Record::load(&keyring, self.setup.clock.now_ms())?;
        let Some(Record {
            index,
            written: Some(written),
            ..
        }) = record.filter(|_| has_tpm_slot(&keyring))
        else {
            return Ok(Reply::Anchored(Anchored::Never));
        };
        let Some(tpm) = self.setup.tpm.plain() else {
            return Ok(Reply::Anchored(Anchored::Unknown(
                self.setup.tpm.status.sentence.clone(),
            )));
        };
        let key = asking_key(&keyring).map_err(|error| disk(&error))?;
        Ok(Reply::Anchored(match tpm.in_tpm(|tpm| tpm.read_anchor(index, &key)) {
            Ok(anchor) => Anchored::At {
                anchor,
                put_back: anchor != written
                    && (anchor.commit, anchor.audit_entries) < (written.commit, written.audit_entries),
            },
            Err(AnchorError::Tpm(error)) => Anchored::Unknown(error.to_string()),
            Err(error) => Anchored::Gone(error.to_string()),
        }))
    }

    /// Writes the anchor, as far as the budget goes. Nothing is written where it says the same already, or where no slot
    /// is sealed to a TPM. An older one is taken only after somebody has opened the keys by hand in this start.
    pub(crate) fn anchor(&self, anchor: Anchor) -> Result<Reply, Refusal> {
        let keyring = self.keyring()?;
        let Some(tpm) = self.setup.tpm.plain().filter(|_| has_tpm_slot(&keyring)) else {
            return Ok(Reply::Done);
        };
        let now_ms = self.setup.clock.now_ms();
        let key = asking_key(&keyring).map_err(|error| disk(&error))?;
        let by_hand = self.is_by_hand();
        let mut record = match Record::load(&keyring, now_ms)? {
            Some(record) => record,
            None => {
                let found = tpm.in_tpm(|tpm| free_index(tpm, self.setup.on_box));
                let record = Record::new(found.map_err(|error| refused(&error))?, now_ms);
                // Before the index is made, so that none is forgotten in the TPM.
                record.store(&keyring)?;
                record
            }
        };
        match &record.written {
            Some(written) if *written == anchor && !by_hand => return Ok(Reply::Done),
            Some(written) if anchor.commit < written.commit && !by_hand => {
                let sentence = "the anchor is never set back, but by somebody who opened the keys by hand";
                return Err(Refusal(Reason::NotAllowed, sentence.to_owned()));
            }
            _ => {}
        }
        if !record.budget.take(now_ms) {
            let sentence = "the TPM's memory is spared: the anchor is written again within the hour";
            return Err(Refusal(Reason::NotNow, sentence.to_owned()));
        }
        record.writes = record.writes.saturating_add(1);
        // The budget is spent before: a TPM that fails after the write must not be written again and again.
        record.store(&keyring)?;
        let written = write(tpm, &record, &key, &anchor, (by_hand, self.setup.on_box));
        record.index = written.map_err(|error| refused(&error))?;
        record.written = Some(anchor);
        record.store(&keyring)?;
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
        let Some(record) = Record::load(keyring, self.setup.clock.now_ms())? else {
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

    /// Waits until somebody opens the keys by hand, which they may have done in this start, or the exchange that waits is
    /// gone. Then the database goes on as a new epoch, and its audit log as another one, once in a start: whoever has
    /// taken over the exchange later gets no log of its own by asking again.
    pub(crate) fn await_hand(&self, gone: &AtomicBool) -> Result<Reply, Refusal> {
        self.wait_for_hand(gone)?;
        if !self.log_begins() {
            return Ok(Reply::Done);
        }
        self.with_notary(audit::allow_another_log)
    }

    fn wait_for_hand(&self, gone: &AtomicBool) -> Result<(), Refusal> {
        let mut state = self.keys.lock();
        loop {
            match &mut *state {
                Keys::Open { hand: true, .. } => return Ok(()),
                Keys::Open { wanted, .. } => {
                    *wanted = true;
                    self.wait(&mut state, gone)?;
                }
                _ => return Err(Refusal(Reason::NotNow, "the keys are not open".to_owned())),
            }
        }
    }

    fn is_by_hand(&self) -> bool {
        matches!(&*self.keys.lock(), Keys::Open { hand: true, .. })
    }
}

/// Answers the index, which is another one if the former is not ours any more and `anew`. `owns_tpm`: see [`free_index`].
fn write(
    tpm: &TpmSealer,
    record: &Record,
    key: &Secret<32>,
    anchor: &Anchor,
    (anew, owns_tpm): (bool, bool),
) -> Result<u32, AnchorError> {
    tpm.in_tpm(|tpm| {
        let index = record.index;
        if record.written.is_none() || anew {
            match tpm
                .ensure_anchor(index, key)
                .and_then(|()| tpm.write_anchor(index, key, anchor))
            {
                Err(AnchorError::Foreign(_) | AnchorError::AnotherInstallation) => {}
                other => return other.map(|()| index),
            }
            let index = free_index(tpm, owns_tpm)?;
            tpm.ensure_anchor(index, key)?;
            tpm.write_anchor(index, key, anchor)?;
            return Ok(index);
        }
        tpm.write_anchor(index, key, anchor).map(|()| index)
    })
}

/// Called where the keyring has no anchor of its own. Where the machine has one installation (`owns_tpm`), anchors of
/// set-ups that were given up make room if there is none.
fn free_index(tpm: &mut Tpm, owns_tpm: bool) -> Result<u32, AnchorError> {
    if let Some(index) = first_free(tpm)? {
        return Ok(index);
    }
    if owns_tpm && tpm.reclaim_anchors(INDICES, &[])? > 0 {
        tracing::info!("anchors of installations that are given up went out of the TPM");
    }
    first_free(tpm)?.ok_or(AnchorError::Foreign(*INDICES.end()))
}

fn first_free(tpm: &mut Tpm) -> Result<Option<u32>, AnchorError> {
    for index in INDICES {
        if !tpm.has_index(index)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<[u8; ANCHOR_BYTES]> {
    let mut bytes = [0u8; ANCHOR_BYTES];
    if digits.len() != 2 * ANCHOR_BYTES {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        let pair = digits.get(2 * place..2 * place + 2)?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::Record;
    use lamchat_tpm::Anchor;

    #[test]
    fn the_record_keeps_its_counts() {
        let mut record = Record::new(0x0180_4C21, 1000);
        assert_eq!(Record::parse(&record.text(), 1000), Some(record));
        record.written = Some(Anchor {
            audit_head: [3; 32],
            audit_entries: 5,
            commit: 6,
        });
        record.writes = 9;
        let spent = (0..50).filter(|_| record.budget.take(1000)).count();
        assert_eq!(spent, 24);
        let mut back = Record::parse(&record.text(), 1001).unwrap_or_else(|| Record::new(0, 0));
        assert_eq!((back.written, back.writes), (record.written, 9));
        // A restart gives no writes, and neither does a clock that was set back.
        assert!(!back.budget.take(1001));
        assert!(!Record::parse(&record.text(), 0).is_some_and(|mut record| record.budget.take(0)));
        assert!(back.budget.take(1000 + 3_600_000));
        assert_eq!(Record::parse("1\n\n0\n0\n0\n", 0), None);
    }
}
