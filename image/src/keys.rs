//! The operator's keys: PK, KEK and db of Secure Boot (RSA of 2,048 bits, X.509), and the release key (ECDSA on P-256),
//! which approves measurements, manifests and updates.
//!
//! In their folder each has a file `NAME.key` (PKCS #8, PEM, for the owner alone); PK, KEK and db have `NAME.crt`
//! (PEM), the release key has `release.pub` (SubjectPublicKeyInfo, PEM). While the release key is rotated, the one of
//! before is there as `former.key` and `former.pub`. `owner.guid` names the owner in Secure Boot's
//! lists.

use crate::file::{self, FileError};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::path::Path;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Certificates are good from the first to the second year; firmware does not look at it.
const YEARS: (i32, i32) = (2026, 2056);

/// Keys could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not have the key or certificate that it should have.
    #[error("the {0} has no valid key or certificate of its kind")]
    Invalid(&'static str),
    /// Two keys approve already.
    #[error("a rotation is under way: `image keys end-rotation` ends it once every box is bound to the new key")]
    Rotating,
    /// The cryptographic library refused.
    #[error("the cryptographic library refused to make or use the key {0}")]
    Refused(&'static str),
}

/// A certificate of Secure Boot's, with the public half of its key.
pub struct Certificate {
    /// DER.
    pub certificate: Vec<u8>,
    /// The issuer's name, DER.
    pub issuer: Vec<u8>,
    /// The serial number, DER.
    pub serial: Vec<u8>,
    /// RSAPublicKey, DER.
    key: Vec<u8>,
    /// Bytes of its modulus, and so of each signature.
    signature_bytes: usize,
}

/// A key of Secure Boot with its certificate.
pub struct SigningCertificate {
    name: &'static str,
    key: RsaKeyPair,
    public: Certificate,
}

/// The key that approves releases.
pub struct ReleaseKey(SigningKey);

/// The point of a public key, uncompressed.
fn point(key: &VerifyingKey) -> Result<[u8; 65], KeyError> {
    let point = key.to_sec1_point(false);
    point.as_bytes().try_into().map_err(|_| KeyError::Invalid("file"))
}

/// The point of a public key in PEM (SubjectPublicKeyInfo), uncompressed.
pub fn point_of_pem(pem: &str) -> Result<[u8; 65], KeyError> {
    point(&VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyError::Invalid("file"))?)
}

/// Whether a signature (r and s) is that of a release key (PEM) over a message.
pub fn is_release(public_pem: &str, message: &[u8], signature: &[u8]) -> bool {
    let (key, signature) = (
        VerifyingKey::from_public_key_pem(public_pem),
        Signature::from_slice(signature),
    );
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
}

/// All keys of an operator.
pub struct Keys {
    /// The platform key: whoever has it decides who owns the machine.
    pub pk: SigningCertificate,
    /// The key exchange key: may change db.
    pub kek: SigningCertificate,
    /// Signs programs that the firmware starts.
    pub db: SigningCertificate,
    /// Approves measurements, manifests and updates.
    pub release: ReleaseKey,
    /// The release key of before, while it is rotated: boxes that know it alone take what it approves as well.
    pub former: Option<ReleaseKey>,
    /// The owner in Secure Boot's lists, as UEFI has it in memory.
    pub owner: [u8; 16],
}

impl Keys {
    /// Makes new keys in a folder that has none.
    pub fn make(folder: &Path) -> Result<(), KeyError> {
        file::make_folder(folder)?;
        for (name, title) in [
            ("PK", "platform key"),
            ("KEK", "key exchange key"),
            ("db", "signatures"),
        ] {
            SigningCertificate::make(folder, name, title)?;
        }
        ReleaseKey::make(folder, "release")?;
        let mut owner = [0; 16];
        aws_lc_rs::rand::fill(&mut owner).map_err(|_| KeyError::Refused("owner"))?;
        // RFC 9562: version 4, variant 10.
        owner[6] = owner[6] & 0x0F | 0x40;
        owner[8] = owner[8] & 0x3F | 0x80;
        let text = crate::guid::Guid::from_rfc(owner).to_string();
        file::write_new(&folder.join("owner.guid"), 0o644, format!("{text}\n").as_bytes())?;
        Ok(())
    }

    /// Reads the keys of a folder.
    pub fn read(folder: &Path) -> Result<Self, KeyError> {
        let owner = file::read(&folder.join("owner.guid"))?;
        let owner = std::str::from_utf8(&owner).ok();
        let owner = owner.and_then(|text| crate::guid::Guid::parse(text.trim_end()));
        Ok(Self {
            pk: SigningCertificate::read(folder, "PK")?,
            kek: SigningCertificate::read(folder, "KEK")?,
            db: SigningCertificate::read(folder, "db")?,
            release: ReleaseKey::read(&folder.join("release.key"))?,
            former: if folder.join("former.key").exists() {
                Some(ReleaseKey::read(&folder.join("former.key"))?)
            } else {
                None
            },
            owner: owner.ok_or(KeyError::Invalid("owner.guid"))?.0,
        })
    }
}

/// Begins a rotation in a folder of keys: a new release key, and the one of before as `former.key`. The releases from now
/// on are approved by both.
pub fn rotate(folder: &Path) -> Result<(), KeyError> {
    let path = |name: &str| folder.join(name);
    if path("former.key").exists() {
        return Err(KeyError::Rotating);
    }
    // What stands before the first rename is no rotation yet, and made again.
    for left in ["next.key", "next.pub"].map(path) {
        if left.exists() {
            std::fs::remove_file(&left).map_err(FileError::at(&left))?;
        }
    }
    ReleaseKey::make(folder, "next")?;
    for (from, to) in [
        ("release.pub", "former.pub"),
        ("release.key", "former.key"),
        ("next.key", "release.key"),
        ("next.pub", "release.pub"),
    ] {
        let from = path(from);
        std::fs::rename(&from, path(to)).map_err(FileError::at(&from))?;
    }
    Ok(())
}

