//! The pieces without a TPM: certificates one after another, fingerprints, files. `tests/attester` has the TPM.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::certificates::split;
use crate::{Machine, Places, fingerprints};
use lamchat_attestation::limits::EVENT_LOG_BYTES_MAX;
use lamchat_attestation::simulation::{CertificateForm, SoftwareTpm};
use lamchat_attestation::{KeyUse, Sha256};
use lamchat_base::SecretBytes;

#[test]
fn certificates_are_told_apart_with_and_without_filling() {
    let chain = SoftwareTpm::new(&CertificateForm::default()).ek_certificates;
    assert_eq!(chain.len(), 2);
    assert_eq!(split(&chain.concat()), chain);
    let filled = [&[0; 3], chain[0].as_slice(), &[0xFF; 40], &chain[1], &[0; 500]].concat();
    assert_eq!(split(&filled), chain);
    assert_eq!(split(&chain[0][..chain[0].len() - 1]), Vec::<Vec<u8>>::new());
    assert_eq!(
        split(&[chain[0].as_slice(), b"rubbish", &chain[1]].concat()),
        chain[..1]
    );
    for nothing in [&[][..], &[0; 64], &[0xFF; 64], &[0x30, 0x82], b"text"] {
        assert!(split(nothing).is_empty());
    }
}

#[test]
fn fingerprints_come_from_the_sealed_keys() {
    // RFC 8032, section 7.1, test 1.
    let seed =
        lamchat_attestation::from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
    let public =
        lamchat_attestation::from_hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = format!("{}{}", pair.cert.pem(), pair.signing_key.serialize_pem());
    let secret = |bytes: &[u8]| Some(SecretBytes::new(bytes.to_vec()));
    let unseal = |name: &str| {
        Ok::<_, String>(match name {
            "signing-key" => secret(&[seed.as_slice(), b"abcdef"].concat()),
            "tls-server" => secret(tls.as_bytes()),
            _ => None,
        })
    };
    let keys = fingerprints(unseal).unwrap();
    assert_eq!(keys[0].usage, KeyUse::Signing);
    assert_eq!(keys[0].sha256, Sha256::of(&public));
    assert_eq!(keys[1].usage, KeyUse::Tls);
    use rcgen::PublicKeyData;
    assert_eq!(keys[1].sha256, Sha256::of(&pair.signing_key.subject_public_key_info()));

    assert!(fingerprints(|_| Ok::<_, String>(None)).unwrap().is_empty());
    let error = fingerprints(|_| Ok::<_, String>(secret(b"short"))).unwrap_err();
    assert!(error.to_string().contains("signing-key"), "{error}");
    let error = fingerprints(|_| Err::<Option<SecretBytes>, _>("the disk is gone")).unwrap_err();
    assert!(error.to_string().contains("the disk is gone"), "{error}");
}

#[test]
fn what_the_machine_does_not_tell_has_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Some(path)
    };
    let mut places = Places::of_software_tpm();
    let machine = Machine::open(&places);
    assert!(machine.event_log().unwrap_err().contains("attestation.event_log"));
    assert_eq!(machine.uki().unwrap(), None);
    assert_eq!(machine.null_key_name().unwrap(), None);
    let program = std::fs::read("/proc/self/exe").unwrap();
    assert_eq!(machine.program().unwrap(), Sha256::of(&program));

    places.event_log = write("log", &vec![1; EVENT_LOG_BYTES_MAX]);
    places.uki = write("uki", b"image");
    places.null_key_name = write("null", format!("000b{}\n", "ab".repeat(32)).as_bytes());
    let machine = Machine::open(&places);
    // Twice: a file is read from its start each time.
    for _ in 0..2 {
        assert_eq!(machine.event_log().unwrap().len(), EVENT_LOG_BYTES_MAX);
        assert_eq!(machine.null_key_name().unwrap().unwrap().len(), 34);
    }
    assert_eq!(machine.uki().unwrap(), Some(Sha256::of(b"image")));

    places.event_log = write("log", &vec![1; EVENT_LOG_BYTES_MAX + 1]);
    places.uki = Some(folder.path().join("none"));
    places.null_key_name = write("null", b"nonsense");
    let machine = Machine::open(&places);
    assert!(machine.event_log().unwrap_err().contains("larger"));
    assert!(machine.uki().unwrap_err().contains("none"));
    assert!(machine.null_key_name().is_err());
    (places.uki, places.uki_sha256) = (None, write("digest", b""));
    let machine = Machine::open(&places);
    assert!(machine.uki().unwrap_err().contains("no digest"));
    write("digest", format!("{}\n", Sha256::of(b"image")).as_bytes());
    assert_eq!(machine.uki().unwrap(), Some(Sha256::of(b"image")));
    places.event_log = write("log", b"");
    assert!(Machine::open(&places).event_log().unwrap_err().contains("empty"));
}
