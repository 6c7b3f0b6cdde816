//! Public areas (TPMT_PUBLIC, Part 2, 12.2.4): the templates of the keys that this crate makes, and what is read back.

use super::marshal;
use crate::crypto::{Point, sha256};
use crate::error::TpmError;
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::basic::{TpmUint16, TpmUint32};
use tpm2_protocol::data::{
    Tpm2bDigest, Tpm2bEccParameter, Tpm2bPublicKeyRsa, TpmAlgId, TpmEccCurve, TpmaObject, TpmsEccParms, TpmsEccPoint,
    TpmsKeyedhashParms, TpmsRsaParms, TpmsSchemeHash, TpmtEccScheme, TpmtKdfScheme, TpmtKeyedhashScheme, TpmtPublic,
    TpmtRsaScheme, TpmtSymDef, TpmuAsymScheme, TpmuKeyedhashScheme, TpmuPublicId, TpmuPublicParms, TpmuSymKeyBits,
    TpmuSymMode,
};

/// The policy of endorsement keys: PolicySecret of the endorsement hierarchy (TCG EK Credential Profile 2.5, B.6.2).
pub(crate) const EK_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// The policy of endorsement keys of the high range, policy B: PolicyOR of the one above and of one that an owner can set
/// (B.6.4). They are used with their authorization value, which is empty, so it is not asserted here.
const EK_POLICY_B: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3, 0xa3, 0x85, 0xd4,
    0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
];

/// The public area of a key or sealed object, as its bytes (TPMT_PUBLIC without a size).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicArea(Vec<u8>);

/// What this crate makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// The ECC storage root of TCG's provisioning guidance.
    StorageRoot,
    /// The RSA-2048 endorsement key, template L-1 of the EK Credential Profile.
    EndorsementRsa,
    /// The P-256 endorsement key, template L-2.
    EndorsementEcc,
    /// The RSA-2048 endorsement key of the high range, template H-1.
    EndorsementRsaHigh,
    /// The P-256 endorsement key of the high range, template H-2.
    EndorsementEccHigh,
    /// A restricted P-256 signing key: it signs only what the TPM itself made.
    Attestation,
    /// An unrestricted P-256 signing key, used with its authorization value.
    Signing,
}

const SEALED: TpmaObject =
    TpmaObject::from_bits_truncate(TpmaObject::FIXED_TPM.bits() | TpmaObject::FIXED_PARENT.bits());
const MADE_HERE: TpmaObject = TpmaObject::from_bits_truncate(SEALED.bits() | TpmaObject::SENSITIVE_DATA_ORIGIN.bits());

impl Template {
    /// The template's bytes.
    pub(crate) fn public(self) -> Result<PublicArea, TpmError> {
        let storage = TpmaObject::RESTRICTED | TpmaObject::DECRYPT;
        let user = TpmaObject::USER_WITH_AUTH;
        match self {
            Self::StorageRoot => ecc(
                MADE_HERE | user | TpmaObject::NO_DA | storage,
                &[],
                aes(),
                TpmtEccScheme::default(),
                Some(Point { x: [0; 32], y: [0; 32] }),
            ),
            Self::EndorsementEcc => ecc(
                MADE_HERE | TpmaObject::ADMIN_WITH_POLICY | storage,
                &EK_POLICY,
                aes(),
                TpmtEccScheme::default(),
                Some(Point { x: [0; 32], y: [0; 32] }),
            ),
            Self::EndorsementEccHigh => ecc(
                MADE_HERE | user | TpmaObject::ADMIN_WITH_POLICY | storage,
                &EK_POLICY_B,
                aes(),
                TpmtEccScheme::default(),
                None,
            ),
            Self::EndorsementRsa => {
                let attributes = MADE_HERE | TpmaObject::ADMIN_WITH_POLICY | storage;
                rsa_endorsement(attributes, &EK_POLICY, &[0u8; 256])
            }
            Self::EndorsementRsaHigh => {
                let attributes = MADE_HERE | user | TpmaObject::ADMIN_WITH_POLICY | storage;
                rsa_endorsement(attributes, &EK_POLICY_B, &[])
            }
            Self::Attestation => ecc(
                MADE_HERE | user | TpmaObject::NO_DA | TpmaObject::RESTRICTED | TpmaObject::SIGN_ENCRYPT,
                &[],
                none(),
                ecdsa_sha256(),
                // `unique` separates this key from whatever else is made from the same seed.
                Some(Point {
                    x: sha256(&[b"lamchat attestation key 1"]),
                    y: [0; 32],
                }),
            ),
            Self::Signing => ecc(
                MADE_HERE | user | TpmaObject::NO_DA | TpmaObject::SIGN_ENCRYPT,
                &[],
                none(),
                ecdsa_sha256(),
                None,
            ),
        }
    }
}

