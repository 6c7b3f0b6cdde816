//! The reference manifest and the trust file: the auditor's own mistakes are named.

use lamchat_attestation::simulation;
use lamchat_attestation::{Manifest, Sha256, Trust, TrustError};

#[test]
fn manifests_come_back_and_contradictions_are_refused() {
    let good = simulation::manifest();
    let text = serde_json::to_string_pretty(&good).unwrap();
    assert_eq!(Manifest::from_bytes(text.as_bytes()).unwrap(), good);
    let changes: [fn(&mut Manifest); 13] = [
        |m| m.format.push('x'),
        |m| m.product = "other".into(),
        |m| m.release = "\n".into(),
        |m| m.pcrs.clear(),
        |m| m.pcrs.reverse(),
        |m| m.pcrs.push(16),
        |m| m.pcrs.retain(|pcr| *pcr != 7),
        |m| m.pcrs.retain(|pcr| *pcr != 11),
        |m| m.pcrs.retain(|pcr| *pcr != 12),
        |m| m.pcrs.retain(|pcr| *pcr != 13),
        |m| m.images.clear(),
        |m| m.values[0].pcr = 10,
        |m| m.binaries = vec![Sha256::ZERO; 2000],
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut manifest = good.clone();
        change(&mut manifest);
        let text = serde_json::to_vec(&manifest).unwrap();
        assert!(Manifest::from_bytes(&text).is_err(), "change {number}");
    }
    for wrong in [
        text.replace("\"release\"", "\"releese\""),
        text.replacen('{', "{\"format\":\"lamchat-reference-manifest-1\",", 1),
        text.to_uppercase(),
        format!("{text}x"),
    ] {
        assert!(Manifest::from_bytes(wrong.as_bytes()).is_err());
    }
}

#[test]
fn trust_files_are_read_or_explained() {
    let made = simulation::SoftwareBox::honest();
    let good = simulation::trust_pem(&[&made.tpm.root], &[&made.auditor]);
    assert!(Trust::from_pem(good.as_bytes()).is_ok());
    let error = |text: String| Trust::from_pem(text.as_bytes()).unwrap_err();
    assert!(matches!(error(String::new()), TrustError::NoRoots));
    assert!(matches!(
        error(good.replace("CERTIFICATE", "PRIVATE KEY")),
        TrustError::Section
    ));
    assert!(matches!(error(simulation::pem("PUBLIC KEY", b"x")), TrustError::Key));
    assert!(matches!(
        error(simulation::pem("CERTIFICATE", b"x")),
        TrustError::Certificate { number: 1, .. }
    ));
    assert!(matches!(error(good.repeat(300)), TrustError::TooLong));
    assert!(matches!(
        error("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n".into()),
        TrustError::Pem(_)
    ));
}
