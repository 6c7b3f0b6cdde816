//! TLS: one configuration a listener, with a certificate that can be replaced while connections stay.

use ::aws_lc_rs::digest::{SHA256, digest};
use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::parse_x509_certificate;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No certificate in the PEM text.
    #[error("there is no certificate in PEM form")]
    NoCertificate,
    /// No private key in the PEM text.
    #[error("there is no private key in PEM form")]
    NoKey,
    /// rustls refuses them, mostly because the key is another certificate's.
    #[error("certificate and private key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// What a listener shows its clients: a certificate chain and its key. Shared and replaceable.
#[derive(Debug)]
pub struct Identity {
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Identity {
    /// From a chain (the leaf first) and a private key, both in PEM.
    pub fn from_pem(certificates_pem: &[u8], key_pem: &[u8]) -> Result<Self, IdentityError> {
        let provider = Arc::new(provider());
        let current = Arc::new(Current(ArcSwap::from_pointee(certified(
            certificates_pem,
            key_pem,
            &provider,
        )?)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Clients come back often (phones): tickets spare them and us most of the handshake. Keys rotate by themselves.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self {
            current,
            config: Arc::new(config),
        })
    }

    /// From two PEM files.
    pub fn from_files(certificates: &Path, key: &Path) -> Result<Self, IdentityError> {
        Self::from_pem(&read(certificates)?, &read(key)?)
    }

    /// Uses another certificate for handshakes from now on; connections that exist stay. On an error the old one stays.
    pub fn replace(&self, certificates_pem: &[u8], key_pem: &[u8]) -> Result<(), IdentityError> {
        self.current.0.store(Arc::new(certified(
            certificates_pem,
            key_pem,
            self.config.crypto_provider(),
        )?));
        Ok(())
    }

    /// Shows what `other` shows from now on.
    pub fn replace_by(&self, other: &Self) {
        self.current.0.store(other.current.0.load_full());
    }

    /// SHA-256 of the certificate that is shown now.
    pub fn certificate_sha256(&self) -> Option<[u8; 32]> {
        let current = self.current.0.load();
        let digest = digest(&SHA256, current.cert.first()?);
        digest.as_ref().try_into().ok()
    }

    /// SHA-256 of the SubjectPublicKeyInfo of the certificate that is shown now; `None` if it cannot be read, which a
    /// certificate that rustls took does not happen to.
    pub fn public_key_sha256(&self) -> Option<[u8; 32]> {
        let current = self.current.0.load();
        let (_, certificate) = parse_x509_certificate(current.cert.first()?).ok()?;
        let digest = digest(&SHA256, certificate.tbs_certificate.subject_pki.raw);
        digest.as_ref().try_into().ok()
    }

    /// When the certificate that is shown now ends, in milliseconds since 1970; `None` if it cannot be read.
    pub fn not_after_ms(&self) -> Option<u64> {
        let current = self.current.0.load();
        let (_, certificate) = parse_x509_certificate(current.cert.first()?).ok()?;
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        Some(seconds.saturating_mul(1000))
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// aws-lc-rs. With the feature `prefer-post-quantum`, X25519MLKEM768 is its first key exchange group.
fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn certified(
    certificates_pem: &[u8],
    key_pem: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, IdentityError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates_pem)
        .collect::<Result<_, _>>()
        .map_err(|_| IdentityError::NoCertificate)?;
    if chain.is_empty() {
        return Err(IdentityError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| IdentityError::NoKey)?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|source| IdentityError::File {
        path: path.to_owned(),
        source,
    })
}
