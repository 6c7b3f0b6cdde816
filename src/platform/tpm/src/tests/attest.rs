//! Quotes, credentials, certificates, the signing key; checked by code that is not ours where there is some.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::testing::{Swtpm, SystemEntropy, open_handles};
use crate::{
    ActivateError, Credential, EndorsementKind, MalformedError, PcrSelection, Point, PublicArea, QuoteError,
    SigningKey, TpmError, make_credential,
};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use lamchat_base::Secret;
use std::time::Instant;

fn verifies(key: &Point, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.uncompressed())
        .verify(message, signature)
        .is_ok()
}

fn pem(key: &Point) -> String {
    // SubjectPublicKeyInfo of a P-256 key (RFC 5480).
    let head = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let der = [head.as_slice(), &key.uncompressed()].concat();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(alphabet[(bits >> (18 - 6 * place) & 63) as usize]));
        }
        text.push_str(&"=".repeat(3 - chunk.len()));
    }
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

#[test]
fn a_quote_verifies_here_and_by_tpm2_checkquote() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    tpm.extend_pcr(7, &[1; 32]).unwrap();
    tpm.extend_pcr(11, &[2; 32]).unwrap();
    let selection = PcrSelection::new(&[0, 7, 11]).unwrap();
    let nonce: Vec<u8> = (0..32).collect();
    let key = tpm.attestation_key().unwrap();
    let quote = tpm.quote(&nonce, &selection).unwrap();
    assert_eq!(key, tpm.attestation_key().unwrap());
    let point = key.point().unwrap();
    assert!(verifies(&point, &quote.attest, &quote.ecdsa));
    assert_eq!(quote.attest[..6], [0xff, 0x54, 0x43, 0x47, 0x80, 0x18]);
    assert!(quote.attest.windows(32).any(|window| window == nonce));
    assert_eq!(quote.pcrs.selection(), selection);
    // True counters, as only the endorsement hierarchy shows them.
    let clock = tpm.clock().unwrap();
    let counters = [clock.resets.to_be_bytes(), clock.restarts.to_be_bytes()].concat();
    assert!(quote.attest.windows(8).any(|window| window == counters));
    let firmware = tpm.identity().unwrap().firmware.to_be_bytes();
    assert!(quote.attest.windows(8).any(|window| window == firmware));
    assert!(open_handles(&mut tpm).is_empty());
    drop(tpm);

    let folder = swtpm.folder();
    std::fs::write(folder.join("ak.pem"), pem(&point)).unwrap();
    std::fs::write(folder.join("quote.msg"), &quote.attest).unwrap();
    std::fs::write(folder.join("quote.sig"), &quote.signature).unwrap();
    let read = swtpm
        .tool("tpm2_pcrread")
        .args(["sha256:0,7,11", "-o", "pcrs"])
        .output()
        .unwrap();
    assert!(read.status.success(), "{read:?}");
    let values: Vec<u8> = quote.pcrs.iter().flat_map(|(_, value)| *value).collect();
    assert_eq!(std::fs::read(folder.join("pcrs")).unwrap(), values);
    let check = |nonce: &[u8]| {
        let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
        swtpm
            .tool("tpm2_checkquote")
            .args([
                "-u",
                "ak.pem",
                "-m",
                "quote.msg",
                "-s",
                "quote.sig",
                "-g",
                "sha256",
                "-f",
                "pcrs",
            ])
            .args(["-l", "sha256:0,7,11", "-q", &nonce])
            .output()
            .unwrap()
    };
    let accepted = check(&nonce);
    assert!(accepted.status.success(), "{accepted:?}");
    assert!(!check(&[9; 32]).status.success());
}

#[test]
fn quotes_over_nothing_or_with_too_much_are_refused() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    let seven = PcrSelection::new(&[7]).unwrap();
    assert!(matches!(
        tpm.quote(&[0; 65], &seven),
        Err(QuoteError::QualifyingData(65))
    ));
    assert!(matches!(
        tpm.quote(&[0; 32], &PcrSelection::default()),
        Err(QuoteError::NoPcrs)
    ));
    assert!(tpm.quote(&[0; 64], &seven).is_ok());
    // More PCRs than one PCR_Read gives.
    let all = PcrSelection::new(&(0..24).collect::<Vec<_>>()).unwrap();
    assert_eq!(tpm.quote(&[], &all).unwrap().pcrs.iter().count(), 24);
}

