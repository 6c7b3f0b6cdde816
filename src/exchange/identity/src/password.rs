//! Passwords: argon2id (RFC 9106), kept as PHC strings, which carry their own cost.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use lamchat_base::Entropy;
use std::sync::Arc;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Most logins that wait for their turn; the next one is told to come back.
pub const WAITING_MAX: usize = 512;
/// Longest password.
pub const PASSWORD_BYTES_MAX: usize = 512;
/// Shortest new password, except at [`Cost::Minimum`].
pub const PASSWORD_CHARS_MIN: usize = 8;

const SALT_BYTES: usize = 16;

/// How dear a hash is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cost {
    /// 19 MiB, two passes, one lane: the least that OWASP recommends; about 20 ms.
    #[default]
    Default,
    /// 8 KiB, one pass, and passwords of any length: for tests only.
    Minimum,
}

impl Cost {
    fn memory_kib(self) -> u32 {
        match self {
            Self::Default => 19 * 1024,
            Self::Minimum => 8,
        }
    }

    fn passes(self) -> u32 {
        match self {
            Self::Default => 2,
            Self::Minimum => 1,
        }
    }

    /// A hash that no password has, at the cost of a real one.
    fn hash_of_nobody(self) -> String {
        format!(
            "$argon2id$v=19$m={},t={},p=1$bGFtY2hhdC1ub2JvZHkh${}",
            self.memory_kib(),
            self.passes(),
            "A".repeat(43)
        )
    }
}

/// Why a password was not hashed or compared.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// [`WAITING_MAX`] others wait already: `M_LIMIT_EXCEEDED`.
    #[error("too many logins at once; try again in a moment")]
    Busy,
    /// The password is too short: `M_WEAK_PASSWORD`.
    #[error("a password has at least {PASSWORD_CHARS_MIN} characters")]
    Weak,
    /// The password has more than [`PASSWORD_BYTES_MAX`] bytes: `M_INVALID_PARAM`.
    #[error("a password has at most {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    /// The hash in the database is none, or memory ran out. An internal fault.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// Hashes and compares passwords, a few at once. Made once.
#[derive(Debug, Clone)]
pub struct Passwords {
    cost: Cost,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Passwords {
    /// At most `at_once` hashes run at the same time, each on a thread that may block and with 19 MiB of memory.
    pub fn new(cost: Cost, at_once: usize) -> Self {
        let at_once = at_once.max(1);
        Self {
            cost,
            turns: Arc::new(Semaphore::new(at_once)),
            places: Arc::new(Semaphore::new(at_once + WAITING_MAX)),
        }
    }

    /// As many at once as there are processors.
    pub fn with_cost(cost: Cost) -> Self {
        Self::new(
            cost,
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        )
    }

    /// Whether a new password is good enough.
    pub fn check_strength(&self, password: &str) -> Result<(), PasswordError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::TooLong);
        }
        let chars_min = if self.cost == Cost::Minimum {
            1
        } else {
            PASSWORD_CHARS_MIN
        };
        if password.chars().take(chars_min).count() < chars_min {
            return Err(PasswordError::Weak);
        }
        Ok(())
    }

    /// The hash of a new password that is good enough, a PHC string for `lamchat_accounts::account`.
    pub async fn hash(&self, password: String, entropy: &dyn Entropy) -> Result<String, PasswordError> {
        let password = Zeroizing::new(password);
        self.check_strength(&password)?;
        let mut salt = [0u8; SALT_BYTES];
        entropy.fill(&mut salt);
        let cost = self.cost;
        self.run(move || {
            let params = Params::new(cost.memory_kib(), cost.passes(), 1, None).map_err(failed)?;
            let hash: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_with_salt(password.as_bytes(), &salt)
                .map_err(failed)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether `password` has the hash `hash`. Without a hash (no such account, or no password) the answer is no, and
    /// takes as long.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, PasswordError> {
        let password = Zeroizing::new(password);
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let is_somebody = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.cost.hash_of_nobody());
        let is_right = self
            .run(move || {
                let hash = PasswordHash::new(&hash).map_err(failed)?;
                match Argon2::default().verify_password(password.as_bytes(), &hash) {
                    Ok(()) => Ok(true),
                    Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                    Err(error) => Err(failed(error)),
                }
            })
            .await?;
        Ok(is_right && is_somebody)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _place = self.places.try_acquire().map_err(|_| PasswordError::Busy)?;
        // The turn goes along: when the caller gives up, the hash that runs on still counts.
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(failed)?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        })
        .await
        .map_err(failed)?
    }
}

fn failed(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Hash(error.to_string())
}

#[cfg(test)]
mod tests;
