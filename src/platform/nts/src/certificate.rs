//! Whether a server's certificate is right, with a clock that may not be.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use x509_parser::parse_x509_certificate;

/// Who vouches for the names of servers.
#[derive(Debug, Clone)]
pub struct Authorities(Arc<WebPkiServerVerifier>);

impl Authorities {
    /// From certificates in PEM form; `None`: there is none that can be used.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.ok()?).ok()?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.ok().map(Self)
    }
}

/// What a server showed.
#[derive(Debug, Clone)]
pub struct Shown {
    chain: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
    authorities: Authorities,
}

impl Shown {
    /// Whether it is valid at this time, in milliseconds since 1970.
    pub fn is_valid_at(&self, ms: u64) -> bool {
        let Some((own, others)) = self.chain.split_first() else {
            return false;
        };
        let at = UnixTime::since_unix_epoch(Duration::from_millis(ms));
        let verifier = &self.authorities.0;
        verifier.verify_server_cert(own, others, &self.name, &[], at).is_ok()
    }
}

/// Verifies, and keeps what was shown.
#[derive(Debug)]
pub struct Verifier {
    authorities: Authorities,
    shown: Mutex<Option<Shown>>,
}

impl Verifier {
    pub fn new(authorities: Authorities) -> Self {
        Self {
            authorities,
            shown: Mutex::new(None),
        }
    }

    /// What the last server showed.
    pub fn shown(&self) -> Option<Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The latest beginning of all that is shown.
fn beginning(chain: &[CertificateDer<'_>]) -> Option<UnixTime> {
    let begins = chain.iter().map(|certificate| {
        let (_, certificate) = parse_x509_certificate(certificate).ok()?;
        u64::try_from(certificate.validity().not_before.timestamp()).ok()
    });
    let latest = begins.collect::<Option<Vec<u64>>>()?.into_iter().max()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(latest)))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = &self.authorities.0;
        let chain: Vec<CertificateDer<'static>> = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let at = |time| verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time);
        let verified = match at(now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            )) => at(beginning(&chain).ok_or(CertificateError::BadEncoding)?),
            other => other,
        }?;
        let shown = Shown {
            chain,
            name: server_name.to_owned(),
            authorities: self.authorities.clone(),
        };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.0.supported_verify_schemes()
    }
}
