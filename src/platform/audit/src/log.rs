//! The log in the store: entries, and the hashes of all complete subtrees.
//!
//! An append writes the entry, its leaf hash, and one node more on average; it reads one row for each of the latter. Its
//! proofs read a number of rows that grows with the logarithm of the log's length (squared, at worst).

use crate::entry::{Entry, EntryError};
use crate::tree::{Frontier, Hash, consistency_proof, leaf_hash, node_hash, peaks_of};
use lamchat_store::{Key, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, Table, Topic, WriteTxn};

/// Number of the entry (8 bytes) → the entry.
const ENTRY: Table = Table::new(208, "audit.entry");
/// Level (1 byte; 0: leaves) and number in that level (8 bytes) → the root of that complete subtree, 32 bytes.
const NODE: Table = Table::new(209, "audit.node");
/// `log` → which log this is; `head` → the newest signed checkpoint.
pub(crate) const META: Table = Table::new(210, "audit.meta");
/// Name of a witness's key → the newest checkpoint that it signed.
pub(crate) const WITNESSED: Table = Table::new(211, "audit.witnessed");

/// The tables of this crate.
pub const TABLES: &[Table] = &[ENTRY, NODE, META, WITNESSED];

/// Touched by every append.
pub const APPENDED: Topic = Topic { kind: 4, id: 0 };

/// Appends an entry, in the transaction of the act that it tells of: both are there or none. Answers its number.
pub fn append(txn: &mut WriteTxn<'_>, entry: &Entry) -> Result<u64, ReadError> {
    let number = size(txn)?;
    let bytes = entry.encode();
    let mut hash = leaf_hash(&bytes);
    txn.put(ENTRY, &Key::new().u64(number), bytes);
    let (mut level, mut index) = (0u8, number);
    put_node(txn, level, index, hash);
    // A subtree that is complete now, with its left neighbour, completes the one above them.
    while index & 1 == 1 {
        hash = node_hash(&node(txn, level, index - 1)?, &hash);
        (level, index) = (level + 1, index >> 1);
        put_node(txn, level, index, hash);
    }
    txn.touch(APPENDED);
    Ok(number)
}

/// How many entries there are.
pub fn size(read: &dyn Read) -> Result<u64, ReadError> {
    let Some((key, _)) = read.first(ENTRY, &KeyRange::all(), Order::Descending)? else {
        return Ok(0);
    };
    Ok(number_of(&key)? + 1)
}

/// The tree of the first `size` entries, which must be there.
pub fn frontier(read: &dyn Read, size: u64) -> Result<Frontier, ReadError> {
    Frontier::with_peaks(size, peaks(read, size)?).ok_or_else(|| malformed(NODE, "a tree without its peaks"))
}

/// The roots of the complete subtrees of the first `size` entries, the largest first.
pub(crate) fn peaks(read: &dyn Read, size: u64) -> Result<Vec<Hash>, ReadError> {
    peaks_of(size)
        .into_iter()
        .map(|(level, index)| node(read, level, index))
        .collect()
}

/// The proof that the first `first` entries are the beginning of the first `second`.
pub fn consistency(read: &dyn Read, first: u64, second: u64) -> Result<Vec<Hash>, ReadError> {
    consistency_proof(first, second, &mut |level, index| node(read, level, index))
}

/// Entries as they were written, from number `since` on, at most `limit`: number and bytes.
pub fn raw_entries(read: &dyn Read, since: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
    let range = KeyRange {
        start: Key::new().u64(since).to_vec(),
        end: None,
    };
    let rows = read.rows(ENTRY, &range, Order::Ascending, limit)?;
    let entries = rows
        .into_iter()
        .map(|(key, value)| Ok((number_of(&key)?, value.to_vec())));
    entries.collect()
}

/// Entries, from number `since` on, at most `limit`.
pub fn entries(read: &dyn Read, since: u64, limit: usize) -> Result<Vec<(u64, Entry)>, ReadError> {
    let decode = |(number, bytes): (u64, Vec<u8>)| {
        let entry = Entry::decode(&bytes).map_err(|error: EntryError| malformed(ENTRY, &error.to_string()))?;
        Ok((number, entry))
    };
    raw_entries(read, since, limit)?.into_iter().map(decode).collect()
}

fn number_of(key: &[u8]) -> Result<u64, ReadError> {
    let number = KeyReader::new(key).u64();
    number.ok_or_else(|| malformed(ENTRY, "a key that is no number"))
}

fn put_node(txn: &mut WriteTxn<'_>, level: u8, index: u64, hash: Hash) {
    txn.put(NODE, &Key::new().u8(level).u64(index), hash.to_vec());
}

fn node(read: &dyn Read, level: u8, index: u64) -> Result<Hash, ReadError> {
    let row = read.get(NODE, &Key::new().u8(level).u64(index))?;
    let hash = row.and_then(|row| Hash::try_from(&row[..]).ok());
    hash.ok_or_else(|| malformed(NODE, &format!("no hash at level {level}, number {index}")))
}

pub(crate) fn malformed(table: Table, detail: &str) -> ReadError {
    ReadError::Malformed {
        table: table.name,
        detail: detail.to_owned(),
    }
}
