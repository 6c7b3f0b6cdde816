//! Signed notes (c2sp.org/signed-note): a text and signature lines. Pure. That a note parses says nothing about its
//! signatures; [`crate::VerifierKey`] checks those.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::fmt;

/// Longest note. "Verifiers SHOULD apply a maximum limit to … the overall size of a note".
pub const NOTE_BYTES_MAX: usize = 64 << 10;
/// Most signatures of a note. "MUST accept at least up to 16".
pub const SIGNATURES_MAX: usize = 64;
/// Longest name of a key.
pub const KEY_NAME_BYTES_MAX: usize = 320;

/// A note: its text and what claims to be its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text that is signed, its last newline included.
    pub text: String,
    /// In their order.
    pub signatures: Vec<NoteSignature>,
}

/// A line with a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// "The tuple of key name and key ID uniquely identifies the key."
    pub key_id: [u8; 4],
    /// What the key made.
    pub bytes: Vec<u8>,
}

/// Why a text is no signed note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`NOTE_BYTES_MAX`], or with more than [`SIGNATURES_MAX`] signatures.
    #[error("the signed note is too long")]
    TooLong,
    /// "MUST NOT contain any ASCII control characters … other than newline."
    #[error("the signed note has control characters")]
    Control,
    /// No empty line between text and signatures, or no newline at the end.
    #[error("this is not a signed note")]
    Form,
    /// A line below the text that is no signature.
    #[error("the signed note has a malformed signature line")]
    Signature,
}

impl Note {
    /// Takes a note apart.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Control);
        }
        // "The text is separated from the signatures by the last empty line in the note."
        let (above, below) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        let lines = below.strip_suffix('\n').ok_or(NoteError::Form)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == SIGNATURES_MAX {
                return Err(NoteError::TooLong);
            }
            signatures.push(NoteSignature::parse(line)?);
        }
        Ok(Self {
            text: format!("{above}\n"),
            signatures,
        })
    }

    /// Adds a signature, in place of an earlier one of the same key.
    pub fn add(&mut self, signature: NoteSignature) {
        self.signatures
            .retain(|known| (&known.name, known.key_id) != (&signature.name, signature.key_id));
        self.signatures.push(signature);
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let bytes = [&signature.key_id[..], &signature.bytes].concat();
            writeln!(f, "\u{2014} {} {}", signature.name, BASE64_STANDARD.encode(bytes))?;
        }
        Ok(())
    }
}

impl NoteSignature {
    /// "em dash (U+2014), space (U+0020), key name, space, base64-encoded signature"
    fn parse(line: &str) -> Result<Self, NoteError> {
        let rest = line.strip_prefix("\u{2014} ").ok_or(NoteError::Signature)?;
        let (name, base64) = rest.split_once(' ').ok_or(NoteError::Signature)?;
        if !is_key_name(name) {
            return Err(NoteError::Signature);
        }
        let bytes = BASE64_STANDARD.decode(base64).map_err(|_| NoteError::Signature)?;
        let (key_id, bytes) = bytes.split_first_chunk::<4>().ok_or(NoteError::Signature)?;
        Ok(Self {
            name: name.to_owned(),
            key_id: *key_id,
            bytes: bytes.to_vec(),
        })
    }
}

/// "Key names MUST be non-empty and MUST NOT contain any Unicode spaces or plus (U+002B) characters."
pub fn is_key_name(name: &str) -> bool {
    let bad = |char: char| char == '+' || char.is_whitespace() || char.is_control();
    !name.is_empty() && name.len() <= KEY_NAME_BYTES_MAX && !name.contains(bad)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Note, NoteError};

    const NOTE: &str = "a\n\nb\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn notes_come_back_as_they_were() {
        let note = Note::parse(NOTE).unwrap();
        assert_eq!(note.text, "a\n\nb\n");
        assert_eq!(note.to_string(), NOTE);
        let bad = [
            ("", NoteError::Form),
            ("a\n\n", NoteError::Form),
            ("a\n\n\n", NoteError::Form),
            ("a\n\n- x AAAAAA==\n", NoteError::Signature),
            ("a\n\n\u{2014} x AAA=\n", NoteError::Signature),
            ("a\n\n\u{2014} x+y AAAAAA==\n", NoteError::Signature),
            ("a\n\n\u{2014} x AAAAAB==\n", NoteError::Signature),
            ("a\r\n\n\u{2014} x AAAAAA==\n", NoteError::Control),
        ];
        for (text, error) in bad {
            assert_eq!(Note::parse(text), Err(error), "{text:?}");
        }
    }
}
