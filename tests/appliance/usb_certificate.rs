//! A certificate of the operator's own authority, by a USB stick: the request goes out, the answer comes back, clients that
//! trust the authority come in. An answer that is not right changes nothing.

use crate::client::shown;
use crate::set_up::{set_up, shut_down};
use crate::stick::UsbStick;
use crate::usb::{choose, done, refused, start};
use crate::virtual_machine::{Disk, VirtualMachine, flat};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use std::time::{Duration, Instant};

/// The file of the answer.
const ANSWER: &str = "certificate.pem";
/// How long a listener may take to show another certificate.
const SEEN: Duration = Duration::from_secs(60);

/// An organisation's authority, which signs by another one in between.
pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    between: CertifiedIssuer<'static, KeyPair>,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2200, 1, 1);
    params
}

fn limits(params: &mut CertificateParams, last_year: i32) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(last_year, 5, 17);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

impl Authority {
    pub fn new() -> Self {
        let root = CertifiedIssuer::self_signed(authority("Root of the tests"), KeyPair::generate().unwrap()).unwrap();
        let between = authority("Authority in between");
        let between = CertifiedIssuer::signed_by(between, KeyPair::generate().unwrap(), &root).unwrap();
        Self { root, between }
    }

    /// The chain for a request, whose first certificate ends in this year, with another name if one is given.
    pub fn answer(&self, request: &str, last_year: i32, name: Option<&str>) -> String {
        let mut asked = CertificateSigningRequestParams::from_pem(request).unwrap();
        limits(&mut asked.params, last_year);
        if let Some(name) = name {
            asked.params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        }
        let own = asked.signed_by(&self.between).unwrap();
        own.pem() + &self.between.pem()
    }

    /// A chain for a key that is not the box's.
    fn for_another_key(&self) -> String {
        let mut params = CertificateParams::new(vec!["chat.example.org".to_owned()]).unwrap();
        limits(&mut params, 2199);
        let own = params.signed_by(&KeyPair::generate().unwrap(), &self.between).unwrap();
        own.pem() + &self.between.pem()
    }
}

/// The chain that is shown, once the box answers.
fn chain(port: u16) -> Vec<Vec<u8>> {
    let since = Instant::now();
    loop {
        match shown(port, None) {
            Ok(chain) => return chain,
            Err(error) => assert!(since.elapsed() < SEEN, "{error}"),
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Waits until whoever trusts the authority comes in; the chain that was shown to them.
fn trusted(port: u16, authority: &Authority) -> Vec<Vec<u8>> {
    let since = Instant::now();
    loop {
        match shown(port, Some(authority.root.der())) {
            Ok(chain) => return chain,
            Err(error) => assert!(since.elapsed() < SEEN, "{error}"),
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn answer(machine: &mut VirtualMachine, stick: &UsbStick, chain: &str) {
    stick.write(ANSWER, chain.as_bytes());
    choose(machine, "TLS certificate from the stick", "5");
}

#[test]
fn an_authority_of_the_operators_signs_by_stick_and_wrong_answers_change_nothing() {
    let (disk, stick, authority) = (Disk::blank(), UsbStick::new(true), Authority::new());
    let (mut machine, port) = start(&disk, &stick, 443);
    let key = set_up(&mut machine, "dhcp");
    let own = chain(port);
    choose(&mut machine, "TLS certificate: the request", "4");
    let said = flat(&done(&mut machine));
    assert!(
        said.contains("lamchat-request.pem was written and read back right"),
        "{said}"
    );
    let folder = tempfile::tempdir().unwrap();
    let written = stick.take("lamchat-certificate-", folder.path());
    let request = std::fs::read_to_string(written.join("lamchat-request.pem")).unwrap();

    // Nothing there yet, and then what is not an answer to this request.
    choose(&mut machine, "TLS certificate from the stick", "5");
    let why = refused(&mut machine);
    assert!(why.contains("there is no certificate.pem on the stick"), "{why}");
    let right = authority.answer(&request, 2199, None);
    let wrong = |machine: &mut VirtualMachine, before: &[Vec<u8>]| {
        for (chain, reason) in [
            (authority.for_another_key(), "is not for the key of the request"),
            (
                authority.answer(&request, 2199, Some("other.example.org")),
                "is for other.example.org, not for chat.example.org",
            ),
            (
                authority.answer(&request, 2021, None),
                "May 17 00:00:00 2021 +00:00, not now",
            ),
            (
                right.replace("CERTIFICATE", "NOTHING"),
                "no chain of 1 to 8 certificates",
            ),
        ] {
            answer(machine, &stick, &chain);
            let why = refused(machine);
            println!("refused: {why}");
            assert!(why.contains(reason), "{reason}: {why}");
            assert_eq!(self::chain(port), before, "{reason}: another chain is shown");
        }
    };
    wrong(&mut machine, &own);

    answer(&mut machine, &stick, &right);
    let said = flat(&done(&mut machine));
    assert!(
        said.contains("Names: chat.example.org") && said.contains("Until: 2199-05-17"),
        "{said}"
    );
    let signed = trusted(port, &authority);
    assert_eq!(signed.get(1..).unwrap(), [authority.between.der().to_vec()]);
    assert_ne!(signed.first(), own.first());
    machine.expect("until 2199-05-17");
    wrong(&mut machine, &signed);
    shut_down(&mut machine);

    let (mut machine, port) = start(&disk, &stick, 443);
    machine.choose("Unlock with the recovery key", "1", None);
    machine.answer("Recovery key: ", &key);
    machine.answer("type yes", "no");
    machine.expect("until 2199-05-17");
    assert_eq!(trusted(port, &authority), signed);
    shut_down(&mut machine);
}
