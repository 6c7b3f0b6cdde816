//! The text of every signed or bound document here: JSON of which each content has exactly one spelling.
//!
//! No white space, members in the documented order, strings of printable ASCII without quotes and backslashes,
//! numbers in plain digits, bytes in base64url without padding or lower-case hexadecimal digits. So there is no second
//! reading of the same bytes, and whatever was written back is what was read. Linear time, no recursion.

use crate::limits::FILE_BYTES_MAX;
use crate::sha256::{Sha256, from_hex, to_hex};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Greatest number that every JSON parser keeps exactly.
pub(crate) const NUMBER_MAX: u64 = (1 << 53) - 1;
/// Longest member name that is read to be shown in an error.
const MEMBER_BYTES_MAX: usize = 64;

/// Why a document is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It ends too early.
    #[error("the file is truncated")]
    Truncated,
    /// The file is larger than any honest one.
    #[error("the file has {bytes} bytes; at most {FILE_BYTES_MAX} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// There is something behind the end.
    #[error("there are bytes behind the end of the document, from byte {at} on")]
    Trailing {
        /// Where the document ended.
        at: usize,
    },
    /// A member that the format does not have.
    #[error("unknown member `{name}`")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A member that was there before.
    #[error("member `{name}` is there twice")]
    Duplicate {
        /// Its name.
        name: String,
    },
    /// A member that has its place further on: another is missing, or the order was changed.
    #[error("member `{expected}` is missing or out of order: `{found}` stands in its place")]
    OutOfOrder {
        /// What has its place here.
        expected: &'static str,
        /// What stands here.
        found: String,
    },
    /// A value larger than the format allows, or a list with too many entries.
    #[error("`{member}` is larger than the format allows")]
    Oversized {
        /// The member.
        member: &'static str,
    },
    /// A value of the wrong type, form or range.
    #[error("the value of `{member}` is not what the format asks for")]
    Value {
        /// The member.
        member: &'static str,
    },
    /// A list whose entries are not in strictly ascending order.
    #[error("the entries of `{member}` are not in ascending order")]
    Unsorted {
        /// The member.
        member: &'static str,
    },
    /// Something else than the format has at this place: white space, an escape, another bracket.
    #[error("byte {at} is not what the format has there")]
    Syntax {
        /// Where.
        at: usize,
    },
}

impl TextError {
    /// The name of this reason, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Truncated => "bundle-truncated",
            Self::TooLong { .. } => "bundle-too-long",
            Self::Trailing { .. } => "bundle-trailing-bytes",
            Self::Unknown { .. } => "bundle-unknown-member",
            Self::Duplicate { .. } => "bundle-duplicate-member",
            Self::OutOfOrder { .. } => "bundle-member-out-of-order",
            Self::Oversized { .. } => "bundle-member-oversized",
            Self::Value { .. } => "bundle-bad-value",
            Self::Unsorted { .. } => "bundle-unsorted",
            Self::Syntax { .. } => "bundle-syntax",
        }
    }
}

/// An object that is being read: its members in order, and which comes next.
pub(crate) struct Members {
    names: &'static [&'static str],
    next: usize,
}

