//! A run: rows of one table, sorted by key, that are kept in memory until they enter redb's table together (see `runs`).
//!
//! Its text is what redb keeps of it (FORMAT.md, "Runs").

use crate::Bytes;
use crate::codec::Cut;
use std::ops::Bound;

/// Stands for the length of the value of a deleted row.
const DELETED: u32 = u32::MAX;
/// Bits of the filter for each row: four probes of ten bits pass one foreign key in 85.
const FILTER_BITS: usize = 10;

/// Rows of one table.
#[derive(Default)]
pub(crate) struct Run {
    text: Vec<u8>,
    /// Where in the text each row begins.
    starts: Vec<u32>,
    filter: Filter,
}

/// A row: key, value; `None` is a deletion.
pub(crate) type RunRow<'r> = (&'r [u8], Option<&'r [u8]>);

impl Run {
    /// Of rows in the order of their keys.
    pub(crate) fn new<'r>(rows: impl Iterator<Item = RunRow<'r>>) -> Self {
        let (mut text, mut starts) = (Vec::new(), Vec::new());
        for (key, value) in rows {
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(DELETED);
            starts.push(length(&text));
            text.extend_from_slice(&length(key).to_le_bytes());
            text.extend_from_slice(&value.map_or(DELETED, length).to_le_bytes());
            text.extend_from_slice(key);
            text.extend_from_slice(value.unwrap_or_default());
        }
        text.shrink_to_fit();
        starts.shrink_to_fit();
        Self::whole(text, starts)
    }

    /// From its text; `None` if that is malformed.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let (mut starts, mut rest, mut last) = (Vec::new(), text, None);
        while !rest.is_empty() {
            starts.push(u32::try_from(text.len() - rest.len()).ok()?);
            let ((key, _), tail) = first_row(rest)?;
            if last.is_some_and(|last| last >= key) {
                return None;
            }
            (rest, last) = (tail, Some(key));
        }
        Some(Self::whole(text.to_vec(), starts))
    }

    fn whole(text: Vec<u8>, starts: Vec<u32>) -> Self {
        let mut run = Self {
            filter: Filter::of_size(starts.len()),
            text,
            starts,
        };
        let mut filter = std::mem::take(&mut run.filter);
        for (key, _) in run.rows() {
            filter.add(key_hash(key));
        }
        run.filter = filter;
        run
    }

    /// The rows of `newer` and `older` as one run.
    pub(crate) fn merged(newer: &Self, older: &Self) -> Self {
        let (mut newer, mut older) = (newer.rows().peekable(), older.rows().peekable());
        Self::new(std::iter::from_fn(move || match (newer.peek(), older.peek()) {
            (Some((new, _)), Some((old, _))) => {
                let order = new.cmp(old);
                if order.is_eq() {
                    older.next();
                }
                if order.is_gt() { older.next() } else { newer.next() }
            }
            (None, _) => older.next(),
            (_, None) => newer.next(),
        }))
    }

    /// What it is in redb.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// How many rows it has.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The row at a place.
    pub(crate) fn row(&self, index: usize) -> Option<RunRow<'_>> {
        let start = usize::try_from(*self.starts.get(index)?).ok()?;
        first_row(self.text.get(start..)?).map(|(row, _)| row)
    }

    /// All rows in the order of their keys.
    pub(crate) fn rows(&self) -> impl Iterator<Item = RunRow<'_>> {
        (0..self.len()).map_while(|index| self.row(index))
    }

    /// The row under `key`, whose hash is `hash`: `None` if this run does not know it.
    pub(crate) fn find(&self, key: &[u8], hash: u64) -> Option<Option<Bytes>> {
        if !self.filter.may_have(hash) {
            return None;
        }
        let (found, value) = self.row(self.place(key, false))?;
        (found == key).then(|| value.map(Bytes::copy_from_slice))
    }

    /// The places of the rows within bounds: the first one, and the one after the last.
    pub(crate) fn range(&self, (from, to): (Bound<&[u8]>, Bound<&[u8]>)) -> (usize, usize) {
        let low = match from {
            Bound::Included(key) => self.place(key, false),
            Bound::Excluded(key) => self.place(key, true),
            Bound::Unbounded => 0,
        };
        let high = match to {
            Bound::Included(key) => self.place(key, true),
            Bound::Excluded(key) => self.place(key, false),
            Bound::Unbounded => self.len(),
        };
        (low, high.max(low))
    }

    /// The first place whose key is not before `key`, or (`after`) comes after it.
    fn place(&self, key: &[u8], after: bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let goes_on = self
                .row(middle)
                .is_some_and(|(found, _)| found < key || (after && found == key));
            if goes_on {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// The first row of a text, and what follows.
fn first_row(text: &[u8]) -> Option<(RunRow<'_>, &[u8])> {
    let mut cut = Cut(text);
    let (key_length, value_length) = (cut.length()?, cut.u32()?);
    let key = cut.bytes(key_length)?;
    let value = match value_length {
        DELETED => None,
        length => Some(cut.bytes(usize::try_from(length).ok()?)?),
    };
    Some(((key, value), cut.0))
}

/// The hash of a key for [`Run::find`]. It need not withstand anybody: a filter that passes too much costs a search.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    let mut hash = 0x51_7C_C1_B7_27_22_0A_95u64;
    for part in key.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(part) {
            *to = *from;
        }
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    hash ^ (hash >> 32)
}

/// A Bloom filter: most keys that a run does not have are known by it without a search.
#[derive(Default)]
struct Filter(Vec<u64>);

impl Filter {
    fn of_size(rows: usize) -> Self {
        Self(vec![0; (rows * FILTER_BITS).div_ceil(64)])
    }

    /// Word and bit of each probe.
    fn probes(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let words = self.0.len() as u64;
        (0..4u32).map(move |probe| {
            let mixed = hash.rotate_left(probe * 16).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let word = (u128::from(mixed) * u128::from(words)) >> 64;
            (usize::try_from(word).unwrap_or(0), 1 << (mixed & 63))
        })
    }

    fn add(&mut self, hash: u64) {
        for (word, bit) in self.probes(hash) {
            if let Some(word) = self.0.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn may_have(&self, hash: u64) -> bool {
        self.probes(hash)
            .all(|(word, bit)| self.0.get(word).is_some_and(|word| word & bit != 0))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Run, RunRow, key_hash};
    use std::ops::Bound;

    fn run(rows: &[RunRow<'_>]) -> Run {
        Run::new(rows.iter().copied())
    }

    #[test]
    fn the_newer_row_wins_and_the_text_comes_back() {
        let older = run(&[(b"a", Some(b"1")), (b"b", Some(b"1")), (b"d", None)]);
        let newer = run(&[(b"b", None), (b"c", Some(b"2")), (b"d", Some(b"2"))]);
        let merged = Run::merged(&newer, &older);
        let expected: [RunRow<'_>; 4] = [(b"a", Some(b"1")), (b"b", None), (b"c", Some(b"2")), (b"d", Some(b"2"))];
        assert!(merged.rows().eq(expected));
        let again = Run::read(merged.text()).unwrap();
        assert!(again.rows().eq(expected));
        assert_eq!(again.find(b"b", key_hash(b"b")), Some(None));
        assert_eq!(again.find(b"c", key_hash(b"c")), Some(Some("2".into())));
        assert_eq!(again.find(b"bb", key_hash(b"bb")), None);
        assert_eq!(again.range((Bound::Included(b"b"), Bound::Excluded(b"d"))), (1, 3));
        assert_eq!(again.range((Bound::Excluded(b"d"), Bound::Unbounded)), (4, 4));
    }

    #[test]
    fn malformed_texts_are_refused() {
        let whole = run(&[(b"a", Some(b"1")), (b"b", None)]);
        for cut in 1..whole.text().len() {
            let cut_off = Run::read(whole.text().get(..cut).unwrap());
            assert!(cut_off.is_none_or(|run| run.len() == 1));
        }
        let text = [whole.text(), whole.text()].concat();
        assert!(Run::read(&text).is_none(), "keys must rise");
    }

    #[test]
    fn filters_pass_few_foreign_keys() {
        let keys: Vec<[u8; 16]> = (0..4000u128)
            .map(|n| (n * 0x1234_5678_9ABC_DEF1).to_be_bytes())
            .collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        let run = Run::new(sorted.iter().map(|key| (key.as_slice(), Some(b"v".as_slice()))));
        assert!(keys.iter().all(|key| run.find(key, key_hash(key)).is_some()));
        let foreign = (5000..15_000u128).map(|n| (n * 0x1234_5678_9ABC_DEF1).to_be_bytes());
        let passed = foreign.filter(|key| run.filter.may_have(key_hash(key))).count();
        assert!(passed < 500, "{passed} of 10000");
    }
}
