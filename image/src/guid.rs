//! GUIDs as UEFI keeps them in memory and on disk: the first three fields little-endian.

use lamchat_attestation::Sha256;
use std::fmt;

/// A GUID, in the order of UEFI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From the 16 bytes in the order in which they are written (RFC 9562).
    pub const fn from_rfc(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
        let [i, j, k, l, m, n, o, p] = rest;
        Self([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
    }

    /// From a number that is written as its digits are.
    pub const fn new(digits: u128) -> Self {
        Self::from_rfc(digits.to_be_bytes())
    }

    /// A GUID that a name gives: version 8 of RFC 9562.
    pub fn of_name(name: &str) -> Self {
        let digest = u128::from_be_bytes(*Sha256::of(name.as_bytes()).0.first_chunk().unwrap_or(&[0; 16]));
        let version = digest & !(0xF << 76) | 0x8 << 76;
        Self::new(version & !(0x3 << 62) | 0x2 << 62)
    }

    /// From the usual text; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let guid = Self::new(u128::from_str_radix(&text.replace('-', ""), 16).ok()?);
        guid.to_string().eq_ignore_ascii_case(text).then_some(guid)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Swapping twice gives the order of writing.
        let written = u128::from_be_bytes(Self::from_rfc(self.0).0);
        let hex = format!("{written:032x}");
        let mut rest = hex.as_str();
        for (number, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
            let (part, tail) = rest.split_at_checked(length).unwrap_or((rest, ""));
            rest = tail;
            write!(f, "{}{part}", if number == 0 { "" } else { "-" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Guid;

    #[test]
    fn a_guid_is_mixed_endian_in_memory_and_keeps_its_text() {
        let esp = Guid::new(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B);
        assert_eq!(esp.0.first_chunk(), Some(&[0x28, 0x73, 0x2A, 0xC1]));
        assert_eq!(esp.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(Guid::parse("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"), Some(esp));
        assert_eq!(Guid::parse("C12A7328F81F11D2BA4B00A0C93EC93B"), None);
    }

    #[test]
    fn names_give_custom_guids() {
        let text = Guid::of_name("x").to_string();
        assert_eq!(text.as_bytes().get(14), Some(&b'8'));
        assert_ne!(Guid::of_name("x"), Guid::of_name("y"));
    }
}
