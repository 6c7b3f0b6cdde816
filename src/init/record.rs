//! What process 1 keeps of the box's disk outside of the encryption: how far its set-up is, and which partitions are its
//! own. See src/platform/machine/FORMAT.md.
//!
//! Whoever has the disk can write it. So it is bound to the disk's key: what was changed is noticed once the keys are open,
//! and before the data partition is.
//!
//! What must never happen here: a disk that a later release has written taken for one that was never set up.

use super::disk::{Ids, Mirror};
use aws_lc_rs::hmac;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The only version so far.
const VERSION: u64 = 1;
/// The members of a record.
const MEMBERS: [&str; 6] = ["version", "state", "keyring", "data", "mirror", "mac"];
/// What the key that binds is made for.
const PURPOSE: &[u8] = b"lamchat: record of the box's disk, 1";

/// How far the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Never set up, or set back.
    New,
    /// A set-up did not come to its end.
    Begun,
    /// Set up.
    Done,
    /// A half of a mirror that is being filled from the other one: alone it is worth nothing.
    Filling,
    /// Somebody has decided that everything goes.
    Erasing,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Filling => "filling",
            Self::Erasing => "erasing",
        }
    }
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// How far.
    pub stage: Stage,
    /// The identifier of the keyring's partition.
    pub keyring: String,
    /// The identifier of the data's partition.
    pub data: String,
    /// Of a half, the mirror.
    pub mirror: Option<Mirror>,
    /// In hex; a release before this one wrote none.
    mac: Option<String>,
    /// What a later release has added: it does nothing here, is bound as well, and stays.
    later: Map<String, Value>,
    /// Whether it is one that only a later release can read.
    pub is_later: bool,
}

/// What binds records to a disk's key.
#[derive(Debug, Clone)]
pub struct Binding(hmac::Key);

impl Binding {
    /// Of the key.
    pub fn of(disk_key: &[u8; 64]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, disk_key), PURPOSE);
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }
}

impl Record {
    /// Not bound yet.
    pub fn new(stage: Stage, keyring: String, data: String) -> Self {
        Self {
            stage,
            keyring,
            data,
            mirror: None,
            mac: None,
            later: Map::new(),
            is_later: false,
        }
    }

    /// With what a later release had added to this one.
    #[must_use]
    pub fn with_later_of(mut self, other: &Self) -> Self {
        self.later.clone_from(&other.later);
        self
    }

    /// The identifiers that it says.
    pub fn ids(&self) -> Ids {
        Ids {
            keyring: self.keyring.clone(),
            data: self.data.clone(),
        }
    }

    /// Reads what [`Record::encode`] made; what is nothing of the kind is a disk that was never set up.
    pub fn parse(bytes: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let stages = [Stage::Begun, Stage::Done, Stage::Filling, Stage::Erasing];
        let stage = stages.into_iter().find(|stage| stage.word() == text("state"));
        let version = value.get("version");
        let is_known = version.and_then(Value::as_u64) == Some(VERSION) && stage.is_some();
        let mut later = value.as_object().cloned().unwrap_or_default();
        later.retain(|name, _| !MEMBERS.contains(&name.as_str()));
        Self {
            stage: stage.unwrap_or(Stage::New),
            keyring: text("keyring"),
            data: text("data"),
            mirror: value.get("mirror").and_then(Mirror::parse),
            mac: value.get("mac").and_then(Value::as_str).map(str::to_owned),
            later,
            is_later: version.is_some() && !is_known,
        }
    }

