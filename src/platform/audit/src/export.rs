//! The file that `lamchat audit export` writes, and that an auditor takes away: entries, what is needed to compute the
//! tree's root from them, and a signed checkpoint. Pure. FORMAT.md describes it line by line.

use crate::change::{CHANGES_MAX, KeyChange};
use crate::checkpoint::{parse_hash, parse_number};
use crate::key::VerifierKey;
use crate::note::{Note, NoteError};
use crate::tree::{Frontier, Hash, SIZE_MAX};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The first line.
pub const EXPORT_MAGIC: &str = "lamchat-audit-export/1";
/// Longest file that is read. A longer log is exported in parts, with `--since`.
pub const EXPORT_BYTES_MAX: usize = 256 << 20;
/// Most checkpoints of witnesses in a file.
pub const WITNESSED_MAX: usize = 64;
/// Longest consistency proof: two hashes a level would be more than any proof has.
const PROOF_MAX: usize = 2 * 48;

/// What stands between a change of the key and its proof.
const PROOF: &str = " proof ";

/// An export, taken apart but not verified: nothing in it can be believed.
#[derive(Debug, Clone)]
pub struct Export<'a> {
    /// The key that the file names as the log's: the one that signs now.
    pub key: VerifierKey,
    /// Changes of the key, the oldest first, each with the proof from its checkpoint up to `checkpoint`.
    pub changes: Vec<(KeyChange, Vec<Hash>)>,
    /// The tree of all entries before the first one here.
    pub before: Frontier,
    /// The entries in base64, the first one being number `before.size()`.
    pub entries: Vec<&'a str>,
    /// Checkpoints that witnesses signed, each with its proof up to `checkpoint`.
    pub witnessed: Vec<(Note, Vec<Hash>)>,
    /// The head.
    pub checkpoint: Note,
}

/// Why a file is no export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// Its first line is another.
    #[error("this is not an export of a LamChat audit log")]
    Magic,
    /// Longer than [`EXPORT_BYTES_MAX`].
    #[error("the export is longer than 256 MiB: make it with --since, in parts")]
    TooLong,
    /// A line that cannot be there, by its number from 1.
    #[error("line {0} of the export is malformed")]
    Line(usize),
    /// The checkpoint at its end.
    #[error("the export's checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
}

impl<'a> Export<'a> {
    /// Takes a file apart.
    pub fn parse(file: &'a str) -> Result<Self, ExportError> {
        if file.len() > EXPORT_BYTES_MAX {
            return Err(ExportError::TooLong);
        }
        let (head, checkpoint) = file.split_once("\n\n").ok_or(ExportError::Magic)?;
        let mut lines = head.split('\n').enumerate().map(|(at, line)| (at + 1, line)).peekable();
        if lines.next().is_none_or(|(_, line)| line != EXPORT_MAGIC) {
            return Err(ExportError::Magic);
        }
        let mut value = |name: &str| match lines.next() {
            Some((at, line)) => match line.split_once(' ') {
                Some((known, value)) if known == name => Ok((at, value)),
                _ => Err(ExportError::Line(at)),
            },
            None => Err(ExportError::Line(0)),
        };
        let (at, key) = value("key")?;
        let key = VerifierKey::parse(key).map_err(|_| ExportError::Line(at))?;
        let (at, start) = value("start")?;
        let start = parse_number(start).filter(|start| *start <= SIZE_MAX);
        let start = start.ok_or(ExportError::Line(at))?;
        let mut peaks = Vec::new();
        for _ in 0..start.count_ones() {
            let (at, peak) = value("peak")?;
            peaks.push(parse_hash(peak).ok_or(ExportError::Line(at))?);
        }
        let before = Frontier::with_peaks(start, peaks).ok_or(ExportError::Line(at))?;
        let (mut changes, mut entries, mut witnessed) = (Vec::new(), Vec::new(), Vec::new());
        for (at, line) in lines {
            match line.split_once(' ') {
                Some(("change", rest)) if entries.is_empty() && witnessed.is_empty() && changes.len() < CHANGES_MAX => {
                    changes.push(parse_change(rest).ok_or(ExportError::Line(at))?);
                }
                Some(("entry", entry)) if witnessed.is_empty() => entries.push(entry),
                Some(("witnessed", rest)) if witnessed.len() < WITNESSED_MAX => {
                    witnessed.push(parse_witnessed(rest).ok_or(ExportError::Line(at))?);
                }
                _ => return Err(ExportError::Line(at)),
            }
        }
        Ok(Self {
            key,
            changes,
            before,
            entries,
            witnessed,
            checkpoint: Note::parse(checkpoint)?,
        })
    }
}

fn parse_witnessed(rest: &str) -> Option<(Note, Vec<Hash>)> {
    let (note, proof) = rest.split_once(' ').unwrap_or((rest, ""));
    let note = String::from_utf8(BASE64_STANDARD.decode(note).ok()?).ok()?;
    Some((Note::parse(&note).ok()?, parse_proof(proof)?))
}

fn parse_change(rest: &str) -> Option<(KeyChange, Vec<Hash>)> {
    let (change, proof) = rest.split_once(PROOF)?;
    Some((KeyChange::parse(change)?, parse_proof(proof)?))
}

fn parse_proof(words: &str) -> Option<Vec<Hash>> {
    let mut proof = Vec::new();
    for word in words.split_terminator(' ') {
        if proof.len() == PROOF_MAX {
            return None;
        }
        proof.push(parse_hash(word)?);
    }
    Some(proof)
}

/// The lines before the entries. `peaks` are those of the tree of `start` leaves.
pub fn head_lines(key: &VerifierKey, start: u64, peaks: &[Hash]) -> String {
    let mut text = format!("{EXPORT_MAGIC}\nkey {key}\nstart {start}\n");
    for peak in peaks {
        text.push_str(&format!("peak {}\n", BASE64_STANDARD.encode(peak)));
    }
    text
}

/// The line of an entry.
pub fn entry_line(entry: &[u8]) -> String {
    format!("entry {}\n", BASE64_STANDARD.encode(entry))
}

/// The line of a checkpoint that a witness signed.
pub fn witnessed_line(note: &Note, proof: &[Hash]) -> String {
    let space = if proof.is_empty() { "" } else { " " };
    let note = BASE64_STANDARD.encode(note.to_string());
    format!("witnessed {note}{space}{}\n", proof_words(proof))
}

/// The line of a change of the key.
pub fn change_line(change: &KeyChange, proof: &[Hash]) -> String {
    format!("change {}{PROOF}{}\n", change.line(), proof_words(proof))
}

fn proof_words(proof: &[Hash]) -> String {
    let words: Vec<String> = proof.iter().map(|hash| BASE64_STANDARD.encode(hash)).collect();
    words.join(" ")
}

/// The end: an empty line, and the checkpoint as it is.
pub fn end_lines(checkpoint: &Note) -> String {
    format!("\n{checkpoint}")
}
