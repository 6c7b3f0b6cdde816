//! Keys of a software TPM and of a software auditor.

use crate::enrolment::AuditorKey;
use crate::evidence::PcrValue;
use crate::public::Point;
use crate::quote::{ClockInfo, selection_bytes};
use crate::sha256::Sha256;
use crate::wire::push_sized;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The endorsement key's attributes: of the TCG's low-range template.
const EK_ATTRIBUTES: u32 = 0x0003_00B2;
/// The attestation key's attributes, as tpm2-tools makes one.
const AK_ATTRIBUTES: u32 = 0x0005_0072;

/// How the endorsement key's certificate is made.
#[derive(Debug, Clone)]
pub struct CertificateForm {
    /// First and last year of its validity.
    pub years: (i32, i32),
    /// Extended key usage.
    pub usage: Option<Vec<u64>>,
    /// Attributes of the attestation key (TPMA_OBJECT).
    pub ak_attributes: u32,
}

impl Default for CertificateForm {
    fn default() -> Self {
        Self {
            years: (2020, 2050),
            usage: Some(vec![2, 23, 133, 8, 1]),
            ak_attributes: AK_ATTRIBUTES,
        }
    }
}

/// A TPM that signs anything.
pub struct SoftwareTpm {
    /// The maker's root (DER).
    pub root: Vec<u8>,
    /// The endorsement key's certificate and its intermediate (DER).
    pub ek_certificates: Vec<Vec<u8>>,
    /// TPMT_PUBLIC.
    pub ek_public: Vec<u8>,
    /// TPMT_PUBLIC.
    pub ak_public: Vec<u8>,
    ak: EcdsaKeyPair,
}

fn new_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

fn point(key: &EcdsaKeyPair) -> Point {
    key.public_key().as_ref().try_into().unwrap()
}

/// TPMT_PUBLIC of a key on P-256: an attestation key's, or an endorsement key's when it decrypts.
pub fn public_area(point: &[u8], attributes: u32) -> Vec<u8> {
    let decrypts = attributes & 1 << 17 != 0 && attributes & 1 << 18 == 0;
    let mut out = vec![0, 0x23, 0, 0x0B];
    out.extend(attributes.to_be_bytes());
    push_sized(&mut out, &[]);
    if decrypts {
        // AES-128-CFB, no scheme.
        out.extend([0, 6, 0, 128, 0, 0x43, 0, 0x10]);
    } else {
        // No symmetric cipher, ECDSA with SHA-256.
        out.extend([0, 0x10, 0, 0x18, 0, 0x0B]);
    }
    // P-256, no key derivation.
    out.extend([0, 3, 0, 0x10]);
    push_sized(&mut out, &point[1..33]);
    push_sized(&mut out, &point[33..]);
    out
}

fn certificate(name: &str, issues: bool) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2050, 1, 1);
    if issues {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    } else {
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    }
    params
}

/// A DER element of fewer than 128 bytes.
fn der(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    [vec![tag, u8::try_from(content.len()).unwrap()], content].concat()
}

/// The subject's alternative name with maker, model and version, as a chip of Infineon's has it.
fn make() -> CustomExtension {
    let attributes = [(1, "id:49465800"), (2, "SLB9670"), (3, "id:0007003D")].map(|(last, text)| {
        let oid = der(0x06, &[vec![0x67, 0x81, 0x05, 0x02, last]]);
        der(0x31, &[der(0x30, &[oid, der(0x0C, &[text.into()])])])
    });
    let names = der(0x30, &[der(0xA4, &[der(0x30, &attributes)])]);
    CustomExtension::from_oid_content(&[2, 5, 29, 17], names)
}

impl SoftwareTpm {
    /// New keys, and a chain of root, intermediate and certificate.
    pub fn new(form: &CertificateForm) -> Self {
        let (root_key, maker_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let ek_key = KeyPair::generate().unwrap();
        // Names of their own, so that no maker's certificate seems to lead to another's root.
        let serial = Sha256::of(root_key.public_key_raw()).to_string();
        let root_params = certificate(&format!("root {serial:.16}"), true);
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(root_params, root_key);
        let maker_params = certificate(&format!("maker {serial:.16}"), true);
        let maker = maker_params.signed_by(&maker_key, &root_issuer).unwrap();
        let maker_issuer = Issuer::new(maker_params, maker_key);
        let mut params = certificate("ek", false);
        params.not_before = rcgen::date_time_ymd(form.years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(form.years.1, 1, 1);
        let usage = form.usage.clone().map(ExtendedKeyUsagePurpose::Other);
        params.extended_key_usages = usage.into_iter().collect();
        params.custom_extensions.push(make());
        let leaf = params.signed_by(&ek_key, &maker_issuer).unwrap();
        let ak = new_key();
        Self {
            root: root.der().to_vec(),
            ek_certificates: vec![leaf.der().to_vec(), maker.der().to_vec()],
            ek_public: public_area(ek_key.public_key_raw(), EK_ATTRIBUTES),
            ak_public: public_area(&point(&ak), form.ak_attributes),
            ak,
        }
    }

    /// TPMS_ATTEST over these PCRs.
    pub fn attest(&self, qualifying: &[u8], clock: &ClockInfo, pcrs: &[PcrValue]) -> Vec<u8> {
        let selected: Vec<_> = pcrs.iter().map(|value| value.pcr).collect();
        self.attest_with(qualifying, clock, &selection_bytes(&selected), pcrs)
    }

    /// TPMS_ATTEST with a selection of the caller's.
    pub fn attest_with(&self, qualifying: &[u8], clock: &ClockInfo, selection: &[u8], pcrs: &[PcrValue]) -> Vec<u8> {
        let mut out = 0xFF54_4347u32.to_be_bytes().to_vec();
        out.extend(0x8018u16.to_be_bytes());
        push_sized(&mut out, &crate::public::name(&self.ak_public));
        push_sized(&mut out, qualifying);
        out.extend(clock.clock_ms.to_be_bytes());
        out.extend(clock.reset_count.to_be_bytes());
        out.extend(clock.restart_count.to_be_bytes());
        out.push(u8::from(clock.safe));
        out.extend(0x2019_1023_0016_3636u64.to_be_bytes());
        out.extend(selection);
        let values: Vec<&[u8]> = pcrs.iter().map(|value| value.sha256.0.as_slice()).collect();
        push_sized(&mut out, &Sha256::of_parts(&values).0);
        out
    }

    /// TPMT_SIGNATURE over any bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.ak.sign(&SystemRandom::new(), message).unwrap();
        let (r, s) = signature.as_ref().split_at(32);
        let mut out = vec![0, 0x18, 0, 0x0B];
        push_sized(&mut out, r);
        push_sized(&mut out, s);
        out
    }
}

/// An auditor.
pub struct SoftwareAuditor(EcdsaKeyPair);

impl SoftwareAuditor {
    /// With a new key.
    pub fn new() -> Self {
        Self(new_key())
    }
}

impl Default for SoftwareAuditor {
    fn default() -> Self {
        Self::new()
    }
}

impl AuditorKey for SoftwareAuditor {
    fn public(&self) -> Point {
        point(&self.0)
    }

    fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        self.0
            .sign(&SystemRandom::new(), message)
            .unwrap()
            .as_ref()
            .try_into()
            .ok()
    }
}
