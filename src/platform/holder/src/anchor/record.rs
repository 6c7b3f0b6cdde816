//! What is kept of the anchor beside the keyring: where it is in the TPM, what was written last, and how often.

use super::{INDICES, disk};
use crate::state::Refusal;
use lamchat_base::SecretBytes;
use lamchat_seal::Keyring;
use lamchat_tpm::{ANCHOR_BYTES, Anchor, WriteBudget};

/// One write an hour in the long run.
const WRITE_INTERVAL_MS: u64 = 3600 * 1000;
/// And so many at once, for critical acts and starts in a row.
const WRITES_SAVED_MAX: u32 = 24;
/// The holder's own secret with the record.
pub(super) const RECORD: &str = "anchor";

/// What is kept: `index`, `written` (hexadecimal), `writes`, `saved`, `until`, a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub index: u32,
    /// `None` until the first write is done.
    pub written: Option<Anchor>,
    /// How often this keyring has written it.
    pub writes: u64,
    pub budget: WriteBudget,
}

impl Record {
    pub fn new(index: u32, now_ms: u64) -> Self {
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

    pub fn load(keyring: &Keyring, now_ms: u64) -> Result<Option<Self>, Refusal> {
        let Some(kept) = keyring.own(RECORD).map_err(|error| disk(&error))? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(kept.expose()).ok();
        let record = text.and_then(|text| Self::parse(text, now_ms));
        record
            .map(Some)
            .ok_or_else(|| disk(&"what is kept of the anchor is malformed"))
    }

    pub fn store(&self, keyring: &Keyring) -> Result<(), Refusal> {
        let kept = keyring.keep_own(RECORD, &SecretBytes::new(self.text().into_bytes()));
        kept.map_err(|error| disk(&error))
    }
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
