//! The checkpoint of an audit log as far as a verifier of evidence reads it: C2SP `tlog-checkpoint`, a signed note
//! whose text is the log's origin, its size and its root, a line each. Its signatures belong to `lamchat audit verify`;
//! here the quote vouches for the bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// The head of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of its Merkle tree, in base64 as the checkpoint has it.
    pub root: String,
}

impl Checkpoint {
    /// Reads a signed note; `None` when it is not a checkpoint with at least one signature line.
    pub fn parse(note: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(note).ok()?;
        // The signatures follow the last empty line (C2SP signed-note).
        let (body, signatures) = text.rsplit_once("\n\n")?;
        if !signatures.ends_with('\n') || !signatures.lines().all(|line| line.starts_with("\u{2014} ")) {
            return None;
        }
        let mut lines = body.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let plain = !origin.is_empty() && !origin.chars().any(char::is_control);
        let digits = size.bytes().all(|byte| byte.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        let rooted = STANDARD.decode(root).is_ok_and(|bytes| bytes.len() == 32);
        if !plain || !digits || !rooted {
            return None;
        }
        Some(Self {
            origin: origin.to_owned(),
            size: size.parse().ok()?,
            root: root.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::Checkpoint;

    const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

    #[test]
    fn checkpoints_are_read_strictly() {
        let good =
            format!("example.org/audit\n20852163\n{ROOT}\n\n\u{2014} example.org/audit Az3grlgtzPICa5OS8npVmf1\n");
        let head = Checkpoint::parse(good.as_bytes()).unwrap();
        assert_eq!((head.size, head.origin.as_str()), (20_852_163, "example.org/audit"));
        for wrong in [
            good.replace("20852163", "020852163"),
            good.replace("20852163", "-1"),
            good.replace("20852163", "18446744073709551616"),
            good.replace(ROOT, "AAAA"),
            good.replace("\u{2014} ", ""),
            good.replace("\n\n", "\n"),
            good.trim_end().to_owned(),
            good.replace("example.org/audit\n2", "\n2"),
        ] {
            assert_eq!(Checkpoint::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
