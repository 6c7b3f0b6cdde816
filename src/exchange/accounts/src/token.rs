//! Access and refresh tokens: made from random bytes, kept only as their SHA-256.
//!
//! A token has 32 random characters of 62, about 190 bits; nothing can be gained by guessing, so a plain hash suffices.

use aws_lc_rs::digest::{SHA256, digest};
use lamchat_base::Entropy;
use ruma::OwnedDeviceId;

/// Random characters in a token, after the prefix.
const TOKEN_CHARS: usize = 32;
/// Letters in a device id that the exchange makes up.
const DEVICE_ID_CHARS: usize = 10;
/// Longest token that is looked at; ours are shorter.
pub const TOKEN_BYTES_MAX: usize = 128;

/// The SHA-256 of a token: what the tables know of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token that a client sent.
    pub fn of(token: &str) -> Self {
        let mut hash = [0u8; 32];
        for (to, from) in hash.iter_mut().zip(digest(&SHA256, token.as_bytes()).as_ref()) {
            *to = *from;
        }
        Self(hash)
    }

    /// The key of the token's row.
    pub(crate) fn as_key(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

impl serde::Serialize for TokenHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> serde::Deserialize<'de> for TokenHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut hash = [0u8; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(serde::de::Error::custom("a token's hash has 64 hexadecimal digits"));
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            let digits = text.get(index * 2..index * 2 + 2).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).map_err(serde::de::Error::custom)?;
        }
        Ok(Self(hash))
    }
}

/// Tokens made before a write, so that the write itself needs no randomness and may be run again.
#[derive(Clone)]
pub struct NewTokens {
    /// The access token, `lct_…`.
    pub access: String,
    /// The refresh token, `lcr_…`, for clients that asked for one.
    pub refresh: String,
}

impl NewTokens {
    /// Makes a pair.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self {
            access: format!("lct_{}", entropy.alphanumeric(TOKEN_CHARS)),
            refresh: format!("lcr_{}", entropy.alphanumeric(TOKEN_CHARS)),
        }
    }
}

impl std::fmt::Debug for NewTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewTokens(…)")
    }
}

/// A device id for a client that brought none: ten capital letters, 47 bits.
pub fn generate_device_id(entropy: &dyn Entropy) -> OwnedDeviceId {
    let mut id = String::with_capacity(DEVICE_ID_CHARS);
    while id.len() < DEVICE_ID_CHARS {
        // Only letters of one case are taken, so that each is equally likely.
        id.extend(
            entropy
                .alphanumeric(64)
                .chars()
                .filter(char::is_ascii_uppercase)
                .take(DEVICE_ID_CHARS - id.len()),
        );
    }
    OwnedDeviceId::from(id)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{NewTokens, TOKEN_BYTES_MAX, TokenHash, generate_device_id};
    use lamchat_base::Entropy;
    use std::sync::atomic::{AtomicU8, Ordering};

    struct Counting(AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    #[test]
    fn tokens_have_their_form_and_do_not_show() {
        let tokens = NewTokens::generate(&Counting(AtomicU8::new(0)));
        assert!(tokens.access.starts_with("lct_") && tokens.refresh.starts_with("lcr_"));
        assert_eq!((tokens.access.len(), tokens.refresh.len()), (36, 36));
        assert!(tokens.access.len() <= TOKEN_BYTES_MAX);
        assert_eq!(
            format!("{tokens:?} {:?}", TokenHash::of("x")),
            "NewTokens(…) TokenHash(…)"
        );
    }

    #[test]
    fn device_ids_are_ten_capitals() {
        let id = generate_device_id(&Counting(AtomicU8::new(9)));
        assert_eq!(id.as_str().len(), 10);
        assert!(id.as_str().bytes().all(|byte| byte.is_ascii_uppercase()));
    }

    #[test]
    fn hashes_survive_json() {
        let hash = TokenHash::of("lct_x");
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(json.len(), 66);
        assert_eq!(serde_json::from_str::<TokenHash>(&json).unwrap(), hash);
        for wrong in [
            r#""""#,
            r#""00""#,
            r#"7"#,
            &format!("\"{}\"", "ä".repeat(32)),
            &format!("\"{}\"", "g".repeat(64)),
        ] {
            assert!(serde_json::from_str::<TokenHash>(wrong).is_err(), "{wrong}");
        }
    }
}
