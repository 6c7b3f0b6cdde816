//! The proof that one entry is in the log: C2SP tlog-proof (c2sp.org/tlog-proof), which says nothing of the other entries.
//! Pure.

use crate::entry::Entry;
use crate::note::Note;
use crate::tree::{Frontier, Hash, inclusion_proof};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::convert::Infallible;

/// "The first line MUST be the string …"
const MAGIC: &str = "c2sp.org/tlog-proof@v1";

/// The proof for entry `number` of the log that has these `leaves`, under its signed `checkpoint`; `None` if there is no
/// such entry. The entry itself is the extra data, so that the file stands alone: a reader hashes it and compares.
pub fn text(number: u64, entry: &Entry, leaves: &[Hash], checkpoint: &Note) -> Option<String> {
    let size = u64::try_from(leaves.len()).ok()?;
    let mut node = |level: u8, index: u64| Ok::<_, Infallible>(root_at(leaves, level, index));
    let Ok(proof) = inclusion_proof(number, size, &mut node);
    let mut text = format!(
        "{MAGIC}\nextra {}\nindex {number}\n",
        BASE64_STANDARD.encode(entry.encode())
    );
    for hash in proof? {
        text.push_str(&BASE64_STANDARD.encode(hash));
        text.push('\n');
    }
    Some(format!("{text}\n{checkpoint}"))
}

/// The root of the complete subtree number `index` of 2^`level` leaves.
fn root_at(leaves: &[Hash], level: u8, index: u64) -> Hash {
    let (start, count) = (usize::try_from(index << level).unwrap_or(usize::MAX), 1usize << level);
    let mut tree = Frontier::default();
    leaves.iter().skip(start).take(count).for_each(|leaf| tree.push(*leaf));
    tree.root()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::text;
    use crate::checkpoint::{Checkpoint, parse_hash};
    use crate::entry::{Actor, Entry};
    use crate::note::Note;
    use crate::tree::{Frontier, Hash, is_included, leaf_hash};

    #[test]
    fn every_entry_has_its_proof() {
        let entries: Vec<Entry> = (0..21)
            .map(|number| Entry::new(number, Actor::Server, "user.add"))
            .collect();
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(&entry.encode())).collect();
        let mut tree = Frontier::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        let checkpoint = Checkpoint {
            origin: "example.org/audit/1".to_owned(),
            size: 21,
            root: tree.root(),
        };
        let note = Note {
            text: checkpoint.to_string(),
            signatures: Vec::new(),
        };
        for (number, entry) in (0..).zip(&entries) {
            let text = text(number, entry, &leaves, &note).unwrap();
            let (proof, _) = text.split_once("\n\n").unwrap();
            let lines: Vec<&str> = proof.split('\n').collect();
            assert_eq!(lines.get(2), Some(&&*format!("index {number}")));
            let path: Vec<Hash> = lines.iter().skip(3).map(|line| parse_hash(line).unwrap()).collect();
            assert!(is_included(
                number,
                &leaf_hash(&entry.encode()),
                21,
                &tree.root(),
                &path
            ));
        }
        assert_eq!(text(21, entries.first().unwrap(), &leaves, &note), None);
    }
}