#[test]
fn certificates_and_their_keys_belong_together() {
    let swtpm = Swtpm::manufactured();
    let mut tpm = swtpm.tpm();
    let rsa = tpm.endorsement(EndorsementKind::Rsa).unwrap();
    let certificate = rsa.certificate.unwrap();
    assert_eq!(certificate[0], 0x30);
    let (modulus, exponent) = rsa.public.rsa().unwrap();
    assert_eq!((modulus.len(), exponent), (256, 65_537));
    assert!(certificate.windows(256).any(|window| window == modulus));
    // swtpm_setup makes no certificate for P-256, the kind that servers' TPMs have; the key is there.
    let ecc = tpm.endorsement(EndorsementKind::Ecc).unwrap();
    assert_eq!(ecc.certificate, None);
    assert!(ecc.public.point().is_some());
    assert!(open_handles(&mut tpm).is_empty());
    // A TPM without certificates says so.
    let bare = Swtpm::start().tpm().endorsement(EndorsementKind::Rsa).unwrap();
    assert_eq!((bare.certificate, bare.intermediates), (None, vec![]));
}

#[test]
fn a_credential_opens_for_this_tpm_and_this_key_alone() {
    let (here, there) = (Swtpm::start(), Swtpm::start());
    let challenge = Secret::new([0x5a; 32]);
    for kind in EndorsementKind::ALL {
        let (mut tpm, wire) = here.recorded();
        let endorsement = tpm.endorsement(kind).unwrap().public;
        let name = tpm.attestation_key().unwrap().name();
        let credential = make_credential(&endorsement, &name, &challenge, &SystemEntropy).unwrap();
        assert_eq!(tpm.activate_credential(kind, &credential).unwrap(), challenge);
        assert!(
            !wire
                .lock()
                .unwrap()
                .windows(16)
                .any(|window| window == &challenge.expose()[..16])
        );
        // Another key's name, another TPM, a changed bit.
        let foreign = make_credential(&endorsement, &[0x0b; 34], &challenge, &SystemEntropy).unwrap();
        let wrong = tpm.activate_credential(kind, &foreign);
        assert!(matches!(wrong, Err(ActivateError::AnotherTpm)), "{kind:?} {wrong:?}");
        let wrong = there.tpm().activate_credential(kind, &credential);
        assert!(matches!(wrong, Err(ActivateError::AnotherTpm)), "{kind:?} {wrong:?}");
        for place in [2, credential.blob.len() - 1] {
            let mut changed = credential.clone();
            changed.blob[place] ^= 1;
            let wrong = tpm.activate_credential(kind, &changed);
            assert!(matches!(wrong, Err(ActivateError::AnotherTpm)), "{kind:?} {wrong:?}");
        }
        let empty = Credential {
            blob: vec![],
            secret: vec![],
        };
        assert!(tpm.activate_credential(kind, &empty).is_err());
        assert!(open_handles(&mut tpm).is_empty());
    }
}

#[test]
fn the_signing_key_signs_with_the_installations_key_on_this_tpm_alone() {
    let mut swtpm = Swtpm::start();
    let (key, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
    let signer = swtpm.tpm().create_signing_key(&key).unwrap();
    let signer = SigningKey::parse(&signer.encode()).unwrap();
    swtpm.power_cycle();
    let mut tpm = swtpm.tpm();
    let point = signer.public.point().unwrap();
    for message in [b"head one".as_slice(), b"head two"] {
        let signature = tpm.sign(&signer, &key, &crate::crypto::sha256(&[message])).unwrap();
        assert!(verifies(&point, message, &signature));
        assert!(!verifies(&point, b"head three", &signature));
    }
    assert!(matches!(
        tpm.sign(&signer, &other, &[0; 32]),
        Err(TpmError::AuthFailed { counted: false })
    ));
    assert!(matches!(
        Swtpm::start().tpm().sign(&signer, &key, &[0; 32]),
        Err(TpmError::Integrity)
    ));
    assert!(open_handles(&mut tpm).is_empty());
    let bytes = signer.encode();
    for end in 0..bytes.len() {
        assert_eq!(SigningKey::parse(&bytes[..end]), Err(MalformedError));
    }
    // The attestation key is no signing key, though it is one in form.
    let attestation = SigningKey {
        public: tpm.attestation_key().unwrap(),
        ..signer
    };
    assert!(SigningKey::parse(&attestation.encode()).is_err());
    assert!(PublicArea::parse(&[]).is_err());
}

#[test]
fn a_tpm_says_who_it_is() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    let identity = tpm.identity().unwrap();
    assert_eq!(
        (identity.family.as_str(), identity.manufacturer.as_str()),
        ("2.0", "IBM")
    );
    assert!(identity.vendor.contains("SW"), "{identity:?}");
    assert!(
        identity.firmware > 0 && identity.revision > 100 && identity.year > 2010,
        "{identity:?}"
    );
    let (first, second) = (tpm.clock().unwrap(), tpm.clock().unwrap());
    assert!(second.clock_ms >= first.clock_ms && second.resets == first.resets);
}

