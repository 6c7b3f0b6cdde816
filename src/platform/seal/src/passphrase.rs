//! From a passphrase to a wrapping key: argon2id (RFC 9106) with parameters that are stored beside the slot.

use argon2::{Algorithm, Argon2, Params, Version};
use lamchat_base::Secret;
use zeroize::Zeroizing;

/// What guessing a passphrase costs; stored with each slot, so that it can grow later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl PassphraseCost {
    /// The second recommendation of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes.
    pub const DEFAULT: Self = Self {
        memory_kib: 65_536,
        passes: 3,
        lanes: 4,
    };
    /// As little as argon2id allows; for tests only.
    pub const MINIMUM: Self = Self {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };

    /// Whether a keyring may ask for this much: a changed file must not make the start take all memory.
    pub(crate) fn is_sane(self) -> bool {
        (8..=4_194_304).contains(&self.memory_kib)
            && (1..=1_000).contains(&self.passes)
            && (1..=64).contains(&self.lanes)
    }

    /// The wrapping key, or `None` for parameters that argon2 does not take.
    pub(crate) fn derive(self, passphrase: &[u8], salt: &[u8; 32]) -> Option<Secret<32>> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).ok()?;
        let mut key = Zeroizing::new([0u8; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, salt, key.as_mut_slice())
            .ok()?;
        Some(Secret::new(*key))
    }
}

impl Default for PassphraseCost {
    fn default() -> Self {
        Self::DEFAULT
    }
}
