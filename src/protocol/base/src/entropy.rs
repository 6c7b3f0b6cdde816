//! Randomness as a parameter. The operating system's generator lives in `lamchat-host`.

/// The 62 characters of random identifiers and tokens.
const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A source of random bytes, cryptographically strong outside tests.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `buffer` with random bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// `length` random characters of `A-Za-z0-9` (5.95 bits each), uniformly distributed.
    fn alphanumeric(&self, length: usize) -> String {
        let mut text = String::with_capacity(length);
        let mut block = [0u8; 64];
        while text.len() < length {
            self.fill(&mut block);
            for byte in block {
                // 248 is the largest multiple of 62 in a byte: what lies above would bias the first letters.
                if byte < 248
                    && text.len() < length
                    && let Some(letter) = ALPHANUMERIC.get(usize::from(byte % 62))
                {
                    text.push(char::from(*letter));
                }
            }
        }
        text
    }

    /// A random 64-bit number.
    fn u64(&self) -> u64 {
        let mut bytes = [0u8; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Entropy;
    use std::sync::atomic::{AtomicU8, Ordering};

    struct Counting(AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            for byte in buffer {
                *byte = self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn alphanumeric_has_the_asked_length_and_alphabet() {
        let source = Counting(AtomicU8::new(0));
        for length in [0, 1, 61, 62, 63, 500] {
            let text = source.alphanumeric(length);
            assert_eq!(text.len(), length);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
        }
    }
}
