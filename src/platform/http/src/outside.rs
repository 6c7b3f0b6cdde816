//! A certificate of an authority outside: the request for it, and the judgement of what comes back.
//!
//! The private key is made here and never leaves in a request; only its public part does (RFC 2986).

use crate::certificate::CertificateError;
use crate::tls::{Identity, IdentityError};
use lamchat_base::SecretBytes;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// Most certificates of a chain, the server's own among them.
pub const CHAIN_MAX: usize = 8;
/// Largest chain, in bytes.
pub const CHAIN_BYTES_MAX: usize = 48 << 10;

/// Why a chain is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// Too large, or no certificates.
    #[error("this is no chain of 1 to {CHAIN_MAX} certificates in PEM form")]
    Malformed,
    /// Another key's.
    #[error("the first certificate is not for the key of the request: {0}")]
    Key(#[from] IdentityError),
    /// For another server.
    #[error("the first certificate is for {found}, not for {wanted}")]
    Name {
        /// The names in it.
        found: String,
        /// The server's.
        wanted: String,
    },
    /// Its time.
    #[error("the first certificate is valid from {from} to {until}, not now")]
    Time {
        /// When it begins, as an operator reads it.
        from: ASN1Time,
        /// When it ends.
        until: ASN1Time,
    },
    /// An authority.
    #[error("the first certificate is an authority's, not a server's")]
    Authority,
    /// It may not be used for servers.
    #[error("the first certificate may not be used for servers")]
    Usage,
    /// The order.
    #[error("certificate {0} of the chain was not issued by the one after it")]
    Order(usize),
}

/// What a chain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The names that the first certificate stands for.
    pub names: Vec<String>,
    /// When it ends, in milliseconds since 1970.
    pub not_after_ms: u64,
}

/// A new private key, PKCS #8 in PEM.
pub fn make_key() -> Result<SecretBytes, CertificateError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok(SecretBytes::new(key.serialize_pem().into_bytes()))
}

/// The request for a certificate of `host`, which may be a name or an address, in PEM.
pub fn request(key_pem: &SecretBytes, host: &str) -> Result<String, CertificateError> {
    let pem = std::str::from_utf8(key_pem.expose()).map_err(|_| CertificateError::Key)?;
    let key = KeyPair::from_pem(pem)?;
    let host = bare(host);
    let mut params = CertificateParams::new(vec![host.clone()])?;
    params.distinguished_name.push(DnType::CommonName, host);
    Ok(params.serialize_request(&key)?.pem()?)
}

/// Judges a chain, the server's certificate first, that is to be shown as `host` with this key. Whether anybody trusts its
/// authority is not asked: the clients' machines know.
pub fn judge(chain_pem: &str, key_pem: &SecretBytes, host: &str, now_ms: u64) -> Result<Judged, ChainError> {
    if chain_pem.len() > CHAIN_BYTES_MAX {
        return Err(ChainError::Malformed);
    }
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| ChainError::Malformed)?;
    if !(1..=CHAIN_MAX).contains(&chain.len()) {
        return Err(ChainError::Malformed);
    }
    let parsed: Vec<X509Certificate<'_>> = chain
        .iter()
        .map(|der| X509Certificate::from_der(der).map(|(_, certificate)| certificate))
        .collect::<Result<_, _>>()
        .map_err(|_| ChainError::Malformed)?;
    // rustls compares the key with the certificate's.
    Identity::from_pem(chain_pem.as_bytes(), key_pem.expose())?;
    for (at, pair) in parsed.windows(2).enumerate() {
        if let [lower, upper] = pair
            && lower.issuer().as_raw() != upper.subject().as_raw()
        {
            return Err(ChainError::Order(at + 1));
        }
    }
    let leaf = parsed.first().ok_or(ChainError::Malformed)?;
    if leaf.is_ca() {
        return Err(ChainError::Authority);
    }
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !(usage.value.server_auth || usage.value.any)
    {
        return Err(ChainError::Usage);
    }
    let names = names(leaf);
    let wanted = bare(host);
    if !names.iter().any(|name| covers(name, &wanted)) {
        return Err(ChainError::Name {
            found: names.join(", "),
            wanted,
        });
    }
    let (from, until) = (leaf.validity().not_before, leaf.validity().not_after);
    let until_s = until.timestamp();
    let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    if now_s < from.timestamp() || now_s >= until_s {
        return Err(ChainError::Time { from, until });
    }
    Ok(Judged {
        names,
        not_after_ms: u64::try_from(until_s).unwrap_or(0).saturating_mul(1000),
    })
}

