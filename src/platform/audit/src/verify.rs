//! What an auditor's machine does, offline: computes the root from the entries themselves and compares it with what was
//! signed, now and earlier. Pure: no file, no clock, no store; `tree`, `entry`, `note`, `checkpoint`, `key` and `export`
//! are all that it stands on.

use crate::change::{Chain, Span};
use crate::checkpoint::{Checkpoint, NotACheckpoint};
use crate::entry::{Entry, EntryError};
use crate::export::{EXPORT_MAGIC, Export, ExportError};
use crate::key::{BadSignature, VerifierKey};
use crate::note::{Note, NoteError};
use crate::tree::{Hash, is_consistent, leaf_hash};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::collections::BTreeMap;

/// What the auditor brings along.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The log's key, from an earlier visit; without it the file's own is taken, and the verdict says so.
    pub key: Option<VerifierKey>,
    /// Keys of witnesses whose signatures are to be checked.
    pub witnesses: Vec<VerifierKey>,
    /// Checkpoints that were seen earlier: signed notes, or the ends of exports.
    pub previous: Vec<Note>,
    /// Whether to follow the log to its fallback key, which the key before it did not sign for: once it is known that a
    /// TPM was removed or broke.
    pub accept_fallback: bool,
}

/// What was found. Everything in it has been verified.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The head.
    pub checkpoint: Checkpoint,
    /// The key that signed it.
    pub key: VerifierKey,
    /// All keys that signed this log, the one of now last.
    pub keys: Vec<Span>,
    /// Whether [`Trust::key`] said so, or leads to it; if not, the file itself did.
    pub is_key_pinned: bool,
    /// The number of the first entry that was checked.
    pub start: u64,
    /// The entries from `start` on.
    pub entries: Vec<Entry>,
    /// Sizes of the earlier checkpoints with which the log is consistent, the ones of witnesses included.
    pub consistent_with: Vec<u64>,
    /// Signatures of known witnesses: name, size of the tree, time in seconds since 1970.
    pub witnesses: Vec<(String, u64, u64)>,
}

/// Why a log is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The file is no export.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// An earlier checkpoint, or one of a witness, is none.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The signed text is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] NotACheckpoint),
    /// The checkpoint is of another log than the key.
    #[error("the checkpoint is of the log {found}, but the key is of {expected}")]
    OtherLog {
        /// The key's name.
        expected: String,
        /// The checkpoint's origin.
        found: String,
    },
    /// The log's own signature is missing.
    #[error("the checkpoint of size {0} is not signed by the log's key")]
    Unsigned(u64),
    /// It is signed, but by a key that was not the log's key then.
    #[error("the checkpoint of size {0} is signed by a key that was not the log's key at that size")]
    Replaced(u64),
    /// A change of the key is not what it claims to be.
    #[error("the change of the log's key at entry {number} is not signed, or not announced, as it has to be")]
    KeyChange {
        /// The number of its entry.
        number: u64,
    },
    /// The key changed, and the one before did not sign for that.
    #[error(
        "from the checkpoint of size {size} on another key signs ({kind}). The key before did not sign that it takes over, but had named it as its fallback: once you know that the TPM was removed or broke, say --accept-fallback"
    )]
    Fallback {
        /// Size of the first checkpoint of the new key.
        size: u64,
        /// What the new key is, as the log says.
        kind: String,
    },
    /// A signature is wrong.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// An entry does not parse.
    #[error("entry {number}: {source}")]
    Entry {
        /// Its number in the log.
        number: u64,
        /// What is wrong with it.
        source: EntryError,
    },
    /// Entries were left out or added.
    #[error("the checkpoint is of {signed} entries, but the file ends after entry number {found}")]
    Size {
        /// What was signed.
        signed: u64,
        /// What is there: entries before the file's first one included.
        found: u64,
    },
    /// Entries were changed, exchanged or reordered.
    #[error("the entries do not have the root that was signed: an entry was changed, exchanged or moved")]
    Root,
    /// The log is shorter than it was.
    #[error("the log had {earlier} entries before and has {now} now: entries were cut off")]
    Shrunk {
        /// In the earlier checkpoint.
        earlier: u64,
        /// Now.
        now: u64,
    },
    /// The log is another than it was.
    #[error("the log is not the continuation of its checkpoint of size {0}: its history was changed")]
    Forked(u64),
    /// The file begins after the earlier checkpoint.
    #[error(
        "consistency with the checkpoint of size {earlier} cannot be told: the file begins at entry {start}. Export with --since {earlier} or less"
    )]
    BeginsLater {
        /// Size of the earlier checkpoint.
        earlier: u64,
        /// First entry of the file.
        start: u64,
    },
}

