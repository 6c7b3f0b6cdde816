//! Public areas of a TPM's keys (TPMT_PUBLIC; TCG Part 2, 12.2.4): the attestation key and the endorsement key, in the
//! forms that are accepted and no other.

use crate::quote::ALG_SHA256;
use crate::sha256::Sha256;
use crate::wire::Bytes;

const ALG_RSA: u16 = 0x0001;
const ALG_AES: u16 = 0x0006;
const ALG_NULL: u16 = 0x0010;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECC: u16 = 0x0023;
const ALG_CFB: u16 = 0x0043;
const CURVE_P256: u16 = 0x0003;

// TPMA_OBJECT (TCG Part 2, 8.3).
const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;

/// Why a key is not one that can vouch for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not a TPMT_PUBLIC, or has bytes behind its end.
    #[error("it is not a public area (TPMT_PUBLIC)")]
    Malformed,
    /// Another algorithm, curve, scheme or hash than this format has.
    #[error("it is of an algorithm that this format does not have")]
    Algorithm,
    /// It signs data that did not come from the TPM: it could sign a made-up quote.
    #[error("it is not restricted: it signs anything, also a made-up quote")]
    NotRestricted,
    /// It does not sign.
    #[error("it is not a signing key")]
    NotSigning,
    /// It signs and decrypts.
    #[error("it may decrypt, too")]
    Decrypts,
    /// It can be moved to another TPM.
    #[error("it is not fixed to its TPM")]
    NotFixedTpm,
    /// It can be moved under another parent.
    #[error("it is not fixed to its parent")]
    NotFixedParent,
    /// Its private part came from outside of the TPM.
    #[error("its private part was not made by the TPM")]
    Imported,
    /// An endorsement key that signs, or does not decrypt.
    #[error("it is not a restricted decryption key")]
    NotEndorsement,
}

impl KeyError {
    /// The name of this reason for an attestation key, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "ak-malformed",
            Self::Algorithm => "ak-algorithm",
            Self::NotRestricted => "ak-not-restricted",
            Self::NotSigning => "ak-not-signing",
            Self::Decrypts => "ak-decrypts",
            Self::NotFixedTpm => "ak-not-fixed-tpm",
            Self::NotFixedParent => "ak-not-fixed-parent",
            Self::Imported => "ak-imported",
            Self::NotEndorsement => "ek-not-endorsement",
        }
    }
}

/// A point on P-256, uncompressed: 4, x, y.
pub type Point = [u8; 65];

/// The part that all public areas begin with.
struct Head {
    algorithm: u16,
    attributes: u32,
}

fn read_head(rest: &mut Bytes<'_>) -> Result<Head, KeyError> {
    let algorithm = rest.u16().ok_or(KeyError::Malformed)?;
    let name_algorithm = rest.u16().ok_or(KeyError::Malformed)?;
    let attributes = rest.u32().ok_or(KeyError::Malformed)?;
    rest.sized(64).ok_or(KeyError::Malformed)?;
    if name_algorithm != ALG_SHA256 {
        return Err(KeyError::Algorithm);
    }
    Ok(Head { algorithm, attributes })
}

fn read_point(rest: &mut Bytes<'_>) -> Result<Point, KeyError> {
    let mut point = [0; 65];
    point[0] = 4;
    let (_, halves) = point.split_at_mut(1);
    for half in halves.as_chunks_mut::<32>().0 {
        let number = rest.sized(32).ok_or(KeyError::Malformed)?;
        let place = half.get_mut(32 - number.len()..).ok_or(KeyError::Malformed)?;
        place.copy_from_slice(number);
    }
    Ok(point)
}

/// Where a key lives and where it comes from: the same for both keys.
fn check_origin(attributes: u32) -> Result<(), KeyError> {
    match attributes {
        bits if bits & FIXED_TPM == 0 => Err(KeyError::NotFixedTpm),
        bits if bits & FIXED_PARENT == 0 => Err(KeyError::NotFixedParent),
        bits if bits & SENSITIVE_DATA_ORIGIN == 0 => Err(KeyError::Imported),
        _ => Ok(()),
    }
}

/// The name of an object (TCG Part 1, 16): its hash algorithm and the digest of its public area.
pub fn name(public: &[u8]) -> Vec<u8> {
    let mut name = ALG_SHA256.to_be_bytes().to_vec();
    name.extend_from_slice(&Sha256::of(public).0);
    name
}

/// An attestation key: ECDSA on P-256 with SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    /// Its public point.
    pub point: Point,
    attributes: u32,
}

impl AttestationKey {
    /// Reads a public area. Its attributes are checked by [`AttestationKey::check_attributes`].
    ///
    /// # Errors
    /// It is malformed or of another algorithm.
    pub fn parse(public: &[u8]) -> Result<Self, KeyError> {
        let mut rest = Bytes(public);
        let Head { algorithm, attributes } = read_head(&mut rest)?;
        if algorithm != ALG_ECC {
            return Err(KeyError::Algorithm);
        }
        // Symmetric, scheme with its hash, curve, key derivation.
        let mut next = || rest.u16().ok_or(KeyError::Malformed);
        let symmetric = next()?;
        if symmetric != ALG_NULL {
            // Only a restricted decryption key has one.
            return Err(if attributes & DECRYPT == 0 {
                KeyError::Algorithm
            } else {
                KeyError::Decrypts
            });
        }
        if next()? != ALG_ECDSA || next()? != ALG_SHA256 || next()? != CURVE_P256 || next()? != ALG_NULL {
            return Err(KeyError::Algorithm);
        }
        let point = read_point(&mut rest)?;
        if !rest.is_empty() {
            return Err(KeyError::Malformed);
        }
        Ok(Self { point, attributes })
    }

