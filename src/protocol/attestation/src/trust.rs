//! Whom an auditor trusts: the roots of TPM makers, and auditors' keys. And the chain from one to an endorsement key.

use crate::certificates::certificates_from_pem;
use crate::limits::{ANCHORS_MAX, CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX, FILE_BYTES_MAX, INTERMEDIATES_MAX};
use crate::public::{EndorsementAlgorithm, EndorsementKey, Point};
use crate::sha256::Sha256;
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::Serialize;
use std::time::Duration;
use webpki::{EndEntityCert, Error as PathError, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

/// tcg-kp-EKCertificate, 2.23.133.8.1 (TCG EK Credential Profile 2.5, 3.5.15), as the content of a DER object
/// identifier.
const EK_USAGE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// tcg-at-tpmManufacturer, tcg-at-tpmModel and tcg-at-tpmVersion, 2.23.133.2.1 to 3 (the same).
const TPM_MANUFACTURER: &[u8] = &[0x67, 0x81, 0x05, 0x02, 0x01];
const TPM_MODEL: &[u8] = &[0x67, 0x81, 0x05, 0x02, 0x02];
const TPM_VERSION: &[u8] = &[0x67, 0x81, 0x05, 0x02, 0x03];
/// Longest of these attributes.
const MAKE_BYTES_MAX: usize = 64;
/// The SubjectPublicKeyInfo of a P-256 key up to its point (RFC 5480).
const P256_INFO: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE,
    0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const OID_RSA: &str = "1.2.840.113549.1.1.1";
/// Some makers' certificates say that the key is for OAEP.
const OID_RSA_OAEP: &str = "1.2.840.113549.1.1.7";
const OID_EC: &str = "1.2.840.10045.2.1";

/// Why a trust file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Larger than any honest one, or with too many entries.
    #[error("the file is too large, or has too many entries")]
    TooLong,
    /// Not PEM.
    #[error("the file is not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// A certificate that cannot be read.
    #[error("certificate {number} of the file cannot be read: {source}")]
    Certificate {
        /// Counted from 1.
        number: usize,
        /// Why.
        source: PathError,
    },
    /// A public key that is not one of P-256.
    #[error("a public key of the trust file is not an ECDSA key on P-256")]
    Key,
    /// A private key, or something else that has no business there.
    #[error("the trust file has a section that is neither CERTIFICATE nor PUBLIC KEY")]
    Section,
    /// No roots.
    #[error("the trust file has no root certificate")]
    NoRoots,
    /// Something else than a certificate in a file of certificates.
    #[error("the file has a section that is not a CERTIFICATE")]
    NotCertificate,
    /// A file of certificates without any.
    #[error("the file has no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
}

/// The roots of TPM makers and the keys of auditors.
#[derive(Debug, Clone)]
pub struct Trust {
    roots: Vec<TrustAnchor<'static>>,
    intermediates: Vec<Vec<u8>>,
    auditors: Vec<Point>,
}

impl Trust {
    /// Reads PEM: `CERTIFICATE` sections are roots, `PUBLIC KEY` sections are auditors' keys (ECDSA, P-256).
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustError> {
        if pem.len() > FILE_BYTES_MAX {
            return Err(TrustError::TooLong);
        }
        let mut trust = Self {
            roots: Vec::new(),
            intermediates: Vec::new(),
            auditors: Vec::new(),
        };
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section?;
            if trust.roots.len() + trust.auditors.len() == ANCHORS_MAX {
                return Err(TrustError::TooLong);
            }
            match kind {
                SectionKind::Certificate => {
                    let number = trust.roots.len() + 1;
                    let certificate = CertificateDer::from(der);
                    let root = anchor_from_trusted_cert(&certificate);
                    let root = root.map_err(|source| TrustError::Certificate { number, source })?;
                    trust.roots.push(root.to_owned());
                }
                SectionKind::PublicKey => {
                    let point = der.strip_prefix(P256_INFO).ok_or(TrustError::Key)?;
                    let point: Point = point.try_into().map_err(|_| TrustError::Key)?;
                    trust.auditors.push(point);
                }
                _ => return Err(TrustError::Section),
            }
        }
        if trust.roots.is_empty() {
            return Err(TrustError::NoRoots);
        }
        Ok(trust)
    }

    /// Adds intermediates of TPM makers, for a box that does not have its whole chain: PEM with `CERTIFICATE` sections and
    /// no others. They are trusted for nothing: a chain still leads to a root.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn add_intermediates(&mut self, pem: &[u8]) -> Result<(), TrustError> {
        self.intermediates.extend(certificates_from_pem(pem)?);
        if self.intermediates.len() > INTERMEDIATES_MAX {
            return Err(TrustError::TooLong);
        }
        Ok(())
    }

    /// Whether enrolments of this auditor are believed.
    pub fn has_auditor(&self, key: &Point) -> bool {
        self.auditors.contains(key)
    }
}

