//! TPM2_MakeCredential in software: a secret that only the TPM with this endorsement key can open, and only while it
//! holds an object of this name (TCG Part 1, "Credential Protection" and annexes B.10.4, C.6.4, 11.4.10).

use crate::public::{EndorsementAlgorithm, EndorsementKey, Point, der};
use crate::wire::push_sized;
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::{agreement, digest, hmac};
use lamchat_base::Entropy;
use zeroize::Zeroizing;

/// Bytes of the seed and of the secret: as many as the hash of the endorsement key's name has.
pub const SECRET_BYTES: usize = 32;
/// Tries to draw a private key: a random number is one except for 1 in 2^32.
const DRAWS_MAX: usize = 8;
/// Label of the seed, with its terminating zero.
const IDENTITY: &[u8] = b"IDENTITY\0";

/// The cryptographic library refused: the key is no valid key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endorsement key is no valid key")]
pub struct CredentialError;

/// What TPM2_ActivateCredential takes, each without the length that a TPM2B puts before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// TPM2B_ID_OBJECT's content: integrity and encrypted secret.
    pub blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET's content: the seed for the endorsement key.
    pub encrypted_secret: Vec<u8>,
}

/// Wraps `secret` for the TPM with the endorsement key `key` and an object named `name`.
///
/// Seed and ephemeral key are drawn from `entropy`; OAEP's padding is drawn by the cryptographic library itself.
///
/// # Errors
/// The endorsement key is no valid key.
pub fn make_credential(
    key: &EndorsementKey,
    name: &[u8],
    secret: &[u8; SECRET_BYTES],
    entropy: &dyn Entropy,
) -> Result<Credential, CredentialError> {
    let (seed, encrypted_secret) = match &key.algorithm {
        EndorsementAlgorithm::Rsa { .. } => rsa_seed(key, entropy)?,
        EndorsementAlgorithm::Ecc(point) => ecc_seed(point, entropy)?,
    };
    let symmetric = kdfa(&*seed, b"STORAGE\0", name, key.aes_bytes);
    let mut identity = Vec::with_capacity(2 + SECRET_BYTES);
    push_sized(&mut identity, secret);
    encrypt_cfb(&symmetric, &mut identity)?;
    let integrity_key = kdfa(&*seed, b"INTEGRITY\0", b"", SECRET_BYTES);
    let integrity_key = hmac::Key::new(hmac::HMAC_SHA256, &integrity_key);
    let mut context = hmac::Context::with_key(&integrity_key);
    context.update(&identity);
    context.update(name);
    let mut blob = Vec::with_capacity(2 + 32 + identity.len());
    push_sized(&mut blob, context.sign().as_ref());
    blob.extend_from_slice(&identity);
    Ok(Credential { blob, encrypted_secret })
}

type Seed = Zeroizing<[u8; SECRET_BYTES]>;

/// A random seed under RSA-OAEP (B.10.4): hash and mask by the hash of the key's name, label `IDENTITY`.
fn rsa_seed(key: &EndorsementKey, entropy: &dyn Entropy) -> Result<(Seed, Vec<u8>), CredentialError> {
    let mut seed = Zeroizing::new([0; SECRET_BYTES]);
    entropy.fill(&mut *seed);
    // SubjectPublicKeyInfo with rsaEncryption and NULL (RFC 3279, 2.3.1).
    let algorithm = [
        0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let mut bits = vec![0];
    bits.extend(key.subject_public_key());
    let info = der(0x30, &[&algorithm, der(0x03, &bits).as_slice()].concat());
    let public = PublicEncryptingKey::from_der(&info).map_err(|_| CredentialError)?;
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| CredentialError)?;
    let mut out = vec![0; public.ciphertext_size()];
    let length = public
        .encrypt(&OAEP_SHA256_MGF1SHA256, &*seed, &mut out, Some(IDENTITY))
        .map_err(|_| CredentialError)?
        .len();
    out.truncate(length);
    Ok((seed, out))
}

/// A seed agreed with an ephemeral key (C.6.4), which is sent as a point.
fn ecc_seed(point: &Point, entropy: &dyn Entropy) -> Result<(Seed, Vec<u8>), CredentialError> {
    let mut scalar = Zeroizing::new([0; 32]);
    let drawn = (0..DRAWS_MAX).find_map(|_| {
        entropy.fill(&mut *scalar);
        agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, &*scalar).ok()
    });
    let ephemeral = drawn.ok_or(CredentialError)?;
    let public = ephemeral.compute_public_key().map_err(|_| CredentialError)?;
    let public: Point = public.as_ref().try_into().map_err(|_| CredentialError)?;
    let [x, y] = coordinates(&public);
    let [other_x, _] = coordinates(point);
    let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point);
    let seed = agreement::agree(&ephemeral, peer, CredentialError, |shared| {
        // KDFe (11.4.10.3) of one round: both sides' x coordinates are the parties.
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&1u32.to_be_bytes(), shared, IDENTITY, &x, &other_x] {
            context.update(part);
        }
        let mut seed = Zeroizing::new([0; SECRET_BYTES]);
        seed.copy_from_slice(context.finish().as_ref());
        Ok(seed)
    })?;
    let mut sent = Vec::with_capacity(2 * 34);
    push_sized(&mut sent, &x);
    push_sized(&mut sent, &y);
    Ok((seed, sent))
}

/// x and y of a point.
fn coordinates(point: &Point) -> [[u8; 32]; 2] {
    let mut both = [[0; 32]; 2];
    let (_, rest) = point.split_at(1);
    for (number, bytes) in both.iter_mut().zip(rest.as_chunks::<32>().0) {
        *number = *bytes;
    }
    both
}

/// KDFa (Part 1, 11.4.10.2) of one round of HMAC-SHA-256, which gives up to 32 bytes. `label` has its zero.
fn kdfa(key: &[u8], label: &[u8], context: &[u8], bytes: usize) -> Zeroizing<Vec<u8>> {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    mac.update(&1u32.to_be_bytes());
    mac.update(label);
    mac.update(context);
    // At most 256 bits.
    mac.update(&((bytes * 8) as u32).to_be_bytes());
    let mut out = Zeroizing::new(mac.sign().as_ref().to_vec());
    out.truncate(bytes);
    out
}

/// AES in CFB mode with a feedback of 128 bits and an initialization vector of zeros: the key is used once.
fn encrypt_cfb(key: &[u8], bytes: &mut [u8]) -> Result<(), CredentialError> {
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| CredentialError)?;
    let key = EncryptingKey::cfb128(key).map_err(|_| CredentialError)?;
    let vector = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    key.less_safe_encrypt(bytes, vector).map_err(|_| CredentialError)?;
    Ok(())
}
