//! The network of a booted box: a client from outside over TLS, closed ports, and a change that cuts everybody off.

use crate::set_up::{PIN, set_up};
use crate::virtual_machine::VirtualMachine;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer may take; the machine is emulated.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a port is given to show that it is open.
const CLOSED_AFTER: Duration = Duration::from_secs(5);

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

/// A port of this machine's that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// What `/versions` answers on a forwarded port, if it answers with TLS at all.
fn versions(port: u16) -> std::io::Result<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate));
    let name = ServerName::try_from("chat.example.org").unwrap();
    let connection = ClientConnection::new(Arc::new(config.with_no_client_auth()), name).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    stream
        .write_all(b"GET /_matrix/client/versions HTTP/1.1\r\nHost: chat.example.org\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    // The end of the connection may come without TLS's farewell.
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether the guest answers anything on a forwarded port: QEMU accepts the connection itself, and says nothing or closes
/// it when the guest does not take it.
fn is_closed(port: u16) -> bool {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(CLOSED_AFTER)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    !matches!(stream.read(&mut [0; 16]), Ok(length) if length > 0)
}

#[test]
fn a_client_comes_in_and_a_wrong_network_goes_back() {
    let forwarded: Vec<(u16, u16)> = [443, 8448, 8008, 22, 80].map(|port| (free_port(), port)).to_vec();
    let rules: String = forwarded
        .iter()
        .map(|(here, there)| format!(",hostfwd=tcp:127.0.0.1:{here}-:{there}"))
        .collect();
    let mut machine = VirtualMachine::start(&["-nic", &format!("user,model=virtio-net-pci{rules}")]);
    set_up(&mut machine, "dhcp");
    machine.expect("10.0.2.15");
    for (here, there) in &forwarded {
        match there {
            443 | 8448 => assert!(versions(*here).unwrap().contains("\"versions\""), "port {there}"),
            // 8008 is the console's own, on the loopback interface.
            _ => assert!(is_closed(*here), "port {there} is open"),
        }
    }

    machine.choose("Shut down", "4", Some(PIN));
    machine.answer("ROUTER: ", "10.9.9.9/24");
    machine.expect("10.9.9.9 ");
    let changed = Instant::now();
    machine.expect("else it goes back");
    let tls = forwarded.first().unwrap().0;
    assert!(is_closed(tls), "the old address answers");
    machine.expect("10.0.2.15");
    let back = changed.elapsed();
    assert!(
        (Duration::from_secs(100)..Duration::from_secs(180)).contains(&back),
        "{back:?}"
    );
    assert!(versions(tls).unwrap().contains("\"versions\""));

    // A change that is confirmed stays.
    machine.choose("Shut down", "4", Some(PIN));
    machine.answer("ROUTER: ", "10.0.2.15/24 10.0.2.2");
    machine.choose("Keep the new network", "6", Some(PIN));
    std::thread::sleep(Duration::from_secs(130));
    machine.choose("Shut down", "7", Some(PIN));
    let log = machine.answer("Press Enter", "");
    // The first change went back, the second did not.
    assert_eq!(log.matches("nobody confirmed").count(), 1, "{log}");
    assert!(log.contains("was confirmed"), "{log}");
    assert!(versions(tls).unwrap().contains("\"versions\""));
    machine.choose("Shut down", "0", Some(PIN));
    machine.answer("type yes", "yes");
    machine.wait_off();
}