/// A P-256 public key as SubjectPublicKeyInfo, the content of a `PUBLIC KEY` section.
pub fn public_key_info(point: &Point) -> Vec<u8> {
    [P256_INFO, point].concat()
}

/// Why an endorsement key's certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No certificate at all.
    #[error("there is no endorsement key certificate")]
    Missing,
    /// The certificate cannot be read.
    #[error("the endorsement key's certificate is malformed")]
    Malformed,
    /// It leads to no root of the trust file.
    #[error("the endorsement key's certificate leads to no root that is trusted")]
    Foreign,
    /// It, or one on its way, has expired.
    #[error("the endorsement key's certificate, or one on its way, has expired")]
    Expired,
    /// It, or one on its way, is not valid yet.
    #[error("the endorsement key's certificate, or one on its way, is not valid yet")]
    NotYetValid,
    /// A signature on the way is wrong.
    #[error("a signature on the way to the root is wrong")]
    Signature,
    /// It is a certificate for something else.
    #[error("the certificate is not for an endorsement key (extended key usage 2.23.133.8.1)")]
    Usage,
    /// Something else on the way is wrong.
    #[error("the way from the endorsement key's certificate to a root is wrong: {0}")]
    Path(PathError),
    /// It certifies another key than the enrolled one.
    #[error("the certificate is that of another endorsement key")]
    OtherKey,
}

impl ChainError {
    /// The name of this reason, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "ek-certificate-missing",
            Self::Malformed => "ek-certificate-malformed",
            Self::Foreign => "ek-chain-foreign",
            Self::Expired => "ek-chain-expired",
            Self::NotYetValid => "ek-chain-not-yet-valid",
            Self::Signature => "ek-chain-signature",
            Self::Usage => "ek-certificate-usage",
            Self::Path(_) => "ek-chain-path",
            Self::OtherKey => "ek-not-certified",
        }
    }
}

impl From<PathError> for ChainError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::UnknownIssuer => Self::Foreign,
            PathError::CertExpired { .. } => Self::Expired,
            PathError::CertNotValidYet { .. } => Self::NotYetValid,
            PathError::InvalidSignatureForPublicKey => Self::Signature,
            PathError::RequiredEkuNotFoundContext(_) => Self::Usage,
            PathError::BadDer | PathError::BadDerTime | PathError::TrailingData(_) => Self::Malformed,
            other => Self::Path(other),
        }
    }
}

/// Which TPM its maker says this is: attributes of the endorsement key's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertifiedMake {
    /// The maker's number in TCG's registry, as four bytes.
    pub manufacturer: u32,
    /// The model, as the maker writes it.
    pub model: String,
    /// The firmware's version when the certificate was made, as the maker writes it.
    pub version: String,
}