    /// JSON.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = json!({
            "version": VERSION,
            "state": self.stage.word(),
            "keyring": self.keyring,
            "data": self.data,
        });
        if let (Some(mirror), Some(fields)) = (&self.mirror, value.as_object_mut()) {
            fields.insert("mirror".to_owned(), mirror.json());
        }
        if let (Some(mac), Some(fields)) = (&self.mac, value.as_object_mut()) {
            fields.insert("mac".to_owned(), mac.as_str().into());
        }
        if let Some(fields) = value.as_object_mut() {
            fields.extend(self.later.clone());
        }
        value.to_string().into_bytes()
    }

    /// Whether a release that binds has written it.
    pub fn is_bound(&self) -> bool {
        self.mac.is_some()
    }

    /// Bound to this disk's key.
    #[must_use]
    pub fn bind(mut self, binding: &Binding) -> Self {
        let mac = hmac::sign(&binding.0, &self.message());
        let mut text = String::with_capacity(64);
        for byte in mac.as_ref() {
            // Writing to a string cannot fail.
            let _ok = write!(text, "{byte:02x}");
        }
        self.mac = Some(text);
        self
    }

    /// Whether it is what was bound to this key.
    pub fn is_bound_to(&self, disk_key: &[u8; 64]) -> bool {
        let Some(mac) = self.mac.as_deref().and_then(bytes) else {
            return false;
        };
        hmac::verify(&Binding::of(disk_key).0, &self.message(), &mac).is_ok()
    }

    /// Each part with its end: identifiers have no zero byte.
    fn message(&self) -> Vec<u8> {
        let mut message = [self.stage.word(), &self.keyring, &self.data].join("\0");
        if let Some(mirror) = &self.mirror {
            message.push('\0');
            message.push_str(&mirror.json().to_string());
        }
        if !self.later.is_empty() {
            message.push_str("\0\0");
            message.push_str(&Value::Object(self.later.clone()).to_string());
        }
        message.into_bytes()
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new(Stage::Done, "k".to_owned(), "d".to_owned())
    }

    #[test]
    fn what_was_changed_is_not_bound() {
        let (key, other) = ([1; 64], [2; 64]);
        let bound = record().bind(&Binding::of(&key));
        assert!(bound.is_bound_to(&key) && !bound.is_bound_to(&other));
        assert_eq!(Record::parse(&bound.encode()), bound);
        for changed in [
            Record {
                stage: Stage::Erasing,
                ..bound.clone()
            },
            Record {
                data: "e".to_owned(),
                ..bound.clone()
            },
            Record {
                keyring: "k\0d".to_owned(),
                data: String::new(),
                ..bound.clone()
            },
            Record {
                mirror: Mirror::parse(&json!({
                    "id": "m",
                    "sectors": 1,
                    "members": [{"keyring": "k", "data": "d"}, {"keyring": "l", "data": "e"}],
                    "left": [],
                })),
                ..bound.clone()
            },
            Record {
                mac: None,
                ..bound.clone()
            },
            Record {
                mac: Some("é".to_owned()),
                ..bound.clone()
            },
            Record {
                mac: Some(String::new()),
                ..bound
            },
        ] {
            assert!(!changed.is_bound_to(&key), "{changed:?}");
        }
    }

    /// As one on trial may write it, before the release that runs here is back.
    #[test]
    fn what_a_later_release_has_added_stays_and_is_bound() {
        let key = [1; 64];
        let added = br#"{"version":1,"state":"done","keyring":"k","data":"d","model":{"b":1,"a":"x"}}"#;
        let next = Record::parse(added).bind(&Binding::of(&key));
        assert!(!next.is_later && next.ids() == record().ids());
        let again = Record::parse(&next.encode());
        assert!(again.is_bound_to(&key) && again == next);
        let rewritten = record().with_later_of(&again).bind(&Binding::of(&key));
        assert_eq!(rewritten.encode(), next.encode());
        // What was a mirror is no mirror with the same members in another place.
        let halves = json!({"id": "m", "sectors": 1, "members": [{"keyring": "k", "data": "d"}, {"keyring": "l", "data": "e"}], "without": null, "left": []});
        let half = Record {
            mirror: Mirror::parse(&halves),
            ..record()
        }
        .bind(&Binding::of(&key));
        assert!(half.mirror.is_some());
        let moved = Record {
            mirror: None,
            later: halves.as_object().cloned().unwrap_or_default(),
            ..half
        };
        assert!(!moved.is_bound_to(&key));
        let mut taken = next;
        taken.later.clear();
        assert!(!taken.is_bound_to(&key));
        // What it did not know, it binds as it always did.
        let mac = "ab90907cc4c2042f4d65c006ff830189f8c4607df2d879a295ffef355ddbedaa";
        let text = String::from_utf8(record().bind(&Binding::of(&key)).encode());
        assert!(text.is_ok_and(|text| text.contains(mac)), "{mac}");
    }

    #[test]
    fn a_record_that_only_a_later_release_reads_is_no_new_disk() {
        for later in [
            &br#"{"version":2,"state":"done","keyring":"k","data":"d"}"#[..],
            br#"{"version":1,"state":"moving","keyring":"k","data":"d"}"#,
            br#"{"version":1}"#,
        ] {
            assert!(Record::parse(later).is_later);
        }
        assert!(!Record::parse(&record().encode()).is_later);
    }

    #[test]
    fn a_record_of_before_is_read_and_nonsense_is_new() {
        let old = br#"{"version":1,"state":"done","keyring":"k","data":"d"}"#;
        assert_eq!(Record::parse(old), record());
        assert!(!Record::parse(old).is_bound());
        for nonsense in [&b""[..], b"[", b"{}", b"{\"state\":\"x\"}", b"{\"state\":1}"] {
            let read = Record::parse(nonsense);
            assert_eq!((read.stage, read.is_later), (Stage::New, false));
        }
    }
}
