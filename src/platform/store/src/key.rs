//! Composite keys whose byte order is the order of their parts.

/// Builds a key: numbers big-endian, strings ended by a zero byte so that a shorter one sorts first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// An empty key, which is also the prefix of every key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one byte.
    #[must_use]
    pub fn u8(mut self, number: u8) -> Self {
        self.0.push(number);
        self
    }

    /// Appends a number of four bytes.
    #[must_use]
    pub fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Appends a number of eight bytes.
    #[must_use]
    pub fn u64(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Appends a string and its end, a zero byte. The bytes 00 and 01 inside become `01 01` and `01 02`,
    /// so order and uniqueness hold whatever follows.
    #[must_use]
    pub fn str(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            match byte {
                0 | 1 => self.0.extend_from_slice(&[1, byte + 1]),
                other => self.0.push(other),
            }
        }
        self.0.push(0);
        self
    }

    /// Appends bytes as they are; only as the last part.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Takes a key apart again. Every method answers `None` at the end or on a malformed part.
#[derive(Debug, Clone)]
pub struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    /// Reads from the start of `key`.
    pub fn new(key: &'a [u8]) -> Self {
        Self(key)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*first))
    }

    /// The next eight bytes as a number.
    pub fn u64(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*first))
    }

    /// The next string.
    pub fn str(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        loop {
            match self.u8()? {
                0 => return String::from_utf8(bytes).ok(),
                1 => bytes.push(self.u8()?.checked_sub(1)?),
                byte => bytes.push(byte),
            }
        }
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::{Key, KeyReader};

    #[test]
    fn parts_come_back() {
        let key = Key::new()
            .u8(7)
            .u32(1 << 30)
            .str("a\0b")
            .str("")
            .u64(u64::MAX)
            .raw(b"xyz");
        let mut reader = KeyReader::new(&key);
        assert_eq!(reader.u8(), Some(7));
        assert_eq!(reader.u32(), Some(1 << 30));
        assert_eq!(reader.str().as_deref(), Some("a\0b"));
        assert_eq!(reader.str().as_deref(), Some(""));
        assert_eq!(reader.u64(), Some(u64::MAX));
        assert_eq!(reader.rest(), b"xyz");
        assert_eq!(reader.u8(), None);
    }

    #[test]
    fn a_shorter_string_sorts_first() {
        assert!(*Key::new().str("ab").str("z") < *Key::new().str("abc").str("a"));
        let texts = [
            "", "\0", "\0\0", "\0\u{1}", "\0a", "\u{1}", "\u{1}a", "\u{2}", "a", "a\0", "a\u{1}", "ab",
        ];
        for pair in texts.windows(2) {
            assert!(
                *Key::new().str(pair[0]).u64(u64::MAX) < *Key::new().str(pair[1]).u64(0),
                "{pair:?}"
            );
            assert_eq!(KeyReader::new(&Key::new().str(pair[1])).str().as_deref(), Some(pair[1]));
        }
    }
}
