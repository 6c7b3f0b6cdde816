//! The cryptography that TPM 2.0 Part 1 prescribes for sessions and credentials: KDFa, KDFe, HMAC, AES-128-CFB, ECDH on
//! P-256 and RSA-OAEP. All of it on aws-lc-rs; nothing here knows what a command is.

use aws_lc_rs::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::cipher::{
    AES_128, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

/// A computation was refused: a point that is not on the curve, a key that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key of the TPM cannot be used: it is no valid point or modulus")]
pub struct KeyError;

/// A point of P-256 in affine coordinates, each 32 bytes big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The x coordinate.
    pub x: [u8; 32],
    /// The y coordinate.
    pub y: [u8; 32],
}

impl Point {
    /// `04 || x || y` (SEC 1, 2.3.3), as most libraries take it.
    pub fn uncompressed(&self) -> [u8; 65] {
        let mut bytes = [4u8; 65];
        let (_, rest) = bytes.split_at_mut(1);
        for (into, from) in rest.iter_mut().zip(self.x.iter().chain(&self.y)) {
            *into = *from;
        }
        bytes
    }

    /// Whether there is such a point on the curve.
    pub(crate) fn is_on_curve(&self) -> bool {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.uncompressed()).is_ok()
    }

    pub(crate) fn from_uncompressed(bytes: &[u8]) -> Result<Self, KeyError> {
        let (head, rest) = bytes.split_first().ok_or(KeyError)?;
        let (x, rest) = rest.split_first_chunk::<32>().ok_or(KeyError)?;
        let (y, rest) = rest.split_first_chunk::<32>().ok_or(KeyError)?;
        if *head == 4 && rest.is_empty() {
            Ok(Self { x: *x, y: *y })
        } else {
            Err(KeyError)
        }
    }
}

/// SHA-256 over the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0u8; 32];
    for (into, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *into = *from;
    }
    out
}

/// HMAC-SHA-256 over the parts.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut out = Zeroizing::new([0u8; 32]);
    for (into, from) in out.iter_mut().zip(context.sign().as_ref()) {
        *into = *from;
    }
    out
}

/// Compares without telling by its duration where the difference is.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// KDFa of Part 1, 11.4.10.2 (SP 800-108 in counter mode, HMAC-SHA-256), for at most 256 bits.
pub(crate) fn kdfa(key: &[u8], label: &str, context_u: &[u8], context_v: &[u8], bits: u16) -> Zeroizing<Vec<u8>> {
    let block = hmac_sha256(
        key,
        &[
            &1u32.to_be_bytes(),
            label.as_bytes(),
            &[0],
            context_u,
            context_v,
            &u32::from(bits).to_be_bytes(),
        ],
    );
    let bytes = usize::from(bits / 8).min(block.len());
    Zeroizing::new(block.get(..bytes).unwrap_or_default().to_vec())
}

/// KDFe of Part 1, 11.4.10.3 (SP 800-56A, SHA-256), for 256 bits.
pub(crate) fn kdfe(z: &[u8], label: &str, party_u: &[u8], party_v: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(sha256(&[&1u32.to_be_bytes(), z, label.as_bytes(), &[0], party_u, party_v]).to_vec())
}

/// A fresh key pair of P-256, agreed with `peer`: the public half for the peer, and a 256-bit secret by KDFe.
pub(crate) fn agree(peer: &Point, label: &str) -> Result<(Point, Zeroizing<Vec<u8>>), KeyError> {
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).map_err(|_| KeyError)?;
    let public = own.compute_public_key().map_err(|_| KeyError)?;
    let public = Point::from_uncompressed(public.as_ref())?;
    let bytes = peer.uncompressed();
    let peer_key = UnparsedPublicKey::new(&ECDH_P256, bytes.as_slice());
    let secret = agree_ephemeral(own, peer_key, KeyError, |z| Ok(kdfe(z, label, &public.x, &peer.x)))?;
    Ok((public, secret))
}

/// Encrypts `data` in place with AES-128 in CFB mode. `key_iv`: 16 bytes of key, 16 of initialization vector.
pub(crate) fn cfb_encrypt(key_iv: &[u8], data: &mut [u8]) -> Result<(), KeyError> {
    let (key, iv) = split(key_iv)?;
    EncryptingKey::cfb128(key)
        .and_then(|key| key.less_safe_encrypt(data, EncryptionContext::Iv128(iv)))
        .map(drop)
        .map_err(|_| KeyError)
}

/// The opposite of [`cfb_encrypt`].
pub(crate) fn cfb_decrypt(key_iv: &[u8], data: &mut [u8]) -> Result<(), KeyError> {
    let (key, iv) = split(key_iv)?;
    let key = DecryptingKey::cfb128(key).map_err(|_| KeyError)?;
    key.decrypt(data, DecryptionContext::Iv128(iv))
        .map(drop)
        .map_err(|_| KeyError)
}

fn split(key_iv: &[u8]) -> Result<(UnboundCipherKey, FixedLength<16>), KeyError> {
    let (key, rest) = key_iv.split_at_checked(16).ok_or(KeyError)?;
    let iv = <[u8; 16]>::try_from(rest).map_err(|_| KeyError)?;
    let key = UnboundCipherKey::new(&AES_128, key).map_err(|_| KeyError)?;
    Ok((key, FixedLength::from(iv)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{cfb_decrypt, cfb_encrypt, kdfa, kdfe};

    #[test]
    fn cfb_is_its_own_opposite_at_every_length() {
        let key_iv: Vec<u8> = (0..32).collect();
        for length in 0..70 {
            let clear: Vec<u8> = (0..length).collect();
            let mut data = clear.clone();
            cfb_encrypt(&key_iv, &mut data).unwrap();
            assert!(length < 8 || data != clear);
            cfb_decrypt(&key_iv, &mut data).unwrap();
            assert_eq!(data, clear);
        }
        assert!(cfb_encrypt(&[0; 31], &mut [0; 4]).is_err());
    }

    #[test]
    fn derivations_depend_on_every_input() {
        let base = kdfa(b"k", "ATH", b"u", b"v", 256);
        assert_eq!(base.len(), 32);
        assert_ne!(base, kdfa(b"l", "ATH", b"u", b"v", 256));
        assert_ne!(base, kdfa(b"k", "CFB", b"u", b"v", 256));
        assert_ne!(base, kdfa(b"k", "ATH", b"w", b"v", 256));
        assert_eq!(kdfa(b"k", "ATH", b"u", b"v", 128).len(), 16);
        assert_ne!(kdfe(b"z", "SECRET", b"u", b"v"), kdfe(b"z", "IDENTITY", b"u", b"v"));
    }
}
