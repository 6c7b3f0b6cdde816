//! Nonces of registration by shared secret: valid for 60 seconds and for one registration.
//!
//! A nonce carries its time and a tag under a key of this process, so that handing one out costs no memory and
//! strangers cannot push out the nonces of others. Only used ones are remembered, until they would expire.

use aws_lc_rs::hmac;
use lamchat_base::Entropy;
use parking_lot::Mutex;
use std::collections::HashMap;

/// How long a nonce is valid.
const LIFETIME_MS: u64 = 60_000;
/// Registrations within that time; more than any machine can make.
const USED_MAX: usize = 65_536;
const RANDOM_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// Hands out nonces and takes them back once.
pub struct Nonces {
    key: hmac::Key,
    used: Mutex<HashMap<String, u64>>,
}

impl Nonces {
    /// With a key of its own: nonces of an earlier start are not valid any more.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut key = [0u8; 32];
        entropy.fill(&mut key);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            used: Mutex::default(),
        }
    }

    /// A new nonce, in hexadecimal digits.
    pub fn issue(&self, entropy: &dyn Entropy, now_ms: u64) -> String {
        let mut random = [0u8; RANDOM_BYTES];
        entropy.fill(&mut random);
        let head = [&now_ms.to_be_bytes()[..], &random].concat();
        hex(&[&head, self.tag(&head).as_slice()].concat())
    }

    /// Whether `nonce` was handed out here within the last minute and not taken yet; it is taken now.
    pub fn take(&self, nonce: &str, now_ms: u64) -> bool {
        let Some(bytes) = unhex(nonce).filter(|bytes| bytes.len() == 8 + RANDOM_BYTES + TAG_BYTES) else {
            return false;
        };
        let (head, tag) = bytes.split_at(8 + RANDOM_BYTES);
        let Some((time, _)) = head.split_first_chunk::<8>() else {
            return false;
        };
        let issued_ms = u64::from_be_bytes(*time);
        let genuine = aws_lc_rs::constant_time::verify_slices_are_equal(&self.tag(head), tag).is_ok();
        let end_ms = issued_ms.saturating_add(LIFETIME_MS);
        if !genuine || now_ms >= end_ms {
            return false;
        }
        let mut used = self.used.lock();
        used.retain(|_, end_ms| *end_ms > now_ms);
        // Hexadecimal digits may come in capitals: what counts is the bytes.
        used.len() < USED_MAX && used.insert(hex(&bytes), end_ms).is_none()
    }

    /// Makes a taken nonce valid again: its registration did not come about.
    pub fn give_back(&self, nonce: &str) {
        if let Some(bytes) = unhex(nonce) {
            self.used.lock().remove(&hex(&bytes));
        }
    }

    fn tag(&self, head: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key, head)
            .as_ref()
            .iter()
            .copied()
            .take(TAG_BYTES)
            .collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() > 1024 || !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{LIFETIME_MS, Nonces, unhex};
    use lamchat_base::Entropy;
    use std::sync::atomic::{AtomicU8, Ordering};

    struct Counting(AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    #[test]
    fn a_nonce_is_good_once_and_for_a_minute() {
        let entropy = Counting(AtomicU8::new(0));
        let nonces = Nonces::new(&entropy);
        let first = nonces.issue(&entropy, 1000);
        let second = nonces.issue(&entropy, 1000);
        assert_ne!(first, second);
        assert!(nonces.take(&first, 1000));
        assert!(!nonces.take(&first, 1001), "used");
        assert!(!nonces.take(&first.to_uppercase(), 1001), "used, in other letters");
        nonces.give_back(&first);
        assert!(nonces.take(&first, 1001));
        assert!(!nonces.take(&second, 1000 + LIFETIME_MS), "expired");
        assert!(nonces.take(&second, 1000 + LIFETIME_MS - 1));
        for bad in [
            "",
            "00",
            "zz",
            &first[1..],
            &format!("00{}", &first[2..]),
            &"0".repeat(80),
            &"é".repeat(40),
        ] {
            assert!(!nonces.take(bad, 1002), "{bad}");
        }
        assert!(!Nonces::new(&entropy).take(&second, 1000), "of another process");
    }

    #[test]
    fn hexadecimal_digits_only() {
        assert_eq!(unhex("00fF"), Some(vec![0, 255]));
        for bad in ["0", "0g", "+1", "é"] {
            assert_eq!(unhex(bad), None);
        }
    }
}
