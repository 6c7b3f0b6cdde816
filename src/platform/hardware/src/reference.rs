//! Digests and values of PCRs that are the same on every machine, because a rule gives them: which ones, and what it means
//! that a PCR has them.
//!
//! What must never be here: a value that was only seen somewhere. Tests compute each one again by its rule.

use crate::catalogue::Catalogue;
use serde::Deserialize;

/// Bytes of a digest of the SHA-256 bank.
const DIGEST_BYTES: usize = 32;

/// An event that every firmware measures alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownEvent {
    /// Its name.
    pub name: String,
    /// What is measured, in hexadecimal; or
    pub data: Option<String>,
    /// as text, without an end mark.
    pub text: Option<String>,
    /// SHA-256 of it.
    pub sha256: Digest,
    /// What it tells: a sentence without its full stop.
    pub says: String,
    /// Who says so.
    pub source: Vec<String>,
}

/// A value that a PCR has after these events and nothing else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownValue {
    /// Its name.
    pub name: String,
    /// The PCRs that can have it.
    pub pcrs: Vec<u8>,
    /// What each byte is after a reset.
    pub begins: u8,
    /// Names of the events that are measured, in this order.
    pub events: Vec<String>,
    /// The value.
    pub sha256: Digest,
    /// What it tells: a sentence without its full stop.
    pub says: String,
    /// Who says so.
    pub source: Vec<String>,
}

/// A digest, 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(pub [u8; DIGEST_BYTES]);

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = hexadecimal(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a digest has 64 hexadecimal digits")
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

impl KnownEvent {
    /// What is measured; `None`: the entry says it twice, or not at all.
    pub fn measured(&self) -> Option<Vec<u8>> {
        match (&self.data, &self.text) {
            (Some(data), None) => hexadecimal(data),
            (None, Some(text)) => Some(text.as_bytes().to_vec()),
            _ => None,
        }
    }
}

impl Catalogue {
    /// What it tells that this PCR of the SHA-256 bank has this value, where a rule gives it.
    pub fn value(&self, pcr: u8, value: &[u8; DIGEST_BYTES]) -> Option<&KnownValue> {
        let mut values = self.values.iter();
        values.find(|known| known.pcrs.contains(&pcr) && known.sha256.0 == *value)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use crate::catalogue::catalogue;
    use aws_lc_rs::digest::{SHA256, digest};

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        digest(&SHA256, bytes).as_ref().try_into().unwrap()
    }

    #[test]
    fn every_digest_and_value_follows_from_its_rule() {
        let catalogue = catalogue().unwrap();
        for event in &catalogue.events {
            assert_eq!(sha256(&event.measured().unwrap()), event.sha256.0, "{}", event.name);
        }
        for value in &catalogue.values {
            let extended = value.events.iter().fold([value.begins; 32], |pcr, name| {
                let event = catalogue.events.iter().find(|event| event.name == *name).unwrap();
                sha256(&[pcr, event.sha256.0].concat())
            });
            assert_eq!(extended, value.sha256.0, "{}", value.name);
        }
        assert!(catalogue.events.len() >= 6 && catalogue.values.len() >= 6);
    }

    #[test]
    fn what_a_value_tells_depends_on_the_pcr() {
        let catalogue = catalogue().unwrap();
        let name = |pcr, value: [u8; 32]| catalogue.value(pcr, &value).map(|known| known.name.as_str());
        assert_eq!(name(7, [0; 32]), Some("untouched"));
        assert_eq!(name(17, [0; 32]), Some("dynamic-launch-reset"));
        assert_eq!(name(17, [0xFF; 32]), Some("no-dynamic-launch"));
        assert_eq!(name(7, [0xFF; 32]), None);
        let separator = sha256(&[[0; 32], sha256(&[0; 4])].concat());
        assert_eq!(name(6, separator), Some("only-a-separator"));
        assert_eq!(name(11, separator), None, "the firmware has no say there");
    }
}