/// Reads a document from front to back.
pub(crate) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    member: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Result<Self, TextError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(TextError::TooLong { bytes: text.len() });
        }
        Ok(Self {
            text,
            at: 0,
            member: "",
        })
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), TextError> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(TextError::Syntax { at: self.at }),
            None => Err(TextError::Truncated),
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Begins an object that has these members, in this order.
    pub(crate) fn open(&mut self, names: &'static [&'static str]) -> Result<Members, TextError> {
        self.expect(b'{')?;
        Ok(Members { names, next: 0 })
    }

    fn quoted(&mut self, max: usize) -> Result<&'a str, TextError> {
        self.expect(b'"')?;
        let rest = self.rest();
        let length = rest
            .iter()
            .take(max + 1)
            .position(|byte| !matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'));
        let Some(length) = length else {
            return Err(if rest.len() > max {
                TextError::Oversized { member: self.member }
            } else {
                TextError::Truncated
            });
        };
        let text = rest.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
        self.at += length;
        self.expect(b'"')?;
        text.ok_or(TextError::Syntax { at: self.at })
    }

    /// The name of the next member.
    fn name(&mut self) -> Result<&'a str, TextError> {
        self.member = "(name of a member)";
        let name = self.quoted(MEMBER_BYTES_MAX)?;
        self.expect(b':')?;
        Ok(name)
    }

    /// Goes to the value of the next member, which is `name`.
    pub(crate) fn member(&mut self, members: &mut Members, name: &'static str) -> Result<(), TextError> {
        if self.peek() == Some(b'}') {
            let found = "}".to_owned();
            return Err(TextError::OutOfOrder { expected: name, found });
        }
        if members.next > 0 {
            self.expect(b',')?;
        }
        let found = self.name()?;
        if found != name {
            return Err(misplaced(members, name, found));
        }
        members.next += 1;
        self.member = name;
        Ok(())
    }

    /// Ends an object, all of whose members were read.
    pub(crate) fn close(&mut self, members: &Members) -> Result<(), TextError> {
        if self.take(b',') {
            let found = self.name()?;
            return Err(misplaced(members, "}", found));
        }
        self.expect(b'}')
    }

    /// Ends the document.
    pub(crate) fn end(self) -> Result<(), TextError> {
        if self.rest().is_empty() {
            Ok(())
        } else {
            Err(TextError::Trailing { at: self.at })
        }
    }

    /// The error that the value just read is not what the format asks for.
    pub(crate) fn wrong(&self) -> TextError {
        TextError::Value { member: self.member }
    }

    /// A string of at most `max` characters.
    pub(crate) fn string(&mut self, max: usize) -> Result<&'a str, TextError> {
        self.quoted(max)
    }

    /// A string that can only be this one.
    pub(crate) fn constant(&mut self, text: &'static str) -> Result<(), TextError> {
        let found = self.quoted(crate::limits::NAME_BYTES_MAX)?;
        if found == text { Ok(()) } else { Err(self.wrong()) }
    }

    /// A whole number up to 2^53 - 1, without leading zeros.
    pub(crate) fn number(&mut self) -> Result<u64, TextError> {
        let rest = self.rest();
        let length = rest.iter().take(17).take_while(|byte| byte.is_ascii_digit()).count();
        if length == rest.len() {
            return Err(TextError::Truncated);
        }
        let digits = rest.get(..length).unwrap_or_default();
        if digits.is_empty() || (length > 1 && digits.starts_with(b"0")) {
            return Err(self.wrong());
        }
        self.at += length;
        let number = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        if number > NUMBER_MAX {
            Err(self.wrong())
        } else {
            Ok(number)
        }
    }

    /// Bytes in base64url, at most `max`.
    pub(crate) fn base64(&mut self, max: usize) -> Result<Vec<u8>, TextError> {
        let text = self.quoted(max.saturating_mul(4).div_ceil(3))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| self.wrong())
    }

    /// Bytes in hexadecimal digits, at least `min` and at most `max`.
    pub(crate) fn hex(&mut self, min: usize, max: usize) -> Result<Vec<u8>, TextError> {
        let bytes = from_hex(self.quoted(max * 2)?).ok_or_else(|| self.wrong())?;
        if bytes.len() < min {
            return Err(self.wrong());
        }
        Ok(bytes)
    }

    pub(crate) fn sha256(&mut self) -> Result<Sha256, TextError> {
        let text = self.quoted(64)?;
        Sha256::parse(text).ok_or_else(|| self.wrong())
    }

    /// `null`, or what `read` reads.
    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, TextError>,
    ) -> Result<Option<T>, TextError> {
        if self.rest().starts_with(b"null") {
            self.at += 4;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// A list of at most `max` entries.
    pub(crate) fn list<T>(
        &mut self,
        max: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, TextError>,
    ) -> Result<Vec<T>, TextError> {
        let member = self.member;
        let mut entries = Vec::new();
        self.expect(b'[')?;
        while !self.take(b']') {
            if !entries.is_empty() {
                self.expect(b',')?;
            }
            if entries.len() == max {
                return Err(TextError::Oversized { member });
            }
            entries.push(read(self)?);
            self.member = member;
        }
        Ok(entries)
    }
}

fn misplaced(members: &Members, expected: &'static str, found: &str) -> TextError {
    let found = found.to_owned();
    match members.names.iter().position(|known| *known == found) {
        None => TextError::Unknown { name: found },
        Some(place) if place < members.next => TextError::Duplicate { name: found },
        Some(_) => TextError::OutOfOrder { expected, found },
    }
}

/// Writes a document. The caller writes the members in their order; the reader refuses any other.
#[derive(Default)]
pub(crate) struct Writer {
    text: String,
}

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.text.into_bytes()
    }

    fn separate(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(['{', '[', ':']) {
            self.text.push(',');
        }
    }

    pub(crate) fn open(&mut self) {
        self.separate();
        self.text.push('{');
    }

    pub(crate) fn close(&mut self) {
        self.text.push('}');
    }

    pub(crate) fn member(&mut self, name: &str) {
        self.separate();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    /// Characters that the format does not have become `?`, so that no value can break out of its quotes; a builder's
    /// names never have them.
    pub(crate) fn string(&mut self, value: &str) {
        self.separate();
        self.text.push('"');
        self.text.extend(value.chars().map(|letter| match letter {
            '"' | '\\' => '?',
            ' '..='~' => letter,
            _ => '?',
        }));
        self.text.push('"');
    }

    pub(crate) fn number(&mut self, value: u64) {
        self.separate();
        self.text.push_str(&value.to_string());
    }

    pub(crate) fn base64(&mut self, value: &[u8]) {
        self.string(&URL_SAFE_NO_PAD.encode(value));
    }

    pub(crate) fn hex(&mut self, value: &[u8]) {
        self.string(&to_hex(value));
    }

    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => {
                self.separate();
                self.text.push_str("null");
            }
        }
    }

    pub(crate) fn list<T>(&mut self, entries: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.separate();
        self.text.push('[');
        for entry in entries {
            write(self, entry);
        }
        self.text.push(']');
    }
}
