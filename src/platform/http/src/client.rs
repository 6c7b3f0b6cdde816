//! A command's way to a server far away: one TLS connection, on a plain socket without a runtime.
//!
//! A server is known by the SHA-256 of its public key, which its start prints, or by an authority that vouches for it.
//! There is no third way: the key of whoever answers first is never taken over, and nothing is trusted because the
//! system does.

use aws_lc_rs::digest::{SHA256, digest};
use http::Uri;
use http::uri::Scheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned, version,
};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::parse_x509_certificate;

/// How long each address of a server may take to answer.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Addresses of a server that are tried.
const ADDRESSES_MAX: usize = 8;
/// What stands before a fingerprint.
const PIN_MARK: &str = "sha256:";

/// A connection, encrypted or on this machine.
pub trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

/// The SHA-256 of a public key (SubjectPublicKeyInfo, DER): `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(PIN_MARK)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for Pin {
    type Err = DialError;

    /// Colons between the digits and capital letters are taken, too.
    fn from_str(text: &str) -> Result<Self, DialError> {
        let digits = text.trim().strip_prefix(PIN_MARK).ok_or(DialError::Pin)?;
        let digits: Vec<u32> = digits
            .chars()
            .filter(|char| *char != ':')
            .map(|char| char.to_digit(16).ok_or(DialError::Pin))
            .collect::<Result<_, _>>()?;
        let bytes = digits.chunks(2).map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).map_err(|_| DialError::Pin),
            _ => Err(DialError::Pin),
        });
        let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
        bytes.try_into().map(Self).map_err(|_| DialError::Pin)
    }
}

/// By what a server is known.
#[derive(Debug, Clone)]
pub enum Trust {
    /// One of these is the public key of the certificate that it shows. Its names and its dates say nothing then.
    Pins(Vec<Pin>),
    /// An authority, in PEM, vouches for its name.
    Authority(Vec<u8>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is none.
    #[error("{0}: write an address such as https://chat.example.org:8449")]
    Address(String),
    /// The address is for plain HTTP and not on this machine.
    #[error("{0}: a server far away is reached by https:// only, because the credential would travel in the clear")]
    Plain(String),
    /// The fingerprint is none.
    #[error("a fingerprint of a server's key is `sha256:` and 64 hexadecimal digits, as the server's start prints it")]
    Pin,
    /// The authority is none.
    #[error("there is no certificate in PEM form")]
    Authority,
    /// Nothing says how to know the server.
    #[error(
        "nothing says how to know {0}: give the fingerprint that the server's start and its console show with --pin, or a file with its authority with --ca. The key of whoever answers is not taken over"
    )]
    Unknown(String),
    /// The name leads nowhere, or nobody answers.
    #[error("{place}: {source}")]
    Connect {
        /// The address.
        place: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server is not the one that is known.
    #[error(
        "{0} shows another key than the one that was pinned: somebody stands in between, or the server was set up anew. Compare with the fingerprint on the server's console before you go on"
    )]
    Stranger(String),
    /// Another failure of the handshake.
    #[error("{place}: {source}")]
    Handshake {
        /// The address.
        place: String,
        /// What was wrong.
        source: std::io::Error,
    },
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    is_encrypted: bool,
    host: String,
    port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl std::str::FromStr for Address {
    type Err = DialError;

    /// `https://host:port`, without a path; or `http://` and an address of this machine itself.
    fn from_str(text: &str) -> Result<Self, DialError> {
        let wrong = || DialError::Address(text.to_owned());
        let uri: Uri = text.trim().parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let is_encrypted = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(wrong()),
        };
        let host = authority.host();
        // What http's parser leaves unread in the port would be taken for none.
        let port = match authority.as_str().strip_prefix(host) {
            Some("") if is_encrypted => 443,
            Some("") => 80,
            Some(port) => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or_else(wrong)?,
            None => return Err(wrong()),
        };
        let address = Self {
            is_encrypted,
            host: host.to_owned(),
            port,
        };
        // A name, even `localhost`, is what a resolver makes of it.
        let is_here = address.bare_host().parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if !is_encrypted && !is_here {
            return Err(DialError::Plain(text.to_owned()));
        }
        Ok(address)
    }
}

impl Address {
    /// Without the brackets of an IPv6 address.
    fn bare_host(&self) -> &str {
        let host = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        host.unwrap_or(&self.host)
    }

    /// Connects; `silence` bounds each read and write afterwards.
    pub fn dial(&self, trust: Option<&Trust>, silence: Duration) -> Result<Box<dyn Duplex>, DialError> {
        self.dial_where(trust, silence, None, |_| true)
    }