/// Verifies an export.
pub fn verify(file: &str, trust: &Trust) -> Result<Verdict, VerifyError> {
    let export = Export::parse(file)?;
    let changes: Vec<_> = export.changes.iter().map(|(change, _)| change.clone()).collect();
    let chain = Chain::follow(export.key.name(), &export.key, &changes)?;
    let key = trust.key.clone().unwrap_or_else(|| export.key.clone());
    if chain.unvouched_after(&key).is_none() {
        // Not a key of this log, or not one that leads to its present one: the reason is the one of a log without changes.
        signed_by(&key, &export.checkpoint)?;
        return Err(VerifyError::Unsigned(Checkpoint::parse(&export.checkpoint.text)?.size));
    }
    if let Some(Some(span)) = chain.unvouched_after(&key).filter(|_| !trust.accept_fallback) {
        return Err(VerifyError::Fallback {
            size: span.from,
            kind: span.kind.clone().unwrap_or_default(),
        });
    }
    let checkpoint = chain.signed_by(&export.checkpoint)?;

    // Checkpoints that the log has to continue, each with a proof that counts where its entries do not reach.
    let mut witnessed = Vec::new();
    for (change, proof) in &export.changes {
        witnessed.push((chain.signed_by(&change.note)?, proof));
    }
    for (note, proof) in &export.witnessed {
        witnessed.push((chain.signed_by(note)?, proof));
    }
    let mut previous = Vec::new();
    for note in &trust.previous {
        previous.push(chain.signed_by(note)?);
    }

    // The roots at these sizes are computed on the way.
    let start = export.before.size();
    let mut roots: BTreeMap<u64, Option<Hash>> = BTreeMap::new();
    for earlier in witnessed.iter().map(|(earlier, _)| earlier).chain(&previous) {
        roots.insert(earlier.size, None);
    }
    let (mut tree, mut entries) = (export.before.clone(), Vec::with_capacity(export.entries.len()));
    for line in &export.entries {
        let number = tree.size();
        if let Some(root) = roots.get_mut(&number) {
            *root = Some(tree.root());
        }
        let malformed = |source| VerifyError::Entry { number, source };
        let bytes = BASE64_STANDARD
            .decode(line)
            .map_err(|_| malformed(EntryError::Malformed))?;
        entries.push(Entry::decode(&bytes).map_err(malformed)?);
        tree.push(leaf_hash(&bytes));
    }
    if tree.size() != checkpoint.size {
        return Err(VerifyError::Size {
            signed: checkpoint.size,
            found: tree.size(),
        });
    }
    if tree.root() != checkpoint.root {
        return Err(VerifyError::Root);
    }
    if let Some(root) = roots.get_mut(&tree.size()) {
        *root = Some(tree.root());
    }

    let root_at = |size: u64| roots.get(&size).copied().flatten();
    let mut consistent_with = Vec::new();
    for (earlier, proof) in &witnessed {
        let is_same = match root_at(earlier.size) {
            Some(root) => root == earlier.root,
            None => is_consistent(earlier.size, &earlier.root, checkpoint.size, &checkpoint.root, proof),
        };
        if !is_same {
            return Err(VerifyError::Forked(earlier.size));
        }
        if export
            .witnessed
            .iter()
            .any(|(note, _)| note.text == earlier.to_string())
        {
            consistent_with.push(earlier.size);
        }
    }
    for earlier in &previous {
        if earlier.size > checkpoint.size {
            return Err(VerifyError::Shrunk {
                earlier: earlier.size,
                now: checkpoint.size,
            });
        }
        let known = witnessed.iter().find(|(known, _)| known.size == earlier.size);
        let root = root_at(earlier.size).or_else(|| known.map(|(known, _)| known.root));
        match root {
            Some(root) if root == earlier.root => consistent_with.push(earlier.size),
            Some(_) => return Err(VerifyError::Forked(earlier.size)),
            None => {
                return Err(VerifyError::BeginsLater {
                    earlier: earlier.size,
                    start,
                });
            }
        }
    }
    consistent_with.sort_unstable();
    consistent_with.dedup();

    let mut witnesses = Vec::new();
    let notes = export.witnessed.iter().map(|(note, _)| note);
    for note in notes.chain(&trust.previous).chain([&export.checkpoint]) {
        let size = Checkpoint::parse(&note.text)?.size;
        for witness in &trust.witnesses {
            if let Some(time_s) = witness.check(note)?.and_then(|signed| signed.time_s) {
                witnesses.push((witness.name().to_owned(), size, time_s));
            }
        }
    }
    witnesses.sort();
    witnesses.dedup();
    Ok(Verdict {
        checkpoint,
        is_key_pinned: trust.key.is_some(),
        key: export.key,
        keys: chain.spans().to_vec(),
        start,
        entries,
        consistent_with,
        witnesses,
    })
}

/// The checkpoint in a file that was kept from an earlier visit: a signed checkpoint, or an export, of which only its
/// checkpoint counts.
pub fn checkpoint_of(file: &str) -> Result<Note, VerifyError> {
    if file.starts_with(EXPORT_MAGIC) {
        return Ok(Export::parse(file)?.checkpoint);
    }
    Ok(Note::parse(file)?)
}

/// The checkpoint of a note that the log's key signed.
pub fn signed_by(key: &VerifierKey, note: &Note) -> Result<Checkpoint, VerifyError> {
    let checkpoint = Checkpoint::parse(&note.text)?;
    if checkpoint.origin != key.name() || !key.is_of_log() {
        return Err(VerifyError::OtherLog {
            expected: key.name().to_owned(),
            found: checkpoint.origin,
        });
    }
    if key.check(note)?.is_none() {
        return Err(VerifyError::Unsigned(checkpoint.size));
    }
    Ok(checkpoint)
}
