//! The local certificate authority: for a first start without any certificates, and for sites without a network.
//!
//! Everything goes in and out as PEM; where it is kept, and how private keys are wrapped, is the caller's business.

use aws_lc_rs::digest::{SHA256, digest};
use lamchat_base::SecretBytes;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long the authority is valid: ten years.
pub const AUTHORITY_DAYS: u64 = 3650;
/// How long a server certificate is valid; browsers refuse more than 398 days.
pub const LEAF_DAYS: u64 = 397;
/// A server certificate is renewed when less than this is left of it.
pub const LEAF_RENEW_DAYS: u64 = 60;
/// Certificates start a day early: the clocks of clients differ.
const BACKDATE_DAYS: u64 = 1;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// rcgen refused: a name that no certificate can hold, or a key that does not fit.
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// It is not a PEM certificate.
    #[error("this is not a certificate in PEM form")]
    Malformed,
    /// The key is not PEM text.
    #[error("this is not a private key in PEM form")]
    Key,
}

/// A certificate and its private key.
#[derive(Debug)]
pub struct Issued {
    /// The certificate, in PEM. Public.
    pub certificate_pem: String,
    /// The private key, PKCS #8 in PEM. Whoever stores it wraps it.
    pub key_pem: SecretBytes,
}

/// Makes the authority of the server `host` (without a port). It can vouch only for `host` and what is below it,
/// for `localhost`, and for addresses of private networks: whoever trusts it trusts it for nothing else.
pub fn make_authority(host: &str, now_ms: u64) -> Result<Issued, CertificateError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("LamChat local CA of {host}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted(host),
        excluded_subtrees: Vec::new(),
    });
    set_validity(&mut params, now_ms, AUTHORITY_DAYS);
    let certificate = params.self_signed(&key)?;
    Ok(Issued {
        certificate_pem: certificate.pem(),
        key_pem: SecretBytes::new(key.serialize_pem().into_bytes()),
    })
}

/// Makes a server certificate for `host`, `localhost`, 127.0.0.1 and ::1. Its PEM is the leaf alone: clients have the authority.
pub fn make_leaf(authority: &Issued, host: &str, now_ms: u64) -> Result<Issued, CertificateError> {
    certify(authority, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?, host, now_ms)
}

/// As [`make_leaf`], with the key of the certificate that it replaces: whoever pinned that key need not notice.
pub fn renew_leaf(authority: &Issued, leaf: &Issued, host: &str, now_ms: u64) -> Result<Issued, CertificateError> {
    certify(authority, key_pair(leaf)?, host, now_ms)
}

fn key_pair(issued: &Issued) -> Result<KeyPair, CertificateError> {
    let pem = std::str::from_utf8(issued.key_pem.expose()).map_err(|_| CertificateError::Key)?;
    Ok(KeyPair::from_pem(pem)?)
}

fn certify(authority: &Issued, key: KeyPair, host: &str, now_ms: u64) -> Result<Issued, CertificateError> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate_pem, key_pair(authority)?)?;
    let mut params = CertificateParams::new(names(host))?;
    params.distinguished_name.push(DnType::CommonName, host);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now_ms, LEAF_DAYS);
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Issued {
        certificate_pem: certificate.pem(),
        key_pem: SecretBytes::new(key.serialize_pem().into_bytes()),
    })
}

/// Whether a new leaf is due: its end is near, or it is not for these names, or it is from another authority.
pub fn leaf_is_due(leaf_pem: &str, authority_pem: &str, host: &str, now_ms: u64) -> Result<bool, CertificateError> {
    let (leaf, authority) = (der(leaf_pem)?, der(authority_pem)?);
    let (leaf, authority) = (parse(&leaf)?, parse(&authority)?);
    let mut found = Vec::new();
    if let Ok(Some(extension)) = leaf.subject_alternative_name() {
        found = extension.value.general_names.iter().filter_map(name_text).collect();
    }
    found.sort();
    let mut wanted = names(host);
    wanted.sort();
    let key_id = |certificate: &X509Certificate<'_>, of_issuer: bool| {
        certificate
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) if of_issuer => {
                    id.key_identifier.as_ref().map(|id| id.0.to_vec())
                }
                ParsedExtension::SubjectKeyIdentifier(id) if !of_issuer => Some(id.0.to_vec()),
                _ => None,
            })
    };
    let is_ours = key_id(&leaf, true) == key_id(&authority, false);
    Ok(found != wanted || !is_ours || ends_within(&leaf, now_ms, LEAF_RENEW_DAYS))
}

