//! Handshakes, protocols and certificates, with real sockets.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::support::{short, start};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lamchat_http::certificate::{Issued, make_authority, make_leaf};
use lamchat_http::{Identity, IdentityError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis()
        .try_into()
        .unwrap()
}

fn identity(leaf: &Issued) -> Arc<Identity> {
    Arc::new(Identity::from_pem(leaf.certificate_pem.as_bytes(), leaf.key_pem.expose()).unwrap())
}

fn client(authority: &Issued, protocols: &[&str]) -> ClientConfig {
    client_of(authority, protocols, rustls::DEFAULT_VERSIONS)
}

fn client_of(authority: &Issued, protocols: &[&str], versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.certificate_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
}

async fn hello(stream: &mut TlsStream<TcpStream>) -> String {
    stream
        .write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn the_key_exchange_resists_quantum_computers() {
    let authority = make_authority("localhost", now_ms()).unwrap();
    let leaf = make_leaf(&authority, "localhost", now_ms()).unwrap();
    let (_server, address) = start(short(), Some(identity(&leaf))).await;
    let mut stream = connect(address, client(&authority, &["http/1.1"])).await.unwrap();
    let tls = stream.get_ref().1;
    assert_eq!(
        tls.negotiated_key_exchange_group().unwrap().name(),
        NamedGroup::X25519MLKEM768
    );
    assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(tls.alpn_protocol(), Some(b"http/1.1".as_slice()));
    assert!(hello(&mut stream).await.starts_with("HTTP/1.1 200"));

    let old = client_of(&authority, &[], &[&rustls::version::TLS12]);
    let mut stream = connect(address, old).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert!(hello(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn http2_is_chosen_and_carries_many_requests() {
    let authority = make_authority("localhost", now_ms()).unwrap();
    let leaf = make_leaf(&authority, "localhost", now_ms()).unwrap();
    let (server, address) = start(short(), Some(identity(&leaf))).await;
    let stream = connect(address, client(&authority, &["h2", "http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for path in ["/hello", "/wait", "/hello", "/nowhere"] {
        let request = http::Request::get(format!("https://localhost{path}"))
            .body(Empty::<bytes::Bytes>::new())
            .unwrap();
        sender.ready().await.unwrap();
        answers.push(tokio::spawn(sender.send_request(request)));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The long one is still in flight when the server is asked to stop; it is finished.
    let stopped = tokio::spawn(server.stop(Duration::from_secs(5)));
    let mut seen = Vec::new();
    for answer in answers {
        let response = answer.await.unwrap().unwrap();
        let status = response.status().as_u16();
        seen.push((status, response.into_body().collect().await.unwrap().to_bytes()));
    }
    assert_eq!(
        seen.iter().map(|(status, _)| *status).collect::<Vec<_>>(),
        [200, 200, 200, 404]
    );
    assert_eq!(seen[1].1, "at last");
    drop(sender);
    assert_eq!(stopped.await.unwrap(), 0);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn idle_http2_connections_are_closed() {
    let authority = make_authority("localhost", now_ms()).unwrap();
    let leaf = make_leaf(&authority, "localhost", now_ms()).unwrap();
    let (_server, address) = start(short(), Some(identity(&leaf))).await;
    let stream = connect(address, client(&authority, &["h2"])).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<bytes::Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::time::timeout(Duration::from_secs(3), connection)
        .await
        .unwrap()
        .unwrap();
    drop(sender);
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_connections_stay() {
    let authority = make_authority("localhost", now_ms()).unwrap();
    let first = make_leaf(&authority, "localhost", now_ms()).unwrap();
    let shown = identity(&first);
    let (_server, address) = start(short(), Some(Arc::clone(&shown))).await;
    let mut before = connect(address, client(&authority, &[])).await.unwrap();
    assert!(hello(&mut before).await.starts_with("HTTP/1.1 200"));

    let second = make_leaf(&authority, "localhost", now_ms()).unwrap();
    shown
        .replace(second.certificate_pem.as_bytes(), second.key_pem.expose())
        .unwrap();
    let after = connect(address, client(&authority, &[])).await.unwrap();
    let leaf = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_ne!(leaf(&before), leaf(&after));
    assert!(hello(&mut before).await.starts_with("HTTP/1.1 200"));

    // A key that does not fit changes nothing.
    let wrong = shown.replace(first.certificate_pem.as_bytes(), second.key_pem.expose());
    assert!(matches!(wrong, Err(IdentityError::Unusable(_))));
    assert!(matches!(
        shown.replace(b"", second.key_pem.expose()),
        Err(IdentityError::NoCertificate)
    ));
    assert!(matches!(
        shown.replace(first.certificate_pem.as_bytes(), b""),
        Err(IdentityError::NoKey)
    ));
    let still = connect(address, client(&authority, &[])).await.unwrap();
    assert_eq!(leaf(&after), leaf(&still));
}

#[tokio::test]
async fn handshakes_take_bounded_time() {
    let authority = make_authority("localhost", now_ms()).unwrap();
    let leaf = make_leaf(&authority, "localhost", now_ms()).unwrap();
    let (_server, address) = start(short(), Some(identity(&leaf))).await;
    let started = Instant::now();
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    assert_eq!(crate::support::read_all(&mut silent).await, "");
    assert!((290..2000).contains(&started.elapsed().as_millis()));
    // Strangers who speak plain HTTP are turned away, and the others served.
    assert!(
        !crate::support::exchange(address, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .contains("200 OK")
    );
    assert!(connect(address, client(&authority, &[])).await.is_ok());
    let other = make_authority("localhost", now_ms()).unwrap();
    assert!(connect(address, client(&other, &[])).await.is_err());
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let authority = make_authority("localhost", now_ms()).unwrap();
    let leaf = make_leaf(&authority, "localhost", now_ms()).unwrap();
    let (server, address) = start(short(), Some(identity(&leaf))).await;
    let stream = connect(address, client(&authority, &["h2"])).await.unwrap();
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // The preface, SETTINGS, then pairs of HEADERS (GET https://localhost/ in HPACK) and RST_STREAM (CANCEL).
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(4, 0, 0, b""));
    for number in 0..5000 {
        flood.extend(frame(1, 0x5, number * 2 + 1, b"\x82\x84\x87\x41\x09localhost"));
        flood.extend(frame(3, 0, number * 2 + 1, &8u32.to_be_bytes()));
    }
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = tokio::spawn(async move { writer.write_all(&flood).await });
    let mut heard = Vec::new();
    let _reset = tokio::time::timeout(Duration::from_secs(5), reader.read_to_end(&mut heard))
        .await
        .unwrap();
    let _ended_early = writing.await.unwrap();
    // GOAWAY with ENHANCE_YOUR_CALM, unless the reset of the connection overtook it.
    let mut rest = heard.as_slice();
    let mut said = None;
    while let [a, b, c, kind, _, _, _, _, _, payload @ ..] = rest {
        let (payload, after) = payload.split_at(u32::from_be_bytes([0, *a, *b, *c]) as usize);
        if *kind == 7 {
            said = Some(payload[4..8].to_vec());
        }
        rest = after;
    }
    assert!(said.is_none() || said == Some(vec![0, 0, 0, 0xb]), "{said:?}");
    assert_eq!(server.stop(Duration::from_secs(1)).await, 0);
}
