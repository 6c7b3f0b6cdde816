//! A shelf: a large run that waits in redb, in blocks (FORMAT.md, "Shelves"). Memory has no more of it than a filter.

use crate::filter::Filter;
use crate::merge::{Bounds, step};
use crate::packed::{RunRow, first_row, write_row};
use crate::run::Run;
use crate::{Bytes, Order, ReadError, Table};
use redb::ReadableTable;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

/// (table id: two bytes, number: eight bytes, big-endian, 0) -> number of rows (eight bytes) and filter. (Table id, number, 1,
/// key of the first row) -> a block: rows as in a run.
pub(crate) const SHELVES: redb::TableDefinition<'static, &[u8], &[u8]> = redb::TableDefinition::new("store.shelves");

/// [`SHELVES`], while it is changed.
pub(crate) type Blocks<'txn> = redb::Table<'txn, &'static [u8], &'static [u8]>;

/// A block with its key and what redb adds fills a page of redb, unless one row alone is longer.
const BLOCK_BYTES: usize = 3_900;

const HEAD: u8 = 0;
const BLOCK: u8 = 1;
const AFTER: u8 = 2;

/// What memory has of a shelf.
pub(crate) struct Shelf {
    table: Table,
    /// The number of the newest run on it.
    pub(crate) number: u64,
    /// How many rows it was given.
    pub(crate) rows: usize,
    filter: Filter,
}

impl Shelf {
    /// Writes a shelf.
    pub(crate) fn write(blocks: &mut Blocks<'_>, table: Table, number: u64, run: &Run) -> Result<Self, redb::Error> {
        let shelf = Self {
            table,
            number,
            rows: run.len(),
            filter: run.filter().clone(),
        };
        let head = [(run.len() as u64).to_le_bytes().as_slice(), &shelf.filter.bytes()].concat();
        blocks.insert(shelf.key(HEAD, &[]).as_slice(), head.as_slice())?;
        let (mut block, mut first) = (Vec::with_capacity(BLOCK_BYTES), None);
        for row in run.rows() {
            let before = block.len();
            write_row(&mut block, row);
            if let Some(key) = first
                && block.len() > BLOCK_BYTES
            {
                let (whole, begun) = block.split_at_checked(before).unwrap_or_default();
                blocks.insert(shelf.key(BLOCK, key).as_slice(), whole)?;
                block = begun.to_vec();
                first = None;
            }
            first.get_or_insert(row.0);
        }
        if let Some(key) = first {
            blocks.insert(shelf.key(BLOCK, key).as_slice(), block.as_slice())?;
        }
        Ok(shelf)
    }

    /// The first shelf of `table` with number `from` or a greater one.
    pub(crate) fn load(
        blocks: &impl ReadableTable<&'static [u8], &'static [u8]>,
        table: Table,
        from: u64,
    ) -> Result<Option<Self>, redb::Error> {
        let (first, end) = (
            shelf_key(table, from, HEAD, &[]),
            shelf_key(table, u64::MAX, AFTER, &[]),
        );
        let Some(row) = blocks.range::<&[u8]>(first.as_slice()..end.as_slice())?.next() else {
            return Ok(None);
        };
        let (key, head) = row?;
        let read = || {
            let number = match key.value().get(2..)?.split_first_chunk::<8>()? {
                (number, [HEAD]) => u64::from_be_bytes(*number),
                _ => return None,
            };
            let (rows, filter) = head.value().split_first_chunk::<8>()?;
            Some(Self {
                table,
                number,
                rows: usize::try_from(u64::from_le_bytes(*rows)).ok()?,
                filter: Filter::read(filter)?,
            })
        };
        let malformed = || redb::Error::Corrupted(format!("a malformed shelf of {}", table.name));
        read().map(Some).ok_or_else(malformed)
    }