/// Whether a new authority is due: it can no longer vouch for a leaf's whole life, or not for this host.
pub fn authority_is_due(authority_pem: &str, host: &str, now_ms: u64) -> Result<bool, CertificateError> {
    let der = der(authority_pem)?;
    let authority = parse(&der)?;
    let permits = |name: &str| match authority.name_constraints() {
        Ok(Some(constraints)) => {
            let subtrees = constraints.value.permitted_subtrees.iter().flatten();
            subtrees
                .filter_map(|subtree| name_text(&subtree.base))
                .any(|base| base == name)
        }
        Ok(None) => true,
        Err(_) => false,
    };
    let host = bare(host);
    // Addresses are compared as networks of one address, which is how `permitted` writes them.
    let name = host
        .parse()
        .map_or_else(|_| host.to_ascii_lowercase(), |address: IpAddr| network_text(address));
    Ok(!permits(&name) || ends_within(&authority, now_ms, LEAF_DAYS))
}

/// The SHA-256 fingerprint of a certificate, as people compare it: `AB:CD:…`.
pub fn fingerprint(certificate_pem: &str) -> Result<String, CertificateError> {
    let digest = digest(&SHA256, &der(certificate_pem)?);
    Ok(digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect::<Vec<_>>()
        .join(":"))
}

/// From when until when a certificate is valid, in milliseconds since 1970.
pub fn validity_ms(certificate_pem: &str) -> Result<(u64, u64), CertificateError> {
    let der = der(certificate_pem)?;
    let validity = parse(&der)?.validity().clone();
    let ms = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    Ok((ms(validity.not_before.timestamp()), ms(validity.not_after.timestamp())))
}

fn set_validity(params: &mut CertificateParams, now_ms: u64, days: u64) {
    let start_ms = now_ms.saturating_sub(BACKDATE_DAYS * DAY_MS);
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_millis(start_ms);
    params.not_after = epoch + Duration::from_millis(start_ms + days * DAY_MS);
}

/// An IPv6 literal without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

fn names(host: &str) -> Vec<String> {
    let host = bare(host);
    // An address in its usual form, so that it is found again in the certificate.
    let host = host
        .parse::<IpAddr>()
        .map_or_else(|_| host.to_ascii_lowercase(), |address| address.to_string());
    let mut names = vec![host];
    for name in ["localhost", "127.0.0.1", "::1"] {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn permitted(host: &str) -> Vec<GeneralSubtree> {
    let v4 = |a, b, c, d, prefix| CidrSubnet::from_addr_prefix(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix);
    let v6 =
        |first, prefix| CidrSubnet::from_addr_prefix(IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0)), prefix);
    let one = |address: IpAddr| CidrSubnet::from_addr_prefix(address, if address.is_ipv4() { 32 } else { 128 });
    let mut networks = vec![
        v4(127, 0, 0, 0, 8),
        v4(10, 0, 0, 0, 8),
        v4(172, 16, 0, 0, 12),
        v4(192, 168, 0, 0, 16),
        one(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        v6(0xfc00, 7),
        v6(0xfe80, 10),
    ];
    let mut subtrees = vec![GeneralSubtree::DnsName("localhost".to_owned())];
    match bare(host).parse::<IpAddr>() {
        Ok(address) => networks.push(one(address)),
        Err(_) if host.eq_ignore_ascii_case("localhost") => {}
        Err(_) => subtrees.push(GeneralSubtree::DnsName(host.to_ascii_lowercase())),
    }
    subtrees.extend(networks.into_iter().map(GeneralSubtree::IpAddress));
    subtrees
}

fn der(pem: &str) -> Result<CertificateDer<'static>, CertificateError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| CertificateError::Malformed)
}

fn parse<'d>(der: &'d CertificateDer<'_>) -> Result<X509Certificate<'d>, CertificateError> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|_| CertificateError::Malformed)
}

