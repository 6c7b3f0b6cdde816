//! A verifier's nonce.

use lamchat_attestation::from_hex;
use lamchat_attestation::limits::{NONCE_BYTES_MAX, NONCE_BYTES_MIN};

/// 16 to 32 bytes of a verifier's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(Vec<u8>);

/// The text or the bytes are no nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a nonce has 32 to 64 lower-case hexadecimal digits, two for each byte")]
pub struct NonceError;

impl Nonce {
    /// From bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, NonceError> {
        if (NONCE_BYTES_MIN..=NONCE_BYTES_MAX).contains(&bytes.len()) {
            Ok(Self(bytes.to_vec()))
        } else {
            Err(NonceError)
        }
    }

    /// From hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, NonceError> {
        if text.len() > 2 * NONCE_BYTES_MAX {
            return Err(NonceError);
        }
        Self::new(&from_hex(text).ok_or(NonceError)?)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::Nonce;

    #[test]
    fn nonces_are_neither_short_nor_long() {
        assert_eq!(Nonce::from_hex(&"a5".repeat(16)).unwrap().bytes(), [0xA5; 16]);
        assert!(Nonce::from_hex(&"00".repeat(32)).is_ok());
        for wrong in [
            "",
            "00",
            &"00".repeat(15),
            &"00".repeat(33),
            &"0".repeat(33),
            &"AA".repeat(16),
            &"zz".repeat(16),
        ] {
            assert!(Nonce::from_hex(wrong).is_err(), "{wrong}");
        }
    }
}
