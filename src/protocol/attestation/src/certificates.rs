//! Certificates of a TPM maker's chain, as an operator or an auditor brings them in files. Nothing here is trusted: what
//! they are good for shows when a chain is verified.

use crate::limits::{CERTIFICATE_BYTES_MAX, FILE_BYTES_MAX, INTERMEDIATES_MAX};
use crate::trust::TrustError;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest name that is shown.
const NAME_CHARS_MAX: usize = 200;

/// Reads certificates of a chain in PEM: `CERTIFICATE` sections and no others, at most 64, as DER.
///
/// # Errors
/// See [`TrustError`].
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, TrustError> {
    if pem.len() > FILE_BYTES_MAX {
        return Err(TrustError::TooLong);
    }
    let mut certificates = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section?;
        let number = certificates.len() + 1;
        if number > INTERMEDIATES_MAX || der.len() > CERTIFICATE_BYTES_MAX {
            return Err(TrustError::TooLong);
        }
        if kind != SectionKind::Certificate {
            return Err(TrustError::NotCertificate);
        }
        let certificate = CertificateDer::from(der);
        EndEntityCert::try_from(&certificate).map_err(|source| TrustError::Certificate { number, source })?;
        // What nobody could be shown is not taken, either: the one reader lets pass what the other does not.
        if certificate_names(&certificate).is_none() {
            let source = webpki::Error::BadDer;
            return Err(TrustError::Certificate { number, source });
        }
        certificates.push(certificate.to_vec());
    }
    if certificates.is_empty() {
        return Err(TrustError::NoCertificate);
    }
    Ok(certificates)
}

/// Whom a certificate (DER) is for and who signed it, in the words of the certificate, for people: control characters
/// are spaces, and what is too long is cut. `None`: it cannot be read.
pub fn certificate_names(der: &[u8]) -> Option<(String, String)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let shown = |name: String| -> String {
        name.replace(char::is_control, " ")
            .chars()
            .take(NAME_CHARS_MAX)
            .collect()
    };
    Some((
        shown(certificate.subject().to_string()),
        shown(certificate.issuer().to_string()),
    ))
}
