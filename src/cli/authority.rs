//! The server's own authority as people see it: its fingerprint in groups, and the same as a QR code.
//!
//! The code says `CA-SHA256:` and the 64 hexadecimal digits of the certificate's SHA-256, in capitals: a phone reads it
//! without a network, and what it shows can be compared with what any tool says of the file. It is no pin for `--pin`,
//! which is a key's digest: hence the other word before it.

use super::qr::{self, COLOURS, EcLevel};
use super::{Failure, output};
use serde_json::Value;
use std::io::IsTerminal;

/// Where everybody fetches the certificate.
const PUBLIC: &str = "/_lamchat/v1/ca.pem";
/// What stands before the digits in the code.
const PREFIX: &str = "CA-SHA256:";
/// Groups of a fingerprint on a line, and pairs of digits in a group.
const GROUPS_A_LINE: usize = 4;
const GROUP_PAIRS: usize = 2;
/// Columns before the code, and between it and the text that stands beside it.
const MARGIN: &str = "  ";

/// What the server says of its authority.
pub struct Authority {
    /// Its certificate, in PEM.
    pub pem: String,
    fingerprint: String,
    not_before_ms: u64,
    not_after_ms: u64,
    is_used: bool,
}

impl Authority {
    /// Reads the answer of `GET …/tls/authority`.
    pub fn of(answer: &Value) -> Result<Self, Failure> {
        let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| answer.get(key).and_then(Value::as_u64);
        let read = || {
            Some(Self {
                pem: text("pem")?,
                fingerprint: text("fingerprint")?,
                not_before_ms: number("not_before_ms")?,
                not_after_ms: number("not_after_ms")?,
                is_used: answer.get("is_used")?.as_bool()?,
            })
        };
        read().ok_or_else(|| "the server's answer has no authority in it".into())
    }

    /// The fingerprint, `AB:CD:…`, in groups of four digits.
    fn groups(&self) -> Vec<String> {
        let pairs: Vec<&str> = self.fingerprint.split(':').collect();
        let groups: Vec<String> = pairs.chunks(GROUP_PAIRS).map(<[&str]>::concat).collect();
        groups.chunks(GROUPS_A_LINE).map(|line| line.join(" ")).collect()
    }

    /// What stands beside the code.
    fn words(&self) -> Vec<String> {
        let mut words = vec!["SHA-256 of the certificate:".to_owned(), String::new()];
        words.extend(self.groups().into_iter().map(|line| format!("  {line}")));
        words.extend([
            String::new(),
            format!("Valid from  {}", output::time(self.not_before_ms)),
            format!("      until {} UTC", output::time(self.not_after_ms)),
            String::new(),
        ]);
        if self.is_used {
            words.extend(["Trust it where the fingerprint is", "the same. Clients fetch it at"].map(str::to_owned));
            words.push(format!("https://NAME{PUBLIC}"));
        } else {
            words.extend(
                [
                    "NOT USED NOW: an authority outside",
                    "vouches for this server. Trust that.",
                ]
                .map(str::to_owned),
            );
        }
        words
    }

    /// Lines for a terminal: the code, in these colours, with the words to its right.
    pub fn lines(&self, (begin, end): (&str, &str)) -> Result<Vec<String>, Failure> {
        let digits = self.fingerprint.replace(':', "").to_ascii_uppercase();
        let code = qr::picture(&format!("{PREFIX}{digits}"), EcLevel::L)?;
        let (code, words): (Vec<&str>, Vec<String>) = (code.lines().collect(), self.words());
        let width = code.first().map_or(0, |line| line.chars().count());
        let line = |at: usize| {
            let code = match code.get(at) {
                Some(line) => format!("{begin}{line}{end}"),
                None => " ".repeat(width),
            };
            let words = words.get(at).map_or("", String::as_str);
            format!("{MARGIN}{code}{MARGIN}{words}")
        };
        Ok((0..code.len().max(words.len())).map(line).collect())
    }

    /// Prints it.
    pub fn print(&self) -> Result<(), Failure> {
        let colours = if std::io::stdout().is_terminal() {
            COLOURS
        } else {
            ("", "")
        };
        for line in self.lines(colours)? {
            output::line(line.trim_end_matches(' '));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::Authority;
    use serde_json::json;

    fn authority(is_used: bool) -> Authority {
        let fingerprint = (0..32)
            .map(|byte| format!("{:02X}", byte * 7))
            .collect::<Vec<_>>()
            .join(":");
        Authority::of(&json!({
            "pem": "", "fingerprint": fingerprint, "is_used": is_used,
            "not_before_ms": 1_795_388_460_000_u64, "not_after_ms": 4_107_542_399_000_u64,
        }))
        .unwrap()
    }

    /// Below a title and a rule, above the line that waits for Enter: 80 columns and 25 rows.
    #[test]
    fn code_and_words_fit_on_a_console() {
        for is_used in [true, false] {
            let lines = authority(is_used).lines(("", "")).unwrap();
            // Version 3 (29 modules) and the quiet zone; two rows of modules a line.
            assert_eq!(lines.len(), 19, "{lines:#?}");
            let widths = lines.iter().map(|line| line.chars().count());
            assert!(widths.max().unwrap() < 80, "{lines:#?}");
            let all = lines.join("\n");
            assert!(
                all.contains("0007 0E15 1C23 2A31") && all.contains("until 2100-02-28"),
                "{all}"
            );
            assert_eq!(all.contains("NOT USED"), !is_used);
        }
    }

    #[test]
    fn an_answer_that_lacks_something_is_none() {
        assert!(Authority::of(&json!({"pem": ""})).is_err());
    }
}
