//! A run: rows of one table, sorted by key, that are kept in memory until they enter redb's table together (see `runs`).
//!
//! Its text is what redb keeps of it (FORMAT.md, "Runs").

use crate::Bytes;
pub(crate) use crate::packed::RunRow;
use crate::packed::{Packed, first_row, write_row};
use std::ops::Bound;

/// Bits of the filter for each row: four probes of ten bits pass one foreign key in 85.
const FILTER_BITS: usize = 10;

/// Rows of one table.
#[derive(Default)]
pub(crate) struct Run {
    rows: Packed,
    filter: Filter,
}

impl Run {
    /// Of rows in the order of their keys.
    pub(crate) fn new<'r>(rows: impl Iterator<Item = RunRow<'r>> + Clone) -> Self {
        let size = |(key, value): RunRow<'_>| key.len() + value.map_or(0, <[u8]>::len);
        let mut packed = Packed::of_size(rows.clone().map(size).sum());
        rows.for_each(|row| packed.push(row));
        Self::of(packed)
    }

    /// From its text; `None` if that is malformed.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        // The allocator gives nothing back of a vector that grew to less than twice its size: its size is told before.
        let size = first_row(text).map_or(0, |((key, value), tail)| {
            let own = key.len() + value.map_or(0, <[u8]>::len);
            text.len() / (text.len() - tail.len()) * own
        });
        let (mut packed, mut rest, mut last) = (Packed::of_size(size), text, None);
        while !rest.is_empty() {
            let (row, tail) = first_row(rest)?;
            if last.is_some_and(|last| last >= row.0) {
                return None;
            }
            packed.push(row);
            (rest, last) = (tail, Some(row.0));
        }
        Some(Self::of(packed))
    }

    fn of(mut rows: Packed) -> Self {
        rows.shrink();
        let mut filter = Filter::of_size(rows.len());
        for (key, _) in (0..rows.len()).map_while(|index| rows.row(index)) {
            filter.add(key_hash(key));
        }
        Self { rows, filter }
    }

    /// The rows of `newer` and `older` as one run.
    pub(crate) fn merged(newer: &Self, older: &Self) -> Self {
        let mut packed = Packed::of_size(newer.rows.size() + older.rows.size());
        let (mut newer, mut older) = (newer.rows().peekable(), older.rows().peekable());
        let both = std::iter::from_fn(move || match (newer.peek(), older.peek()) {
            (Some((new, _)), Some((old, _))) => {
                let order = new.cmp(old);
                if order.is_eq() {
                    older.next();
                }
                if order.is_gt() { older.next() } else { newer.next() }
            }
            (None, _) => older.next(),
            (_, None) => newer.next(),
        });
        both.for_each(|row| packed.push(row));
        Self::of(packed)
    }

    /// What it is in redb.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.rows().for_each(|row| write_row(&mut text, row));
        text
    }

    /// How many rows it has.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row at a place.
    pub(crate) fn row(&self, index: usize) -> Option<RunRow<'_>> {
        self.rows.row(index)
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
        let again = Run::read(&merged.text()).unwrap();
        assert!(again.rows().eq(expected));
        assert_eq!(again.find(b"b", key_hash(b"b")), Some(None));
        assert_eq!(again.find(b"c", key_hash(b"c")), Some(Some("2".into())));
        assert_eq!(again.find(b"bb", key_hash(b"bb")), None);
        assert_eq!(again.range((Bound::Included(b"b"), Bound::Excluded(b"d"))), (1, 3));
        assert_eq!(again.range((Bound::Excluded(b"d"), Bound::Unbounded)), (4, 4));
    }

    #[test]
    fn rows_come_back_whatever_their_lengths_are() {
        let even: [RunRow<'_>; 3] = [(b"a", Some(b"12")), (b"b", Some(b"34")), (b"c", Some(b"56"))];
        let empty: [RunRow<'_>; 2] = [(b"", Some(b"")), (b"a", Some(b""))];
        let other_key: [RunRow<'_>; 2] = [(b"a", Some(b"12")), (b"ab", Some(b"34"))];
        let deleted: [RunRow<'_>; 3] = [(b"a", None), (b"b", Some(b"12")), (b"c", None)];
        let nothing: [RunRow<'_>; 1] = [(b"", Some(b""))];
        let all: [&[RunRow<'_>]; 6] = [&even, &empty, &other_key, &deleted, &nothing, &[]];
        for rows in all {
            for upto in 0..=rows.len() {
                let rows = rows.get(..upto).unwrap();
                let run = run(rows);
                assert_eq!(run.len(), rows.len());
                assert!(run.rows().eq(rows.iter().copied()));
                assert_eq!(run.row(rows.len()), None);
                assert!(Run::read(&run.text()).unwrap().rows().eq(rows.iter().copied()));
                for (key, value) in rows {
                    assert_eq!(
                        run.find(key, key_hash(key)),
                        Some(value.map(bytes::Bytes::copy_from_slice))
                    );
                }
            }
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        let whole = run(&[(b"a", Some(b"1")), (b"b", None)]);
        for cut in 1..whole.text().len() {
            let cut_off = Run::read(whole.text().get(..cut).unwrap());
            assert!(cut_off.is_none_or(|run| run.len() == 1));
        }
        let text = whole.text().repeat(2);
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
