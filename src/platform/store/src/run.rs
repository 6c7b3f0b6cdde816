//! A run: rows of one table, sorted by key, that are kept in memory until they enter redb's table together (see `runs`).
//!
//! Its text is what redb keeps of it (FORMAT.md, "Runs").

use crate::Bytes;
use crate::filter::{Filter, key_hash};
pub(crate) use crate::packed::RunRow;
use crate::packed::{Packed, first_row, write_row};
use std::ops::Bound;

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

    /// The filter of its keys.
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Run, RunRow};
    use crate::filter::key_hash;
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
}