    /// The same at an address that is known (`at`), or at those to which the name leads and that `may` be connected to.
    pub fn dial_where(
        &self,
        trust: Option<&Trust>,
        silence: Duration,
        at: Option<IpAddr>,
        may: impl Fn(&IpAddr) -> bool,
    ) -> Result<Box<dyn Duplex>, DialError> {
        let tls = match (self.is_encrypted, trust) {
            (false, _) => None,
            (true, None) => return Err(DialError::Unknown(self.to_string())),
            (true, Some(trust)) => Some(self.session(trust)?),
        };
        let connect = |source| DialError::Connect {
            place: self.to_string(),
            source,
        };
        let mut tcp = self.connect(at, may).map_err(connect)?;
        tcp.set_nodelay(true).map_err(connect)?;
        tcp.set_read_timeout(Some(silence)).map_err(connect)?;
        tcp.set_write_timeout(Some(silence)).map_err(connect)?;
        let Some(mut session) = tls else {
            return Ok(Box::new(tcp));
        };
        while session.is_handshaking() {
            session.complete_io(&mut tcp).map_err(|error| self.judge(error))?;
        }
        Ok(Box::new(StreamOwned::new(session, tcp)))
    }

    fn connect(&self, at: Option<IpAddr>, may: impl Fn(&IpAddr) -> bool) -> std::io::Result<TcpStream> {
        let none = "the name leads to no address that may be connected to";
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, none);
        let addresses: Vec<SocketAddr> = match at {
            Some(at) => vec![SocketAddr::new(at, self.port)],
            None => (self.bare_host(), self.port)
                .to_socket_addrs()?
                .filter(|address| may(&address.ip()))
                .take(ADDRESSES_MAX)
                .collect(),
        };
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_TIME) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn session(&self, trust: &Trust) -> Result<ClientConnection, DialError> {
        let handshake = |error: Error| self.judge(std::io::Error::other(error));
        let name = ServerName::try_from(self.bare_host().to_owned());
        let name = name.map_err(|_| DialError::Address(self.to_string()))?;
        let provider = Arc::new(provider::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(handshake)?;
        let mut config = match trust {
            Trust::Pins(pins) => {
                let verifier = Pinned {
                    pins: pins.clone(),
                    provider,
                };
                let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
                builder.with_no_client_auth()
            }
            Trust::Authority(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|_| DialError::Authority)?;
                    roots.add(certificate).map_err(|_| DialError::Authority)?;
                }
                if roots.is_empty() {
                    return Err(DialError::Authority);
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        ClientConnection::new(Arc::new(config), name).map_err(handshake)
    }

    fn judge(&self, error: std::io::Error) -> DialError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
                DialError::Stranger(self.to_string())
            }
            _ => DialError::Handshake {
                place: self.to_string(),
                source: error,
            },
        }
    }
}

/// Takes a certificate for its public key alone, and makes the server prove that it has the private one.
#[derive(Debug)]
struct Pinned {
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (_, certificate) = parse_x509_certificate(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let shown = digest(&SHA256, certificate.tbs_certificate.subject_pki.raw);
        if self.pins.iter().any(|pin| pin.0.as_slice() == shown.as_ref()) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Address, DialError, Pin};

    #[test]
    fn addresses_are_https_or_of_this_machine() {
        let parse = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(
            parse("https://chat.example.org").unwrap(),
            "https://chat.example.org:443"
        );
        assert_eq!(
            parse(" https://[2001:db8::7]:8449/ ").unwrap(),
            "https://[2001:db8::7]:8449"
        );
        assert_eq!(parse("http://127.0.0.1:8008").unwrap(), "http://127.0.0.1:8008");
        assert_eq!(parse("http://[::1]").unwrap(), "http://[::1]:80");
        for plain in ["http://chat.example.org", "http://192.0.2.7", "http://localhost:1"] {
            assert!(matches!(parse(plain), Err(DialError::Plain(_))), "{plain}");
        }
        for wrong in [
            "",
            "chat.example.org",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://u:p@a",
            "ftp://a",
            "https://a:99999",
            "/etc/passwd",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pins_have_one_spelling_and_are_read_in_several() {
        let pin = Pin(std::array::from_fn(|index| index as u8 * 7));
        let text = pin.to_string();
        assert_eq!(text.len(), 7 + 64);
        assert_eq!(text.parse::<Pin>().unwrap(), pin);
        let colons: Vec<String> = pin.0.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(format!("sha256:{}", colons.join(":")).parse::<Pin>().unwrap(), pin);
        let short = text.get(..text.len() - 2).unwrap();
        for wrong in [
            "",
            "sha256:",
            short,
            text.get(7..).unwrap(),
            &format!("{text}0"),
            &format!("{text}00"),
        ] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
    }
}