    /// Checks that the key signs what its TPM made and nothing else, and lives in this TPM alone.
    ///
    /// # Errors
    /// The first attribute that is wrong.
    pub fn check_attributes(&self) -> Result<(), KeyError> {
        match self.attributes {
            bits if bits & RESTRICTED == 0 => Err(KeyError::NotRestricted),
            bits if bits & SIGN == 0 => Err(KeyError::NotSigning),
            bits if bits & DECRYPT != 0 => Err(KeyError::Decrypts),
            bits => check_origin(bits),
        }
    }
}

/// The key of an endorsement key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndorsementAlgorithm {
    /// RSA: modulus without leading zeros, exponent.
    Rsa {
        /// Big-endian.
        modulus: Vec<u8>,
        /// 65537 nearly always.
        exponent: u32,
    },
    /// ECDH on P-256.
    Ecc(Point),
}

/// An endorsement key: a restricted decryption key of the TCG's EK templates with SHA-256 and AES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementKey {
    /// The key.
    pub algorithm: EndorsementAlgorithm,
    /// Bytes of the AES key that protects what is sent to it: 16 or 32.
    pub aes_bytes: usize,
}

impl EndorsementKey {
    /// Reads a public area and checks that it is an endorsement key's.
    ///
    /// # Errors
    /// It is malformed, of another algorithm, or has other attributes.
    pub fn parse(public: &[u8]) -> Result<Self, KeyError> {
        let mut rest = Bytes(public);
        let Head { algorithm, attributes } = read_head(&mut rest)?;
        if attributes & (RESTRICTED | DECRYPT | SIGN) != RESTRICTED | DECRYPT {
            return Err(KeyError::NotEndorsement);
        }
        check_origin(attributes)?;
        let mut next = || rest.u16().ok_or(KeyError::Malformed);
        if next()? != ALG_AES {
            return Err(KeyError::Algorithm);
        }
        let aes_bytes = match next()? {
            128 => 16,
            256 => 32,
            _ => return Err(KeyError::Algorithm),
        };
        if next()? != ALG_CFB || next()? != ALG_NULL {
            return Err(KeyError::Algorithm);
        }
        let algorithm = match algorithm {
            ALG_RSA => read_rsa(&mut rest)?,
            ALG_ECC => {
                let curve = rest.u16().ok_or(KeyError::Malformed)?;
                let derivation = rest.u16().ok_or(KeyError::Malformed)?;
                if curve != CURVE_P256 || derivation != ALG_NULL {
                    return Err(KeyError::Algorithm);
                }
                EndorsementAlgorithm::Ecc(read_point(&mut rest)?)
            }
            _ => return Err(KeyError::Algorithm),
        };
        if !rest.is_empty() {
            return Err(KeyError::Malformed);
        }
        Ok(Self { algorithm, aes_bytes })
    }

    /// The key as the bit string of a certificate has it: RSAPublicKey (RFC 8017, A.1.1) or the point (RFC 5480, 2.2).
    pub fn subject_public_key(&self) -> Vec<u8> {
        match &self.algorithm {
            EndorsementAlgorithm::Ecc(point) => point.to_vec(),
            EndorsementAlgorithm::Rsa { modulus, exponent } => {
                let exponent = exponent.to_be_bytes();
                let start = exponent.iter().position(|byte| *byte != 0).unwrap_or(3);
                let mut numbers = der_integer(modulus);
                numbers.extend(der_integer(exponent.get(start..).unwrap_or_default()));
                der(0x30, &numbers)
            }
        }
    }
}

fn read_rsa(rest: &mut Bytes<'_>) -> Result<EndorsementAlgorithm, KeyError> {
    let bits = usize::from(rest.u16().ok_or(KeyError::Malformed)?);
    let exponent = rest.u32().ok_or(KeyError::Malformed)?;
    let modulus = rest.sized(512).ok_or(KeyError::Malformed)?;
    if !matches!(bits, 2048 | 3072 | 4096) {
        return Err(KeyError::Algorithm);
    }
    if modulus.len() * 8 != bits || modulus.first().is_none_or(|byte| *byte < 0x80) {
        return Err(KeyError::Malformed);
    }
    Ok(EndorsementAlgorithm::Rsa {
        modulus: modulus.to_vec(),
        // Part 2, 12.2.3.5: zero stands for 65537.
        exponent: if exponent == 0 { 65537 } else { exponent },
    })
}

/// A DER element of less than 64 KiB.
pub(crate) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ ..0x80 => out.push(short as u8),
        one @ 0x80..0x100 => out.extend_from_slice(&[0x81, one as u8]),
        two => {
            out.push(0x82);
            out.extend_from_slice(&(two as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(content);
    out
}

/// A positive DER integer without leading zeros in `number`.
fn der_integer(number: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(number.len() + 1);
    // The highest bit is the sign.
    if number.first().is_none_or(|byte| *byte >= 0x80) {
        content.push(0);
    }
    content.extend_from_slice(number);
    der(2, &content)
}