/// Figures for the report: `cargo test -p lamchat-tpm --release figures -- --nocapture`.
#[test]
fn figures() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    let seven = PcrSelection::new(&[7]).unwrap();
    let binding = crate::Binding::Pcrs { fixed: seven };
    let blob = tpm.seal(&Secret::new([3; 32]), &binding, 0x0180_1111, None).unwrap();
    let signer = tpm.create_signing_key(&Secret::new([1; 32])).unwrap();
    let mut median = |what: &str, run: &mut dyn FnMut(&mut crate::Tpm)| {
        let mut times: Vec<_> = (0..20)
            .map(|_| {
                let started = Instant::now();
                run(&mut tpm);
                started.elapsed()
            })
            .collect();
        times.sort();
        println!("{what}: median {:?}, most {:?}", times[10], times[19]);
        assert!(times[10].as_secs() < 5, "{what} takes {:?}", times[10]);
    };
    for kept in ["storage root made anew", "storage root kept"] {
        median(&format!("unseal, {kept}"), &mut |tpm| {
            drop(tpm.unseal(&blob, &[], None).unwrap())
        });
        median(&format!("quote, {kept}"), &mut |tpm| {
            drop(tpm.quote(&[0; 32], &seven).unwrap())
        });
        median(&format!("sign, {kept}"), &mut |tpm| {
            tpm.sign(&signer, &Secret::new([1; 32]), &[7; 32]).unwrap();
        });
        median(&format!("keep, {kept}"), &mut |tpm| {
            assert!(tpm.keep_storage_root().unwrap())
        });
    }
}

/// EK Credential Profile 2.5, 2.2.1.5: where newer TPMs keep certificates, and the issuers of these.
#[test]
fn certificates_of_the_high_range_are_read_with_all_intermediates() {
    let swtpm = Swtpm::start();
    for (kind, index) in [
        (EndorsementKind::RsaHigh, "0x1c00012"),
        (EndorsementKind::EccHigh, "0x1c00014"),
    ] {
        let public = swtpm.tpm().endorsement(kind).unwrap();
        assert_eq!(public.certificate, None);
        assert_ne!(
            public.public,
            swtpm.tpm().endorsement(EndorsementKind::Rsa).unwrap().public
        );
        write_index(&swtpm, index, index.as_bytes());
        let kept = swtpm.tpm().endorsement_certificates(kind).unwrap();
        assert_eq!(kept.certificate.unwrap(), index.as_bytes());
    }
    // A chain longer than one index, and the last index of its range; one behind it is none.
    let long = vec![7; 1500];
    write_index(&swtpm, "0x1c00100", &long);
    write_index(&swtpm, "0x1c001ff", b"last");
    write_index(&swtpm, "0x1c00200", b"behind");
    let kept = swtpm.tpm().endorsement_certificates(EndorsementKind::RsaHigh).unwrap();
    assert_eq!(kept.intermediates, [long, b"last".to_vec()]);
}

fn write_index(swtpm: &Swtpm, index: &str, bytes: &[u8]) {
    std::fs::write(swtpm.folder().join("index"), bytes).unwrap();
    let size = bytes.len().to_string();
    let define = [
        "-C",
        "o",
        "-s",
        &size,
        "-a",
        "ownerwrite|ownerread|authread|no_da",
        index,
    ];
    assert!(swtpm.tool("tpm2_nvdefine").args(define).status().unwrap().success());
    let write = ["-C", "o", "-i", "index", index];
    assert!(swtpm.tool("tpm2_nvwrite").args(write).status().unwrap().success());
}
