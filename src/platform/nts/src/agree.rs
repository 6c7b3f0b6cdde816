//! Agreeing on keys: NTS Key Establishment over TLS 1.3, RFC 8915, sections 3 and 4.

use crate::certificate::{Authorities, Verifier};
use crate::record::{self, AEAD_AES_SIV_CMAC_256, ANSWER_BYTES_MAX, NTPV4, RecordError};
use crate::session::{Keys, Session};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned, version};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// RFC 8915, section 7.3.
const ALPN: &[u8] = b"ntske/1";
/// RFC 8915, section 4.2.
const EXPORTER: &[u8] = b"EXPORTER-network-time-security";
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a read or write may take.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long all of it may take.
const WHOLE_TIME: Duration = Duration::from_secs(15);

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The name in its certificate.
    pub name: String,
    /// Where it agrees on keys.
    pub address: SocketAddr,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum AgreeError {
    /// The connection.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// TLS: also a certificate that is wrong.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// The name is none.
    #[error("{0:?} is no name of a server")]
    Name(String),
    /// The server speaks something else.
    #[error("the server does not speak NTS")]
    OtherProtocol,
    /// Its answer.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// It took too long.
    #[error("the server took longer than {} s", WHOLE_TIME.as_secs())]
    Late,
    /// The server sends us on to a name, and nobody is asked where names lead to.
    #[error("the server sends us on to {0:?}, which is not an address")]
    SentOn(String),
}

/// Agrees on keys with a server that an authority vouches for.
pub fn agree(server: &Server, authorities: &Authorities) -> Result<Session, AgreeError> {
    let verifier = Arc::new(Verifier::new(authorities.clone()));
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let name = ServerName::try_from(server.name.clone()).map_err(|_| AgreeError::Name(server.name.clone()))?;
    let connection = ClientConnection::new(Arc::new(config), name)?;

    let end = Instant::now() + WHOLE_TIME;
    let tcp = TcpStream::connect_timeout(&server.address, CONNECT_TIME)?;
    tcp.set_read_timeout(Some(SILENCE_MAX))?;
    tcp.set_write_timeout(Some(SILENCE_MAX))?;
    let mut stream = StreamOwned::new(connection, tcp);
    stream.write_all(&record::request())?;
    stream.flush()?;
    let answer = receive(&mut stream, end)?;
    // RFC 8915, section 4: what was agreed by ALPN has to be this.
    if stream.conn.alpn_protocol() != Some(ALPN) {
        return Err(AgreeError::OtherProtocol);
    }
    let keys = Keys {
        to_server: export(&stream.conn, 0)?,
        to_client: export(&stream.conn, 1)?,
    };
    let shown = verifier.shown().ok_or(AgreeError::OtherProtocol)?;
    let ip = match answer.server {
        None => server.address.ip(),
        Some(text) => text.parse::<IpAddr>().map_err(|_| AgreeError::SentOn(text))?,
    };
    let address = SocketAddr::new(ip, answer.port.unwrap_or(lamchat_machine::time::PORT));
    Ok(Session::new(address, keys, answer.cookies, shown))
}

fn receive(stream: &mut StreamOwned<ClientConnection, TcpStream>, end: Instant) -> Result<record::Answer, AgreeError> {
    let mut bytes = Vec::new();
    let mut part = [0; 2048];
    loop {
        if let Some(answer) = record::read(&bytes)? {
            return Ok(answer);
        }
        if Instant::now() > end {
            return Err(AgreeError::Late);
        }
        let length = stream.read(&mut part)?;
        if length == 0 || bytes.len() + length > ANSWER_BYTES_MAX {
            return Err(RecordError::Malformed.into());
        }
        bytes.extend(part.get(..length).unwrap_or_default());
    }
}

/// RFC 8915, section 5.1: the context is the protocol, the algorithm, and 0 for what the client sends, 1 for the server.
fn export(connection: &ClientConnection, direction: u8) -> Result<Zeroizing<[u8; 32]>, rustls::Error> {
    let [p0, p1] = NTPV4.to_be_bytes();
    let [a0, a1] = AEAD_AES_SIV_CMAC_256.to_be_bytes();
    let key = connection.export_keying_material([0; 32], EXPORTER, Some(&[p0, p1, a0, a1, direction]))?;
    Ok(Zeroizing::new(key))
}
