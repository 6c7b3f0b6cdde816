//! The auditor's key: ECDSA on P-256 in a PKCS#8 PEM file that only its owner may read, made when it is first needed.

use super::{Failure, named, read};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lamchat_attestation::{AuditorKey, Point, public_key_info};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// An auditor's key.
pub struct Auditor {
    pair: EcdsaKeyPair,
    public: Point,
}

impl Auditor {
    /// Reads the key of this file; makes both when there is no such file.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if !path.exists() {
            Self::create(path)?;
        }
        let pem = Zeroizing::new(read(path)?);
        let key = named(path, PrivatePkcs8KeyDer::from_pem_slice(&pem))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der());
        let pair = pair.map_err(|_| format!("{}: not an ECDSA key on P-256 (PKCS#8)", path.display()))?;
        let public = pair.public_key().as_ref().try_into();
        let public = public.map_err(|_| format!("{}: not a key on P-256", path.display()))?;
        Ok(Self { pair, public })
    }

    fn create(path: &Path) -> Result<(), Failure> {
        let failed = |_| Failure("the key could not be made".to_owned());
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let der = pair.to_pkcs8v1().map_err(failed)?;
        let text = Zeroizing::new(pem("PRIVATE KEY", der.as_ref()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let written = options.open(path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        named(path, written)?;
        super::output::note(format!("made a new auditor's key: {}", path.display()));
        Ok(())
    }

    /// The public key as a section for a trust file.
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &public_key_info(&self.public))
    }
}

impl AuditorKey for Auditor {
    fn public(&self) -> Point {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let signature = self.pair.sign(&SystemRandom::new(), message).ok()?;
        signature.as_ref().try_into().ok()
    }
}

/// A PEM section (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
