//! One entry: what was done, when, by whom, to what. Pure.
//!
//! An entry says who administered, never who talked: no rooms, no addresses of machines, no secrets. Its texts are
//! printable ASCII, so that showing them does nothing to a terminal. FORMAT.md has the bytes.

use std::fmt;

/// The version that this program writes; the first byte of an entry.
const VERSION: u8 = 1;
/// Longest encoded entry.
pub const ENTRY_BYTES_MAX: usize = 4096;
/// Most facts of an entry.
pub const FACTS_MAX: usize = 10;
/// Longest name of an act or of a fact, in bytes.
pub const NAME_BYTES_MAX: usize = 48;
/// Longest subject, user id or value of a fact, in bytes. Ten facts, a subject and an actor of this length fit.
pub const TEXT_BYTES_MAX: usize = 255;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The server by itself, or whoever may send it signals.
    Server,
    /// Somebody on the machine through the Unix socket; the kernel vouches for the user number.
    Socket {
        /// The peer's effective uid.
        uid: u32,
    },
    /// An account of this server, by its user id.
    User(String),
    /// Whoever knows `registration.shared_secret`.
    SharedSecret,
    /// Whoever has the administrator's credential of this name, from a distance.
    Credential(String),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Socket { uid } => write!(f, "uid {uid}"),
            Self::User(user) => f.write_str(user),
            Self::SharedSecret => f.write_str("shared secret"),
            Self::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When, in milliseconds since 1970, by the server's clock.
    pub time_ms: u64,
    /// Who.
    pub actor: Actor,
    /// What: `user.add`, `keyring.remove-slot`.
    pub act: String,
    /// To what or whom; empty where there is nothing to name.
    pub subject: String,
    /// More about it: name and value, sorted by name.
    pub facts: Vec<(String, String)>,
}

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Longer than [`ENTRY_BYTES_MAX`].
    #[error("it is longer than an entry can be")]
    TooLong,
    /// A version that this program does not know.
    #[error("it has the version {0}, which this program does not know: use a newer lamchat")]
    Version(u8),
    /// It ends too early, too late, or has an unknown kind of actor.
    #[error("it is malformed")]
    Malformed,
    /// A text with something else than printable ASCII, or longer or emptier than it may be.
    #[error("one of its texts has characters or a length that the format does not allow")]
    Text,
    /// Facts must be sorted, each name once.
    #[error("its facts are not in their one order")]
    Order,
}

impl Entry {
    /// An entry without subject and facts.
    pub fn new(time_ms: u64, actor: Actor, act: &str) -> Self {
        let actor = match actor {
            Actor::User(user) => Actor::User(clip(&user, TEXT_BYTES_MAX)),
            Actor::Credential(name) => Actor::Credential(clip(&name, TEXT_BYTES_MAX)),
            other => other,
        };
        Self {
            time_ms,
            actor,
            act: clip(act, NAME_BYTES_MAX),
            subject: String::new(),
            facts: Vec::new(),
        }
    }

    /// Names what or whom it was done to. What is too long is cut, what is not printable ASCII becomes `?`.
    #[must_use]
    pub fn subject(mut self, subject: impl fmt::Display) -> Self {
        self.subject = clip(&subject.to_string(), TEXT_BYTES_MAX);
        self
    }

