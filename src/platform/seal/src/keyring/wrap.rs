//! Data keys under the master key: made, wrapped and unwrapped.

use super::{DATABASE, Keyring, KeyringError};
use crate::cipher::{self, NONCE_BYTES};
use crate::format::{Ring, WrappedKey};
use lamchat_base::{Entropy, Secret};
use zeroize::Zeroizing;

impl Keyring {
    pub(crate) fn new_database_key(&self, ring: &Ring) -> WrappedKey {
        self.new_key(ring, DATABASE, random_long_key(&*self.entropy).expose())
    }

    pub(crate) fn new_key(&self, ring: &Ring, purpose: u8, key: &[u8]) -> WrappedKey {
        let number = newest(ring, purpose).map_or(0, |newest| newest.number) + 1;
        self.wrap_as(ring, purpose, number, key)
    }

    /// A data key with this number, wrapped.
    pub(crate) fn wrap_as(&self, ring: &Ring, purpose: u8, number: u32, key: &[u8]) -> WrappedKey {
        let mut nonce = [0u8; NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        let sealed = cipher::wrap(
            &wrapping_key(&self.master),
            nonce,
            &key_aad(&ring.id, purpose, number),
            key,
        );
        WrappedKey {
            purpose,
            number,
            nonce,
            sealed,
        }
    }

    pub(crate) fn unwrap_key<const N: usize>(
        &self,
        ring: &Ring,
        wrapped: &WrappedKey,
    ) -> Result<Secret<N>, KeyringError> {
        let aad = key_aad(&ring.id, wrapped.purpose, wrapped.number);
        cipher::unwrap(&wrapping_key(&self.master), wrapped.nonce, &aad, &wrapped.sealed)
            .map_err(|_| KeyringError::Damaged)
    }
}

pub(crate) fn newest(ring: &Ring, purpose: u8) -> Option<&WrappedKey> {
    ring.keys
        .iter()
        .filter(|key| key.purpose == purpose)
        .max_by_key(|key| key.number)
}

pub(crate) fn random_key(entropy: &dyn Entropy) -> Secret<32> {
    let mut key = Zeroizing::new([0u8; 32]);
    entropy.fill(key.as_mut_slice());
    Secret::new(*key)
}

/// Two AES-256 keys, as XTS wants them.
pub(crate) fn random_long_key(entropy: &dyn Entropy) -> Secret<64> {
    let mut key = Zeroizing::new([0u8; 64]);
    entropy.fill(key.as_mut_slice());
    Secret::new(*key)
}

/// What wraps data keys.
fn wrapping_key(master: &Secret<32>) -> Secret<32> {
    cipher::derive(master, b"lamchat keyring", b"wrap data keys")
}

/// What authenticates the file.
pub(crate) fn mac_key(master: &Secret<32>) -> Secret<32> {
    cipher::derive(master, b"lamchat keyring", b"authenticate file")
}

/// Binds a wrapped data key to its keyring, purpose and number.
fn key_aad(ring_id: &[u8; 16], purpose: u8, number: u32) -> Vec<u8> {
    let mut aad = b"lamchat data key".to_vec();
    aad.extend_from_slice(ring_id);
    aad.push(purpose);
    aad.extend_from_slice(&number.to_be_bytes());
    aad
}
