//! Checkpoints (c2sp.org/tlog-checkpoint): which log, how long, which root. Pure.

use crate::note::is_key_name;
use crate::tree::{Hash, SIZE_MAX};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::fmt;

/// The head of a log at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// "A unique identifier for the log identity which issued the checkpoint."
    pub origin: String,
    /// How many entries there are.
    pub size: u64,
    /// The root of the tree over all of them.
    pub root: Hash,
}

/// The text is no checkpoint of a log of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a checkpoint of a LamChat audit log")]
pub struct NotACheckpoint;

impl Checkpoint {
    /// Reads the text of a note. Extension lines are refused: these logs write none.
    pub fn parse(text: &str) -> Result<Self, NotACheckpoint> {
        let mut lines = text.strip_suffix('\n').ok_or(NotACheckpoint)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NotACheckpoint);
        };
        if !is_key_name(origin) || !origin.is_ascii() {
            return Err(NotACheckpoint);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: parse_number(size)
                .filter(|size| *size <= SIZE_MAX)
                .ok_or(NotACheckpoint)?,
            root: parse_hash(root).ok_or(NotACheckpoint)?,
        })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = BASE64_STANDARD.encode(self.root);
        write!(f, "{}\n{}\n{root}\n", self.origin, self.size)
    }
}

/// "ASCII decimal …, with no leading zeroes"
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// A hash in base64.
pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Checkpoint, NotACheckpoint};

    #[test]
    fn checkpoints_have_one_form() {
        // The example of the specification.
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text).unwrap();
        assert_eq!(checkpoint.size, 20_852_163);
        assert_eq!(checkpoint.to_string(), text);
        for (from, to) in [
            ("20852163", "020852163"),
            ("20852163", "+20852163"),
            ("20852163", ""),
            ("20852163", "999999999999999999"),
            ("q2I=", "q2J="),
            ("q2I=", "q2I"),
            ("q2I=\n", "q2I=\nmore\n"),
            ("q2I=\n", "q2I="),
            ("the-sofa", "the sofa"),
            ("example.com/behind-the-sofa", ""),
        ] {
            assert_eq!(Checkpoint::parse(&text.replace(from, to)), Err(NotACheckpoint), "{to}");
        }
    }
}
