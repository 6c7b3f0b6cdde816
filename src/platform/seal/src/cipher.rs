//! AES-256-GCM and HKDF-SHA-256 as this project uses them, on aws-lc-rs.

use aws_lc_rs::aead::{self, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf;
use lamchat_base::Secret;
use zeroize::Zeroizing;

/// Bytes that the authentication tag adds.
pub(crate) const TAG_BYTES: usize = 16;
/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 12;

/// The authentication failed: another key, or changed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data was changed, or was encrypted with another key")]
pub struct TamperedError;

/// AES-256-GCM under one key. The caller guarantees that no nonce is used twice under a key.
pub struct Aead(LessSafeKey);

impl Aead {
    /// Prepares `key`.
    #[expect(
        clippy::expect_used,
        reason = "AES-256 takes every key of 32 bytes, which the type guarantees"
    )]
    pub fn new(key: &Secret<32>) -> Self {
        Self(LessSafeKey::new(
            UnboundKey::new(&aead::AES_256_GCM, key.expose()).expect("a key of 32 bytes"),
        ))
    }

    /// Encrypts `buffer` in place and appends the 16-byte tag.
    pub fn seal(&self, nonce: [u8; 12], aad: &[u8], buffer: &mut Vec<u8>) {
        let tag = self.seal_part(nonce, aad, buffer);
        buffer.extend_from_slice(&tag);
    }

    /// Encrypts `bytes` (below 64 GiB) in place and answers the tag, for a buffer that holds several messages.
    #[expect(
        clippy::expect_used,
        reason = "AES-GCM refuses only messages above 64 GiB, which no buffer here holds"
    )]
    pub fn seal_part(&self, nonce: [u8; 12], aad: &[u8], bytes: &mut [u8]) -> [u8; 16] {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let made = self
            .0
            .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), bytes)
            .expect("a message below 64 GiB");
        let mut tag = [0u8; 16];
        tag.copy_from_slice(made.as_ref());
        tag
    }

    /// Decrypts `buffer`, whose last 16 bytes are the tag, in place; answers the length of the clear text, which is at
    /// the start of `buffer`.
    pub fn open(&self, nonce: [u8; 12], aad: &[u8], buffer: &mut [u8]) -> Result<usize, TamperedError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let clear = self
            .0
            .open_in_place(nonce, aead::Aad::from(aad), buffer)
            .map_err(|_| TamperedError)?;
        Ok(clear.len())
    }
}

impl std::fmt::Debug for Aead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Aead(…)")
    }
}

struct Bytes32;

impl hkdf::KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

/// HKDF-SHA-256 (RFC 5869): a key for the purpose that `info` names.
#[expect(clippy::expect_used, reason = "HKDF-SHA-256 refuses only outputs above 8,160 bytes")]
pub(crate) fn derive<const N: usize>(secret: &Secret<N>, salt: &[u8], info: &[u8]) -> Secret<32> {
    let mut key = Zeroizing::new([0u8; 32]);
    let parts = [info];
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(secret.expose().as_slice())
        .expand(&parts, Bytes32)
        .and_then(|output| output.fill(key.as_mut_slice()))
        .expect("an output of 32 bytes");
    Secret::new(*key)
}

/// Decrypts `sealed` (ciphertext and tag) to exactly `N` secret bytes.
pub(crate) fn unwrap<const N: usize>(
    key: &Secret<32>,
    nonce: [u8; 12],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Secret<N>, TamperedError> {
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let length = Aead::new(key).open(nonce, aad, &mut buffer)?;
    let clear = buffer.get(..length).ok_or(TamperedError)?;
    let mut bytes = Zeroizing::new([0u8; N]);
    if clear.len() != N {
        return Err(TamperedError);
    }
    bytes.copy_from_slice(clear);
    Ok(Secret::new(*bytes))
}

/// Encrypts `secret`; the inverse of [`unwrap`].
pub(crate) fn wrap(key: &Secret<32>, nonce: [u8; 12], aad: &[u8], secret: &[u8]) -> Vec<u8> {
    // The capacity is exact, so that appending the tag does not leave a clear copy behind in a freed buffer.
    let mut buffer = Vec::with_capacity(secret.len() + TAG_BYTES);
    buffer.extend_from_slice(secret);
    Aead::new(key).seal(nonce, aad, &mut buffer);
    buffer
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::{Aead, derive, unwrap, wrap};
    use lamchat_base::Secret;

    #[test]
    fn what_is_sealed_opens_only_unchanged() {
        let key = Secret::new([7; 32]);
        let sealed = wrap(&key, [1; 12], b"name", &[9; 64]);
        assert_eq!(
            unwrap::<64>(&key, [1; 12], b"name", &sealed).unwrap(),
            Secret::new([9; 64])
        );
        assert!(unwrap::<63>(&key, [1; 12], b"name", &sealed).is_err());
        assert!(unwrap::<64>(&key, [2; 12], b"name", &sealed).is_err());
        assert!(unwrap::<64>(&key, [1; 12], b"nama", &sealed).is_err());
        assert!(unwrap::<64>(&Secret::new([8; 32]), [1; 12], b"name", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(unwrap::<64>(&key, [1; 12], b"name", &bad).is_err());
        }
        assert!(Aead::new(&key).open([0; 12], b"", &mut [0; 3]).is_err());
    }

    /// Computed a second way, by the two HMACs that RFC 5869 sections 2.2 and 2.3 define.
    #[test]
    fn derivation_is_hkdf() {
        let prk = aws_lc_rs::hmac::sign(
            &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"salt"),
            &[3; 32],
        );
        let okm = aws_lc_rs::hmac::sign(
            &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, prk.as_ref()),
            b"info\x01",
        );
        assert_eq!(derive(&Secret::new([3; 32]), b"salt", b"info").expose(), okm.as_ref());
    }
}