fn ends_within(certificate: &X509Certificate<'_>, now_ms: u64, days: u64) -> bool {
    let end_ms = u64::try_from(certificate.validity().not_after.timestamp())
        .unwrap_or(0)
        .saturating_mul(1000);
    end_ms < now_ms.saturating_add(days * DAY_MS)
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = |bytes: &[u8]| -> Option<IpAddr> {
                <[u8; 4]>::try_from(bytes)
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
                    .ok()
            };
            match bytes.len() {
                4 | 16 => address(bytes).map(|address| address.to_string()),
                // In constraints: an address and a mask. 8 + 8 bytes of IPv4 cannot be confused with a bare IPv6 address here,
                // because constraints are the only place with masks and have no bare addresses.
                8 | 32 => bytes.split_at_checked(bytes.len() / 2).and_then(|(base, mask)| {
                    mask.iter()
                        .all(|byte| *byte == 255)
                        .then(|| address(base).map(network_text))?
                }),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A network of one address.
fn network_text(address: IpAddr) -> String {
    format!("{address}/one")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};
    use std::sync::Arc;

    const NOW_MS: u64 = 1_767_225_600_000;

    fn verify(authority: &Issued, leaf: &Issued, name: &str, now_ms: u64) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(der(&authority.certificate_pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        verifier
            .verify_server_cert(&der(&leaf.certificate_pem).unwrap(), &[], &name, &[], now)
            .is_ok()
    }

    #[test]
    fn the_leaf_stands_for_its_names_until_its_end() {
        for host in [
            "chat.example.org",
            "localhost",
            "192.0.2.7",
            "[2001:db8::7]",
            "Chat.Example.org",
        ] {
            let authority = make_authority(host, NOW_MS).unwrap();
            let leaf = make_leaf(&authority, host, NOW_MS).unwrap();
            for name in [bare(host), "localhost", "127.0.0.1", "::1"] {
                assert!(verify(&authority, &leaf, name, NOW_MS), "{host}: {name}");
            }
            assert!(!verify(&authority, &leaf, "other.example.com", NOW_MS));
            assert!(!verify(&authority, &leaf, "localhost", NOW_MS + 397 * DAY_MS));
            assert!(
                !leaf_is_due(&leaf.certificate_pem, &authority.certificate_pem, host, NOW_MS).unwrap(),
                "{host}"
            );
            assert!(
                !authority_is_due(&authority.certificate_pem, host, NOW_MS).unwrap(),
                "{host}"
            );
        }
    }

    #[test]
    fn the_authority_vouches_for_nobody_else() {
        let authority = make_authority("chat.example.org", NOW_MS).unwrap();
        for stranger in ["bank.example.com", "192.0.2.7"] {
            let leaf = make_leaf(&authority, stranger, NOW_MS).unwrap();
            assert!(!verify(&authority, &leaf, stranger, NOW_MS));
        }
        assert!(authority_is_due(&authority.certificate_pem, "bank.example.com", NOW_MS).unwrap());
        assert!(authority_is_due(&authority.certificate_pem, "192.0.2.7", NOW_MS).unwrap());
    }

    #[test]
    fn renewal_is_due_in_time() {
        let host = "chat.example.org";
        let authority = make_authority(host, NOW_MS).unwrap();
        let leaf = make_leaf(&authority, host, NOW_MS).unwrap();
        let due = |days: u64| {
            leaf_is_due(
                &leaf.certificate_pem,
                &authority.certificate_pem,
                host,
                NOW_MS + days * DAY_MS,
            )
            .unwrap()
        };
        assert!(!due(330));
        assert!(due(340));
        assert!(
            leaf_is_due(
                &leaf.certificate_pem,
                &authority.certificate_pem,
                "new.example.org",
                NOW_MS
            )
            .unwrap()
        );
        let other = make_authority(host, NOW_MS).unwrap();
        assert!(leaf_is_due(&leaf.certificate_pem, &other.certificate_pem, host, NOW_MS).unwrap());
        assert!(!authority_is_due(&authority.certificate_pem, host, NOW_MS + 3000 * DAY_MS).unwrap());
        assert!(authority_is_due(&authority.certificate_pem, host, NOW_MS + 3300 * DAY_MS).unwrap());
        let renewed = renew_leaf(&authority, &leaf, host, NOW_MS + 340 * DAY_MS).unwrap();
        assert!(verify(&authority, &renewed, host, NOW_MS + 700 * DAY_MS));
        assert_ne!(renewed.certificate_pem, leaf.certificate_pem);
        assert_eq!(renewed.key_pem.expose(), leaf.key_pem.expose());
        assert!(leaf_is_due("nonsense", &authority.certificate_pem, host, NOW_MS).is_err());
    }

    #[test]
    fn fingerprints_are_32_bytes_in_hex() {
        let authority = make_authority("localhost", NOW_MS).unwrap();
        let text = fingerprint(&authority.certificate_pem).unwrap();
        assert_eq!(text.len(), 32 * 3 - 1);
        assert!(text.split(':').all(|pair| u8::from_str_radix(pair, 16).is_ok()));
        let (from, until) = validity_ms(&authority.certificate_pem).unwrap();
        assert_eq!((NOW_MS - from, until - from), (DAY_MS, AUTHORITY_DAYS * DAY_MS));
        assert!(validity_ms("nonsense").is_err());
    }
}