impl CertifiedMake {
    /// TCG EK Credential Profile 2.5, "Subject Alternative Name": maker, model and version are attributes of a
    /// directory name in the subject's alternative name. `None` where one is missing or no text: such a certificate is
    /// odd, and proves no less.
    fn parse(certificate: &X509Certificate<'_>) -> Option<Self> {
        let names = certificate.subject_alternative_name().ok()??;
        let directories = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(name),
            _ => None,
        });
        let attributes: Vec<_> = directories.flat_map(X509Name::iter_attributes).collect();
        let text = |oid: &[u8]| {
            let attribute = attributes
                .iter()
                .find(|attribute| attribute.attr_type().as_bytes() == oid)?;
            let text = attribute.as_str().ok()?;
            (text.len() <= MAKE_BYTES_MAX).then(|| text.replace(char::is_control, " "))
        };
        let manufacturer = text(TPM_MANUFACTURER)?;
        let manufacturer = u32::from_str_radix(manufacturer.strip_prefix("id:")?, 16).ok()?;
        Some(Self {
            manufacturer,
            model: text(TPM_MODEL)?,
            version: text(TPM_VERSION)?,
        })
    }

    /// The maker's letters, without filling.
    pub fn letters(&self) -> String {
        let bytes = self.manufacturer.to_be_bytes();
        let letters = bytes.iter().filter(|byte| byte.is_ascii_alphanumeric());
        letters.map(|byte| char::from(*byte)).collect()
    }
}

/// A certificate of an endorsement key whose way to a root was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedKey {
    /// Digest of the certificate.
    pub certificate: Sha256,
    /// Which TPM it says that this is.
    pub make: Option<CertifiedMake>,
    algorithm: String,
    key: Vec<u8>,
}

impl CertifiedKey {
    /// Verifies the first certificate, by the others and by the auditor's intermediates, up to a root of `trust`, at a time
    /// in seconds since 1970. Roots are trusted as they are, whatever their own dates say; intermediates are
    /// trusted for nothing, whoever brought them.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub fn verify(certificates: &[Vec<u8>], trust: &Trust, time: u64) -> Result<Self, ChainError> {
        let (leaf, kept) = certificates.split_first().ok_or(ChainError::Missing)?;
        if certificates.len() > CERTIFICATES_MAX || certificates.iter().any(|der| der.len() > CERTIFICATE_BYTES_MAX) {
            return Err(ChainError::Malformed);
        }
        let der = CertificateDer::from(leaf.as_slice());
        let intermediates: Vec<_> = kept
            .iter()
            .chain(&trust.intermediates)
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let certificate = EndEntityCert::try_from(&der)?;
        // Intermediates have no extended key usage, or that of issuing; the leaf's own is checked below.
        certificate.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &trust.roots,
            &intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(time)),
            KeyUsage::required_if_present(EK_USAGE),
            None,
            None,
        )?;
        let (rest, parsed) = X509Certificate::from_der(leaf).map_err(|_| ChainError::Malformed)?;
        if !rest.is_empty() {
            return Err(ChainError::Malformed);
        }
        let usage = parsed.extended_key_usage().map_err(|_| ChainError::Malformed)?;
        if !usage.is_some_and(|usage| usage.value.other.iter().any(|oid| oid.as_bytes() == EK_USAGE)) {
            return Err(ChainError::Usage);
        }
        let info = parsed.public_key();
        Ok(Self {
            certificate: Sha256::of(leaf),
            make: CertifiedMake::parse(&parsed),
            algorithm: info.algorithm.algorithm.to_id_string(),
            key: info.subject_public_key.data.to_vec(),
        })
    }

    /// Checks that it certifies this endorsement key.
    ///
    /// # Errors
    /// [`ChainError::OtherKey`].
    pub fn check_key(&self, key: &EndorsementKey) -> Result<(), ChainError> {
        let algorithm = match key.algorithm {
            EndorsementAlgorithm::Rsa { .. } => self.algorithm == OID_RSA || self.algorithm == OID_RSA_OAEP,
            EndorsementAlgorithm::Ecc(_) => self.algorithm == OID_EC,
        };
        if algorithm && self.key == key.subject_public_key() {
            Ok(())
        } else {
            Err(ChainError::OtherKey)
        }
    }
}