fn none() -> TpmtSymDef {
    TpmtSymDef {
        algorithm: TpmAlgId::Null,
        key_bits: TpmuSymKeyBits::Null,
        mode: TpmuSymMode::Null,
    }
}

fn aes() -> TpmtSymDef {
    TpmtSymDef {
        algorithm: TpmAlgId::Aes,
        key_bits: TpmuSymKeyBits::Aes(TpmUint16::new(128)),
        mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
    }
}

fn ecdsa_sha256() -> TpmtEccScheme {
    TpmtEccScheme {
        scheme: TpmAlgId::Ecdsa,
        details: TpmuAsymScheme::Hash(TpmsSchemeHash {
            hash_alg: TpmAlgId::Sha256,
        }),
    }
}

fn ecc(
    object_attributes: TpmaObject,
    policy: &[u8],
    symmetric: TpmtSymDef,
    scheme: TpmtEccScheme,
    unique: Option<Point>,
) -> Result<PublicArea, TpmError> {
    let wrong = |_| TpmError::Unencodable("public area");
    let point = match unique {
        None => TpmsEccPoint::default(),
        Some(Point { x, y }) => TpmsEccPoint {
            x: Tpm2bEccParameter::try_from(x.as_slice()).map_err(wrong)?,
            y: Tpm2bEccParameter::try_from(y.as_slice()).map_err(wrong)?,
        },
    };
    PublicArea::build(&TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes,
        auth_policy: Tpm2bDigest::try_from(policy).map_err(wrong)?,
        parameters: TpmuPublicParms::Ecc(TpmsEccParms {
            symmetric,
            scheme,
            curve_id: TpmEccCurve::NistP256,
            kdf: TpmtKdfScheme::default(),
        }),
        unique: TpmuPublicId::Ecc(point),
    })
}

fn rsa_endorsement(object_attributes: TpmaObject, policy: &[u8; 32], unique: &[u8]) -> Result<PublicArea, TpmError> {
    let wrong = |_| TpmError::Unencodable("public area");
    PublicArea::build(&TpmtPublic {
        object_type: TpmAlgId::Rsa,
        name_alg: TpmAlgId::Sha256,
        object_attributes,
        auth_policy: Tpm2bDigest::try_from(policy.as_slice()).map_err(wrong)?,
        parameters: TpmuPublicParms::Rsa(TpmsRsaParms {
            symmetric: aes(),
            scheme: TpmtRsaScheme::default(),
            key_bits: TpmUint16::new(2048),
            exponent: TpmUint32::new(0),
        }),
        unique: TpmuPublicId::Rsa(Tpm2bPublicKeyRsa::try_from(unique).map_err(wrong)?),
    })
}

impl PublicArea {
    fn build(public: &TpmtPublic) -> Result<Self, TpmError> {
        Ok(Self(marshal(public, "public area")?))
    }