    /// Adds a fact, or replaces the one of that name; beyond [`FACTS_MAX`] it is left out. Values are clipped like the
    /// subject.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl fmt::Display) -> Self {
        let (name, value) = (clip(name, NAME_BYTES_MAX), clip(&value.to_string(), TEXT_BYTES_MAX));
        match self.facts.binary_search_by(|(known, _)| known.as_str().cmp(&name)) {
            Ok(at) => {
                if let Some(fact) = self.facts.get_mut(at) {
                    fact.1 = value;
                }
            }
            Err(at) if self.facts.len() < FACTS_MAX => self.facts.insert(at, (name, value)),
            Err(_) => {}
        }
        self
    }

    /// The one encoding of this entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        match &self.actor {
            Actor::Server => out.push(0),
            Actor::Socket { uid } => {
                out.push(1);
                out.extend_from_slice(&uid.to_be_bytes());
            }
            Actor::User(user) => {
                out.push(2);
                push_text(&mut out, user);
            }
            Actor::SharedSecret => out.push(3),
            Actor::Credential(name) => {
                out.push(4);
                push_text(&mut out, name);
            }
        }
        push_text(&mut out, &self.act);
        push_text(&mut out, &self.subject);
        out.push(u8::try_from(self.facts.len()).unwrap_or(u8::MAX));
        for (name, value) in &self.facts {
            push_text(&mut out, name);
            push_text(&mut out, value);
        }
        out
    }

    /// Reads an entry back. Only what [`Entry::encode`] writes is accepted, so nothing has two encodings.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLong);
        }
        let mut reader = Reader(bytes);
        match reader.u8()? {
            VERSION => {}
            other => return Err(EntryError::Version(other)),
        }
        let time_ms = u64::from_be_bytes(reader.array()?);
        let actor = match reader.u8()? {
            0 => Actor::Server,
            1 => Actor::Socket {
                uid: u32::from_be_bytes(reader.array()?),
            },
            2 => Actor::User(reader.text(1, TEXT_BYTES_MAX)?),
            3 => Actor::SharedSecret,
            4 => Actor::Credential(reader.text(1, TEXT_BYTES_MAX)?),
            _ => return Err(EntryError::Malformed),
        };
        let act = reader.text(1, NAME_BYTES_MAX)?;
        let subject = reader.text(0, TEXT_BYTES_MAX)?;
        let count = usize::from(reader.u8()?);
        if count > FACTS_MAX {
            return Err(EntryError::Malformed);
        }
        let mut facts: Vec<(String, String)> = Vec::with_capacity(count);
        for _ in 0..count {
            let fact = (reader.text(1, NAME_BYTES_MAX)?, reader.text(0, TEXT_BYTES_MAX)?);
            if facts.last().is_some_and(|last| last.0 >= fact.0) {
                return Err(EntryError::Order);
            }
            facts.push(fact);
        }
        if !reader.0.is_empty() {
            return Err(EntryError::Malformed);
        }
        Ok(Self {
            time_ms,
            actor,
            act,
            subject,
            facts,
        })
    }
}

/// Printable ASCII of at most `bytes_max`, and never nothing where there was something.
fn clip(text: &str, bytes_max: usize) -> String {
    let printable = |char: char| if matches!(char, ' '..='~') { char } else { '?' };
    text.chars().take(bytes_max).map(printable).collect()
}

/// A byte with the length, then the text; callers keep it within 255 bytes.
fn push_text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend(bytes.iter().take(usize::from(length)));
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(EntryError::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, EntryError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn text(&mut self, bytes_min: usize, bytes_max: usize) -> Result<String, EntryError> {
        let length = usize::from(self.u8()?);
        let (text, rest) = self.0.split_at_checked(length).ok_or(EntryError::Malformed)?;
        self.0 = rest;
        let is_good = (bytes_min..=bytes_max).contains(&length) && text.iter().all(|byte| matches!(byte, b' '..=b'~'));
        if !is_good {
            return Err(EntryError::Text);
        }
        String::from_utf8(text.to_vec()).map_err(|_| EntryError::Text)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::{Actor, ENTRY_BYTES_MAX, Entry, EntryError, FACTS_MAX};

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let entry = Entry::new(0x0102, Actor::Socket { uid: 7 }, "user.add")
            .subject("@a:b")
            .fact("x", "1")
            .fact("admin", true);
        let expected = b"\x01\0\0\0\0\0\0\x01\x02\x01\0\0\0\x07\x08user.add\x04@a:b\x02\x05admin\x04true\x01x\x011";
        assert_eq!(entry.encode(), expected);
        assert_eq!(Entry::decode(expected).unwrap(), entry);
    }

    #[test]
    fn the_longest_entry_fits_and_comes_back() {
        let long = "ä\n".repeat(500);
        let mut entry = Entry::new(u64::MAX, Actor::User(long.clone()), &long).subject(&long);
        for number in 0..40 {
            entry = entry.fact(&format!("{number:02}{long}"), &long);
        }
        assert_eq!(entry.facts.len(), FACTS_MAX);
        let bytes = entry.encode();
        assert!(bytes.len() <= ENTRY_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Entry::decode(&bytes).unwrap(), entry);
    }

    #[test]
    fn there_is_one_encoding_only() {
        let good = Entry::new(1, Actor::Server, "a").fact("b", "").fact("c", "d").encode();
        for at in 0..good.len() {
            assert!(Entry::decode(&good[..at]).is_err());
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Ok(other) = Entry::decode(&bad) {
                    assert_eq!(other.encode(), bad);
                }
            }
        }
        let mut long = good.clone();
        long.push(0);
        assert_eq!(Entry::decode(&long), Err(EntryError::Malformed));
        assert_eq!(Entry::decode(&[9]), Err(EntryError::Version(9)));
        let twice = b"\x01\0\0\0\0\0\0\0\x01\0\x01a\0\x02\x01c\0\x01b\0";
        assert_eq!(Entry::decode(twice), Err(EntryError::Order));
    }
}
