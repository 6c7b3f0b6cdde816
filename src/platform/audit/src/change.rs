//! A change of the key that signs the log, and how a verifier follows it. Pure.
//!
//! The entry `audit.key` names the key before and its successor. The checkpoint whose last entry it is carries the
//! signatures of both: so the old key has said who comes after it. Where the old key is gone with its TPM, the successor
//! must be the fallback that was named when the lost key came in, and the verdict says that nothing better vouches.

use crate::checkpoint::{Checkpoint, parse_hash, parse_number};
use crate::entry::{Actor, Entry};
use crate::key::{Point, VerifierKey};
use crate::note::Note;
use crate::tree::{Frontier, Hash, SIZE_MAX, leaf_hash};
use crate::verify::VerifyError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The act of the entry.
pub const KEY_ACT: &str = "audit.key";
/// Most changes of one log that are kept and followed.
pub const CHANGES_MAX: usize = 256;

/// Why another key is to sign, and which: what the entry will say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The key that signs until now.
    pub from: Point,
    /// What it is, for people.
    pub from_kind: String,
    /// Its successor.
    pub to: Point,
    /// What that is.
    pub to_kind: String,
    /// Who may sign if the successor is lost; `None` where it cannot be lost alone.
    pub fallback: Option<Point>,
}

impl Plan {
    /// The entry that announces it.
    pub fn entry(&self, time_ms: u64) -> Entry {
        let entry = Entry::new(time_ms, Actor::Server, KEY_ACT)
            .subject(&self.to_kind)
            .fact("from", BASE64_STANDARD.encode(self.from))
            .fact("from_kind", &self.from_kind)
            .fact("to", BASE64_STANDARD.encode(self.to))
            .fact("to_kind", &self.to_kind);
        match &self.fallback {
            Some(fallback) => entry.fact("fallback", BASE64_STANDARD.encode(fallback)),
            None => entry,
        }
    }

    /// What an entry announces; `None` if it is another act, or malformed.
    pub fn of(entry: &[u8]) -> Option<Self> {
        let entry = Entry::decode(entry).ok().filter(|entry| entry.act == KEY_ACT)?;
        let fact = |name: &str| {
            let mut facts = entry.facts.iter();
            facts.find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        let point = |text: String| Point::try_from(BASE64_STANDARD.decode(text).ok()?).ok();
        Some(Self {
            from: point(fact("from")?)?,
            from_kind: fact("from_kind")?,
            to: point(fact("to")?)?,
            to_kind: fact("to_kind")?,
            fallback: match fact("fallback") {
                Some(text) => Some(point(text)?),
                None => None,
            },
        })
    }
}

/// A change as it is kept and exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The number of the entry.
    pub number: u64,
    /// The peaks of the tree before it.
    pub peaks: Vec<Hash>,
    /// The entry.
    pub entry: Vec<u8>,
    /// The checkpoint of which it is the last entry, signed by the new key, and by the old one if it still could.
    pub note: Note,
}

impl KeyChange {
    /// One line, without its end: number, entry, note, peaks.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{} {} {}",
            self.number,
            BASE64_STANDARD.encode(&self.entry),
            BASE64_STANDARD.encode(self.note.to_string())
        );
        for peak in &self.peaks {
            line.push(' ');
            line.push_str(&BASE64_STANDARD.encode(peak));
        }
        line
    }

    /// Reads what [`KeyChange::line`] writes.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let number = parse_number(words.next()?).filter(|number| *number < SIZE_MAX)?;
        let entry = BASE64_STANDARD.decode(words.next()?).ok()?;
        let note = String::from_utf8(BASE64_STANDARD.decode(words.next()?).ok()?).ok()?;
        // One for each bit of the number, which ends the loop early enough.
        let peaks: Vec<Hash> = words.take(65).map(parse_hash).collect::<Option<_>>()?;
        Frontier::with_peaks(number, peaks.clone())?;
        Some(Self {
            number,
            peaks,
            entry,
            note: Note::parse(&note).ok()?,
        })
    }

    /// The checkpoint, if the entry is its last one. Says nothing about signatures.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let checkpoint = Checkpoint::parse(&self.note.text).ok()?;
        is_last(&checkpoint, &self.peaks, &self.entry).then_some(checkpoint)
    }
}

/// Whether `entry` is the last one of the tree under `checkpoint`; `peaks` are those of the tree before it.
pub fn is_last(checkpoint: &Checkpoint, peaks: &[Hash], entry: &[u8]) -> bool {
    let before = checkpoint.size.checked_sub(1);
    let tree = before.and_then(|before| Frontier::with_peaks(before, peaks.to_vec()));
    tree.is_some_and(|mut tree| {
        tree.push(leaf_hash(entry));
        tree.root() == checkpoint.root
    })
}