    /// The row under `key`, whose hash is `hash`: `None` if this shelf does not know it.
    pub(crate) fn find(
        &self,
        blocks: &impl ReadableTable<&'static [u8], &'static [u8]>,
        key: &[u8],
        hash: u64,
    ) -> Result<Option<Option<Bytes>>, ReadError> {
        if !self.filter.may_have(hash) {
            return Ok(None);
        }
        let (first, last) = (self.key(BLOCK, &[]), self.key(BLOCK, key));
        let found = blocks.range::<&[u8]>(first.as_slice()..=last.as_slice())?.next_back();
        let Some((_, block)) = found.transpose()? else {
            return Ok(None);
        };
        let mut rest = block.value();
        while !rest.is_empty() {
            let ((found, value), tail) = first_row(rest).ok_or_else(|| self.malformed())?;
            match found.cmp(key) {
                Ordering::Less => rest = tail,
                Ordering::Equal => return Ok(Some(value.map(Bytes::copy_from_slice))),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// Removes the blocks of which all rows are before or under `key`, but for the last one of them: it may have more.
    pub(crate) fn remove_until(&self, blocks: &mut Blocks<'_>, key: &[u8]) -> Result<(), redb::Error> {
        let mut keys = Vec::new();
        let (first, last) = (self.key(BLOCK, &[]), self.key(BLOCK, key));
        for row in blocks.range::<&[u8]>(first.as_slice()..=last.as_slice())? {
            keys.push(row?.0.value().to_vec());
        }
        keys.pop();
        for key in keys {
            blocks.remove(key.as_slice())?;
        }
        Ok(())
    }

    /// Removes all of it.
    pub(crate) fn remove(&self, blocks: &mut Blocks<'_>) -> Result<(), redb::Error> {
        let (first, end) = (self.key(HEAD, &[]), self.key(AFTER, &[]));
        blocks.retain_in::<&[u8], _>(first.as_slice()..end.as_slice(), |_, _| false)?;
        Ok(())
    }

    fn key(&self, kind: u8, key: &[u8]) -> Vec<u8> {
        shelf_key(self.table, self.number, kind, key)
    }

    fn malformed(&self) -> ReadError {
        ReadError::Malformed {
            table: self.table.name,
            detail: format!("a block of shelf {}", self.number),
        }
    }
}

fn shelf_key(table: Table, number: u64, kind: u8, key: &[u8]) -> Vec<u8> {
    [table.id.to_be_bytes().as_slice(), &number.to_be_bytes(), &[kind], key].concat()
}

/// A walk over the rows of a shelf.
pub(crate) struct ShelfWalk<'a> {
    shelf: &'a Shelf,
    bounds: Bounds<'a>,
    blocks: redb::Range<'a, &'static [u8], &'static [u8]>,
    block: Vec<u8>,
    /// Where the rows of the block begin that the walk has not come to.
    left: VecDeque<usize>,
    /// Where the row begins at which it stands.
    at: Option<usize>,
}

impl<'a> ShelfWalk<'a> {
    /// Before its first row.
    pub(crate) fn new(
        shelf: &'a Shelf,
        blocks: &'a impl ReadableTable<&'static [u8], &'static [u8]>,
        bounds: Bounds<'a>,
    ) -> Result<Self, ReadError> {
        let mut first = shelf.key(BLOCK, &[]);
        if let Bound::Included(key) | Bound::Excluded(key) = bounds.0 {
            // The block that `key` would be in begins before it.
            let upto = shelf.key(BLOCK, key);
            let found = blocks.range::<&[u8]>(first.as_slice()..=upto.as_slice())?.next_back();
            first = match found.transpose()? {
                Some((key, _)) => key.value().to_vec(),
                None => upto,
            };
        }
        let end = match bounds.1 {
            Bound::Included(key) => Bound::Included(shelf.key(BLOCK, key)),
            Bound::Excluded(key) => Bound::Excluded(shelf.key(BLOCK, key)),
            Bound::Unbounded => Bound::Excluded(shelf.key(AFTER, &[])),
        };
        let range = (Bound::Included(first.as_slice()), end.as_ref().map(Vec::as_slice));
        Ok(Self {
            shelf,
            bounds,
            blocks: blocks.range::<&[u8]>(range)?,
            block: Vec::new(),
            left: VecDeque::new(),
            at: None,
        })
    }

    /// Goes to the next row.
    pub(crate) fn advance(&mut self, order: Order) -> Result<(), ReadError> {
        loop {
            self.at = match order {
                Order::Ascending => self.left.pop_front(),
                Order::Descending => self.left.pop_back(),
            };
            if self.at.is_some() {
                return Ok(());
            }
            let Some((_, block)) = step(&mut self.blocks, order).transpose()? else {
                return Ok(());
            };
            self.block = block.value().to_vec();
            let mut rest = self.block.as_slice();
            while !rest.is_empty() {
                let ((key, _), tail) = first_row(rest).ok_or_else(|| self.shelf.malformed())?;
                if RangeBounds::<[u8]>::contains(&self.bounds, key) {
                    self.left.push_back(self.block.len() - rest.len());
                }
                rest = tail;
            }
        }
    }

    /// The row at which it stands.
    pub(crate) fn row(&self) -> Option<RunRow<'_>> {
        first_row(self.block.get(self.at?..)?).map(|(row, _)| row)
    }
}