/// An IPv6 literal without its brackets, names in small letters.
fn bare(host: &str) -> String {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.to_ascii_lowercase()
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
                let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
                address.ok().map(|address| address.to_string())
            }
            _ => None,
        })
        .collect()
}

/// RFC 9525, section 6.3: a wildcard stands for the whole leftmost label and nothing else.
fn covers(name: &str, wanted: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => {
            let is_address = wanted.parse::<std::net::IpAddr>().is_ok();
            !is_address
                && wanted
                    .split_once('.')
                    .is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
        }
        None => name == wanted,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    };

    const HOST: &str = "chat.example.org";
    const NOW_MS: u64 = 1_767_225_600_000;

    /// An authority outside, and what it made of a request.
    fn certified(request: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "An authority outside");
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&authority.pem(), key).unwrap();
        let mut asked = CertificateSigningRequestParams::from_pem(request).unwrap();
        asked.params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        asked.params.not_after = rcgen::date_time_ymd(2026, 12, 31);
        change(&mut asked.params);
        (asked.signed_by(&issuer).unwrap().pem(), authority.pem())
    }

    #[test]
    fn what_was_asked_for_is_taken_and_nothing_else() {
        let key = make_key().unwrap();
        let asked = request(&key, HOST).unwrap();
        assert!(asked.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        let (leaf, authority) = certified(&asked, |_| {});
        let chain = format!("{leaf}{authority}");
        let judged = judge(&chain, &key, HOST, NOW_MS).unwrap();
        assert_eq!(
            (judged.names, judged.not_after_ms),
            (vec![HOST.to_owned()], 1_798_675_200_000)
        );
        judge(&leaf, &key, HOST, NOW_MS).unwrap();

        let refused =
            |chain: &str, key: &SecretBytes, host: &str, now_ms: u64| judge(chain, key, host, now_ms).unwrap_err();
        let other = make_key().unwrap();
        assert!(matches!(refused(&chain, &other, HOST, NOW_MS), ChainError::Key(_)));
        assert!(matches!(
            refused(&chain, &key, "other.example.org", NOW_MS),
            ChainError::Name { .. }
        ));
        assert!(matches!(refused(&chain, &key, HOST, 0), ChainError::Time { .. }));
        assert!(matches!(
            refused(&chain, &key, HOST, 2 * NOW_MS),
            ChainError::Time { .. }
        ));
        let (_, stranger) = certified(&asked, |_| {});
        let mixed = format!("{leaf}{leaf}");
        assert!(matches!(refused(&mixed, &key, HOST, NOW_MS), ChainError::Order(1)));
        // The same name, another key: only a client can tell, by the signature.
        judge(&format!("{leaf}{stranger}"), &key, HOST, NOW_MS).unwrap();
        for malformed in ["", "x", &leaf.repeat(9), &"x".repeat(CHAIN_BYTES_MAX + 1)] {
            assert!(matches!(refused(malformed, &key, HOST, NOW_MS), ChainError::Malformed));
        }
    }

    #[test]
    fn only_certificates_of_servers_are_taken() {
        let key = make_key().unwrap();
        let asked = request(&key, HOST).unwrap();
        let (client, _) = certified(&asked, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        assert!(matches!(judge(&client, &key, HOST, NOW_MS), Err(ChainError::Usage)));
        let (authority, _) = certified(&asked, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        });
        assert!(matches!(
            judge(&authority, &key, HOST, NOW_MS),
            Err(ChainError::Authority)
        ));
    }

    #[test]
    fn wildcards_stand_for_one_label() {
        assert!(covers("*.example.org", HOST));
        for (name, wanted) in [
            ("*.example.org", "a.chat.example.org"),
            ("*.example.org", "example.org"),
            ("*.org", HOST),
            ("*.2.3.4", "1.2.3.4"),
            ("example.org", HOST),
        ] {
            assert!(!covers(name, wanted), "{name} {wanted}");
        }
        assert!(covers("2001:db8::7", &bare("[2001:DB8::7]")));
    }
}