/// Ends a rotation: the key of before approves nothing any more, and is deleted.
pub fn end_rotation(folder: &Path) -> Result<(), KeyError> {
    for name in ["former.key", "former.pub"] {
        let path = folder.join(name);
        std::fs::remove_file(&path).map_err(FileError::at(&path))?;
    }
    Ok(())
}

impl SigningCertificate {
    fn make(folder: &Path, name: &'static str, title: &str) -> Result<(), KeyError> {
        let refused = || KeyError::Refused(name);
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| refused())?;
        let key = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(|_| refused())?;
        let key = PrivatePkcs8KeyDer::from(key.as_ref().to_vec());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_RSA_SHA256).map_err(|_| refused())?;
        let mut parameters = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, format!("LamChat Secure Boot {title}"));
        parameters.distinguished_name = subject;
        parameters.not_before = date_time_ymd(YEARS.0, 1, 1);
        parameters.not_after = date_time_ymd(YEARS.1, 1, 1);
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = parameters.self_signed(&key).map_err(|_| refused())?;
        file::write_new(
            &folder.join(format!("{name}.key")),
            0o600,
            key.serialize_pem().as_bytes(),
        )?;
        file::write_new(&folder.join(format!("{name}.crt")), 0o644, certificate.pem().as_bytes())?;
        Ok(())
    }

    fn read(folder: &Path, name: &'static str) -> Result<Self, KeyError> {
        let invalid = || KeyError::Invalid(name);
        let key = file::read(&folder.join(format!("{name}.key")))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&key).map_err(|_| invalid())?;
        let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|_| invalid())?;
        let certificate = file::read(&folder.join(format!("{name}.crt")))?;
        let public = Certificate::from_pem(&certificate).ok_or_else(invalid)?;
        Ok(Self { name, key, public })
    }

    /// A signature with RSA, PKCS #1 v1.5 and SHA-256: 256 bytes.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| KeyError::Refused(self.name))?;
        Ok(signature)
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.public.certificate
    }

    /// The certificate with the public half of the key.
    pub fn public(&self) -> &Certificate {
        &self.public
    }
}

impl Certificate {
    /// Reads one in PEM; `None`: it is none, or not of an RSA key.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let certificate = CertificateDer::from_pem_slice(pem).ok()?.to_vec();
        let (_, parsed) = X509Certificate::from_der(&certificate).ok()?;
        let PublicKey::RSA(public) = parsed.public_key().parsed().ok()? else {
            return None;
        };
        Some(Self {
            issuer: parsed.issuer().as_raw().to_vec(),
            serial: crate::der::element(0x02, &[parsed.raw_serial()]),
            key: parsed.public_key().subject_public_key.data.to_vec(),
            signature_bytes: public.key_size().div_ceil(8),
            certificate,
        })
    }

    /// The signature at the end of `signed`, if it is this key's over `message`: RSA, PKCS #1 v1.5 and SHA-256. Our
    /// structures end with it, so that whoever has it can make the structure anew and compare all of it.
    pub fn signature_at_end<'s>(&self, signed: &'s [u8], message: &[u8]) -> Option<&'s [u8]> {
        let signature = signed.get(signed.len().checked_sub(self.signature_bytes)?..)?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.key);
        key.verify(message, signature).is_ok().then_some(signature)
    }
}

impl ReleaseKey {
    /// Makes `NAME.key` and `NAME.pub` in a folder that does not have them: the release key, or an approver's.
    pub fn make(folder: &Path, name: &str) -> Result<(), KeyError> {
        let mut scalar = [0; 32];
        aws_lc_rs::rand::fill(&mut scalar).map_err(|_| KeyError::Refused("release"))?;
        // A random number is a key except for 1 in 2^32; the caller then tries again.
        let key = SigningKey::from_slice(&scalar).map_err(|_| KeyError::Refused("release"))?;
        let pem = key.to_pkcs8_pem(LineEnding::LF);
        let pem = pem.map_err(|_| KeyError::Refused("release"))?;
        file::make_folder(folder)?;
        file::write_new(&folder.join(format!("{name}.key")), 0o600, pem.as_bytes())?;
        let public = Self(key).public_pem()?;
        Ok(file::write_new(
            &folder.join(format!("{name}.pub")),
            0o644,
            public.as_bytes(),
        )?)
    }

    /// Reads a private key, PKCS #8 in PEM.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let bytes = file::read(path)?;
        let key = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|pem| SigningKey::from_pkcs8_pem(pem).ok());
        Ok(Self(key.ok_or(KeyError::Invalid("file"))?))
    }

    /// The public point, uncompressed.
    pub fn point(&self) -> Result<[u8; 65], KeyError> {
        point(self.0.verifying_key())
    }

    /// ECDSA with SHA-256 and the nonce of RFC 6979: r and s.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.0.sign(message);
        signature.to_bytes().into()
    }

    /// SubjectPublicKeyInfo, PEM.
    pub fn public_pem(&self) -> Result<String, KeyError> {
        let pem = self.0.verifying_key().to_public_key_pem(LineEnding::LF);
        pem.map_err(|_| KeyError::Refused("release"))
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn public_der(&self) -> Result<Vec<u8>, KeyError> {
        let der = self.0.verifying_key().to_public_key_der();
        Ok(der.map_err(|_| KeyError::Refused("release"))?.into_vec())
    }
}
