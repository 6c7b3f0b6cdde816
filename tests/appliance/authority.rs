//! The box's own authority: its fingerprint at the console, its certificate on a stick and from the network, and clients
//! that trust it and nobody else.

use crate::client::{get_text, shown};
use crate::set_up::{set_up, shut_down};
use crate::stick::UsbStick;
use crate::usb::{choose, done, start};
use crate::virtual_machine::{Disk, VirtualMachine};
use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::{Duration, Instant};

/// How long the box may take until it answers from outside.
const ANSWERS: Duration = Duration::from_secs(120);
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn fingerprint(pem: &str) -> String {
    let digest = digest(&SHA256, &der(pem));
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// What the console shows at "Certificate authority": the groups of the fingerprint, together.
pub fn at_console(machine: &mut VirtualMachine) -> String {
    machine.choose("Certificate authority", "c", None);
    machine.expect("SHA-256 of the certificate:");
    let screen = machine.answer("Press Enter", "");
    let is_group = |word: &&str| word.len() == 4 && word.bytes().all(|byte| b"0123456789ABCDEF".contains(&byte));
    let digits: String = screen.split_whitespace().filter(is_group).collect();
    assert_eq!(digits.len(), DIGITS, "{screen}");
    assert!(screen.contains("\x1b[97;40m"), "no QR code: {screen}");
    digits
}

/// The authority (PEM), fetched from whoever answers on a forwarded port and then compared with what the console shows.
pub fn fetch(port: u16, console: &str) -> String {
    let since = Instant::now();
    let pem = loop {
        match get_text(port, "/_lamchat/v1/ca.pem", None) {
            Ok((200, pem)) => break pem,
            other => assert!(since.elapsed() < ANSWERS, "{other:?}"),
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    assert_eq!(fingerprint(&pem), console);
    shown(port, Some(&der(&pem))).unwrap();
    pem
}

#[test]
fn whoever_compares_the_fingerprint_can_trust_the_box() {
    let (disk, stick) = (Disk::blank(), UsbStick::new(false));
    let (mut machine, port) = start(&disk, &stick, 443);
    set_up(&mut machine, "dhcp");
    let console = at_console(&mut machine);
    let fetched = fetch(port, &console);

    choose(&mut machine, "Certificate authority onto it", "a");
    let said = done(&mut machine);
    assert!(said.contains("lamchat-ca.pem"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let written = stick.take("lamchat-authority-", folder.path());
    let written = std::fs::read_to_string(written.join("lamchat-ca.pem")).unwrap();
    assert_eq!(written, fetched);

    // Another authority vouches for nothing here, whatever it calls itself.
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "LamChat local CA of chat.example.org");
    let stranger = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    shown(port, Some(stranger.der())).unwrap_err();
    shut_down(&mut machine);
    stick.check();
}