    /// The public area of data sealed under `policy`. Without a PIN nothing can be guessed, so failures need not count.
    pub(crate) fn sealed(policy: &[u8; 32], pin: bool) -> Result<Self, TpmError> {
        Self::build(&TpmtPublic {
            object_type: TpmAlgId::KeyedHash,
            name_alg: TpmAlgId::Sha256,
            object_attributes: if pin { SEALED } else { SEALED | TpmaObject::NO_DA },
            auth_policy: Tpm2bDigest::try_from(policy.as_slice()).map_err(|_| TpmError::Unencodable("policy"))?,
            parameters: TpmuPublicParms::KeyedHash(TpmsKeyedhashParms {
                scheme: TpmtKeyedhashScheme {
                    scheme: TpmAlgId::Null,
                    details: TpmuKeyedhashScheme::Null,
                },
            }),
            unique: TpmuPublicId::KeyedHash(Tpm2bDigest::default()),
        })
    }

    /// The public area under which a release key of P-256 is loaded to verify a signed policy. Its name stands in the
    /// policy, so these attributes (sign, userWithAuth; no scheme) must never change.
    pub fn verifier(key: &Point) -> Result<Self, TpmError> {
        ecc(
            TpmaObject::SIGN_ENCRYPT | TpmaObject::USER_WITH_AUTH,
            &[],
            none(),
            TpmtEccScheme::default(),
            Some(*key),
        )
    }

    /// Takes over bytes that a TPM or a file gave; they must be one whole public area with SHA-256 as name algorithm.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let area = Self(bytes.to_vec());
        if area.parsed()?.name_alg == TpmAlgId::Sha256 {
            Ok(area)
        } else {
            Err(TpmError::Malformed("a public area"))
        }
    }

    fn parsed(&self) -> Result<TpmtPublic, TpmError> {
        match TpmtPublic::unmarshal(&self.0) {
            Ok((public, [])) => Ok(public),
            _ => Err(TpmError::Malformed("a public area")),
        }
    }

    /// TPMT_PUBLIC's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The object's name: the algorithm's number (000B) and the SHA-256 of the public area (Part 1, 16).
    pub fn name(&self) -> [u8; 34] {
        let mut name = [0u8; 34];
        let digest = sha256(&[&self.0]);
        for (into, from) in name.iter_mut().zip([0x00, 0x0b].iter().chain(&digest)) {
            *into = *from;
        }
        name
    }

    /// The policy that the object demands, empty if none.
    pub(crate) fn auth_policy(&self) -> Result<Vec<u8>, TpmError> {
        Ok(self.parsed()?.auth_policy.to_vec())
    }

    /// The point, for a key on P-256.
    pub fn point(&self) -> Option<Point> {
        let public = self.parsed().ok()?;
        let (TpmuPublicParms::Ecc(parms), TpmuPublicId::Ecc(point)) = (&public.parameters, &public.unique) else {
            return None;
        };
        let mut out = Point { x: [0; 32], y: [0; 32] };
        super::right_aligned(&mut out.x, &point.x).ok()?;
        super::right_aligned(&mut out.y, &point.y).ok()?;
        (parms.curve_id == TpmEccCurve::NistP256).then_some(out)
    }

    /// The modulus and the public exponent, for an RSA key.
    pub fn rsa(&self) -> Option<(Vec<u8>, u32)> {
        let public = self.parsed().ok()?;
        let (TpmuPublicParms::Rsa(parms), TpmuPublicId::Rsa(modulus)) = (&public.parameters, &public.unique) else {
            return None;
        };
        // 0 stands for 65,537 (Part 2, 12.2.3.5).
        let exponent = match parms.exponent.value() {
            0 => 65_537,
            other => other,
        };
        Some((modulus.to_vec(), exponent))
    }

    /// Whether this is a key made from `template`: equal in everything but the key itself.
    pub(crate) fn follows(&self, template: Template) -> bool {
        let (Ok(own), Ok(Ok(wanted))) = (self.parsed(), template.public().map(|area| area.parsed())) else {
            return false;
        };
        own == TpmtPublic {
            unique: own.unique.clone(),
            ..wanted
        }
    }
}
