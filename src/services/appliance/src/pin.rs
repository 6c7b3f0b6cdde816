//! The console's PIN. It is short, so that only its slow hash and the waiting after wrong ones protect it; the file with
//! the hash lies on the encrypted disk.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use lamchat_base::Entropy;

/// Fewest and most digits.
pub const PIN_DIGITS_MIN: usize = 6;
/// Longer ones are typed wrong.
pub const PIN_DIGITS_MAX: usize = 32;
/// RFC 9106, section 4: the second recommended choice is 64 MiB, 3 passes, 4 lanes; one lane here, one thread.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const SALT_BYTES: usize = 16;

/// Why there is no answer about a PIN.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Its form.
    #[error("a PIN has {PIN_DIGITS_MIN} to {PIN_DIGITS_MAX} digits")]
    Form,
    /// Hashing failed, or the hash in the file is not one.
    #[error("the PIN's hash: {0}")]
    Hash(String),
}

/// The hash of a new PIN, a PHC string.
pub fn hash(pin: &str, entropy: &dyn Entropy) -> Result<String, PinError> {
    if !(PIN_DIGITS_MIN..=PIN_DIGITS_MAX).contains(&pin.len()) || !pin.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PinError::Form);
    }
    let mut salt = [0; SALT_BYTES];
    entropy.fill(&mut salt);
    let failed = |error: &dyn std::fmt::Display| PinError::Hash(error.to_string());
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| failed(&error))?;
    let hash: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(pin.as_bytes(), &salt)
        .map_err(|error| failed(&error))?;
    Ok(hash.to_string())
}

/// Whether a PIN is the one of the hash.
pub fn verify(pin: &str, hash: &str) -> Result<bool, PinError> {
    let failed = |error: &dyn std::fmt::Display| PinError::Hash(error.to_string());
    if pin.len() > PIN_DIGITS_MAX {
        return Ok(false);
    }
    let hash = PasswordHash::new(hash).map_err(|error| failed(&error))?;
    match Argon2::default().verify_password(pin.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{hash, verify};
    use lamchat_base::Entropy;

    struct Ones;

    impl Entropy for Ones {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(1);
        }
    }

    #[test]
    fn only_the_right_pin_is_right() {
        let kept = hash("135790", &Ones).unwrap();
        assert!(kept.starts_with("$argon2id$"));
        assert!(verify("135790", &kept).unwrap());
        assert!(!verify("135791", &kept).unwrap());
        assert!(!verify(&"1".repeat(100), &kept).unwrap());
        assert!(verify("135790", "nonsense").is_err());
        for wrong in ["12345", "", "12345a", &"1".repeat(33)] {
            assert!(hash(wrong, &Ones).is_err());
        }
    }
}
