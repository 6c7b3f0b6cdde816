//! A client from outside the box, over TLS.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take; the machine is emulated.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes any certificate: what is shown here is that the port answers with TLS. `tests/black_box` verifies certificates.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A port of this machine's that was free a moment ago, and is no other test's as long as this process is there: others
/// look for theirs at the same time.
pub fn free_port() -> u16 {
    // Below those that Linux gives to whoever connects: ip_local_port_range begins with 32,768.
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    for step in 0..COUNT {
        let port = u16::try_from(FIRST + (std::process::id() + step) % COUNT).unwrap();
        let name = SocketAddr::from_abstract_name(format!("lamchat-test-port-{port}")).unwrap();
        // Whoever has the name has the port; somebody who uses the port without it is no test.
        let Ok(claim) = UnixListener::bind_addr(&name) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            std::mem::forget(claim);
            return port;
        }
    }
    panic!("no port is free");
}

/// A network from which one port of the box can be reached: QEMU's argument for it, and the port of this machine's that
/// leads there.
pub fn forwarded(there: u16) -> (String, u16) {
    let here = free_port();
    let network = format!("user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{here}-:{there}");
    (network, here)
}

/// Asks for something on a forwarded port; status and answer.
pub fn get(port: u16, target: &str, token: Option<&str>) -> std::io::Result<(u16, Value)> {
    request(port, "GET", target, token, None)
}

/// The client's side of a connection whose server shows a certificate of this authority (DER), or any without one.
fn tls(authority: Option<&[u8]>) -> ClientConnection {
    let config = match authority {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.to_vec().into()).unwrap();
            ClientConfig::builder().with_root_certificates(roots)
        }
        None => ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate)),
    };
    let name = ServerName::try_from("chat.example.org").unwrap();
    ClientConnection::new(Arc::new(config.with_no_client_auth()), name).unwrap()
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The chain that the server on a forwarded port shows, the first one its own (DER). With an authority only one that
/// leads there and is for the box's name is taken.
pub fn shown(port: u16, authority: Option<&[u8]>) -> std::io::Result<Vec<Vec<u8>>> {
    let (mut stream, mut tls) = (connect(port)?, tls(authority));
    tls.complete_io(&mut stream)?;
    let chain = tls.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(|certificate| certificate.to_vec()).collect())
}

/// Asks for a text on a forwarded port; status and answer.
pub fn get_text(port: u16, target: &str, token: Option<&str>) -> std::io::Result<(u16, String)> {
    exchange(connect(port)?, "GET", target, token, None)
}

/// Sends a request on a forwarded port; status and answer.
pub fn request(
    port: u16,
    method: &str,
    target: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> std::io::Result<(u16, Value)> {
    request_over(connect(port)?, method, target, token, body)
}

/// The same over a connection that is there.
pub fn request_over(
    stream: impl Read + Write,
    method: &str,
    target: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> std::io::Result<(u16, Value)> {
    let (status, answer) = exchange(stream, method, target, token, body)?;
    let malformed = |_| std::io::Error::new(ErrorKind::InvalidData, answer.clone());
    Ok((status, serde_json::from_str(&answer).map_err(malformed)?))
}

fn exchange(
    stream: impl Read + Write,
    method: &str,
    target: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> std::io::Result<(u16, String)> {
    let mut stream = StreamOwned::new(tls(None), stream);
    let body = body.map(Value::to_string).unwrap_or_default();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: chat.example.org\r\nConnection: close\r\nContent-Length: {}\r\n{}\r\n",
        body.len(),
        token.unwrap_or_default()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    // The end of the connection may come without TLS's farewell.
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
    }
    let answer = String::from_utf8_lossy(&answer);
    let malformed = || std::io::Error::new(ErrorKind::InvalidData, answer.clone().into_owned());
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(malformed)?, body.to_owned()))
}