/// A key, and which checkpoints it may have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The key.
    pub key: VerifierKey,
    /// What the log says that it is; `None` before the first change.
    pub kind: Option<String>,
    /// Size of its first checkpoint.
    pub from: u64,
    /// Size of its last checkpoint; `None` for the key that signs now.
    pub to: Option<u64>,
    /// Whether the key before it signed that it takes over.
    pub vouched: bool,
}

/// The keys of one log, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    spans: Vec<Span>,
    /// The fallback that was named when the newest key came in.
    fallback: Option<Point>,
}

impl Chain {
    /// Follows `changes`, in their order, up to the key that signs now: `current`. Every step is checked.
    pub fn follow(origin: &str, current: &VerifierKey, changes: &[KeyChange]) -> Result<Self, VerifyError> {
        let plans: Option<Vec<Plan>> = changes.iter().map(|change| Plan::of(&change.entry)).collect();
        let plans = plans.ok_or(VerifyError::KeyChange { number: 0 })?;
        let wrong = |change: &KeyChange| VerifyError::KeyChange { number: change.number };
        let first = match (plans.first(), changes.first()) {
            (Some(plan), Some(change)) => VerifierKey::of_log(origin, &plan.from).map_err(|_| wrong(change))?,
            _ => current.clone(),
        };
        let mut chain = Self {
            spans: vec![Span {
                key: first,
                kind: None,
                from: 0,
                to: None,
                vouched: true,
            }],
            fallback: None,
        };
        for (change, plan) in changes.iter().zip(&plans) {
            if !chain.step(origin, change, plan)? {
                return Err(wrong(change));
            }
        }
        match (chain.spans.last(), changes.last()) {
            (Some(last), Some(change)) if last.key != *current => Err(wrong(change)),
            _ => Ok(chain),
        }
    }

    /// `Ok(false)`: the change is not what it claims to be.
    fn step(&mut self, origin: &str, change: &KeyChange, plan: &Plan) -> Result<bool, VerifyError> {
        let (Ok(from), Ok(to)) = (
            VerifierKey::of_log(origin, &plan.from),
            VerifierKey::of_log(origin, &plan.to),
        ) else {
            return Ok(false);
        };
        let Some(checkpoint) = change.checkpoint().filter(|checkpoint| checkpoint.origin == origin) else {
            return Ok(false);
        };
        let Some(last) = self.spans.last_mut() else {
            return Ok(false);
        };
        if last.key != from || from == to || checkpoint.size <= last.from || to.check(&change.note)?.is_none() {
            return Ok(false);
        }
        let vouched = from.check(&change.note)?.is_some();
        if !vouched && self.fallback != Some(plan.to) {
            return Ok(false);
        }
        last.to = Some(checkpoint.size);
        last.kind.get_or_insert_with(|| plan.from_kind.clone());
        self.spans.push(Span {
            key: to,
            kind: Some(plan.to_kind.clone()),
            from: checkpoint.size,
            to: None,
            vouched,
        });
        self.fallback = plan.fallback;
        Ok(true)
    }

    /// The keys in their order.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The first unvouched change to a key after `trusted`; `Ok(None)` if there is none. An error if `trusted` never
    /// signed this log.
    pub fn unvouched_after(&self, trusted: &VerifierKey) -> Option<Option<&Span>> {
        let at = self.spans.iter().position(|span| span.key == *trusted)?;
        Some(self.spans.iter().skip(at + 1).find(|span| !span.vouched))
    }

    /// The checkpoint of a note, if one of the keys signed it while it was the log's key.
    pub fn signed_by(&self, note: &Note) -> Result<Checkpoint, VerifyError> {
        let checkpoint = Checkpoint::parse(&note.text)?;
        let mut refused = None;
        for span in self.spans.iter().rev() {
            match crate::verify::signed_by(&span.key, note) {
                Ok(checkpoint) if checkpoint.size >= span.from && span.to.is_none_or(|to| checkpoint.size <= to) => {
                    return Ok(checkpoint);
                }
                Ok(checkpoint) => refused = Some(VerifyError::Replaced(checkpoint.size)),
                Err(error @ (VerifyError::Signature(_) | VerifyError::OtherLog { .. })) => return Err(error),
                Err(error) => {
                    refused.get_or_insert(error);
                }
            }
        }
        Err(refused.unwrap_or(VerifyError::Unsigned(checkpoint.size)))
    }
}
