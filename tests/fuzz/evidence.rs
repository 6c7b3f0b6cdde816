//! Parsers of evidence and enrolment: what a box that somebody took over may send to its auditor.

use super::fuzz;
use lamchat_attestation::simulation::{self, Boot, Draft};
use lamchat_attestation::{
    Answer, AttestationKey, Challenge, Checkpoint, EndorsementKey, Enrolment, EventLog, Evidence, Manifest, Quote,
    Request, Sha256, Trust, to_hex,
};
use std::sync::OnceLock;

/// An honest box, its honest bundle, and the verifier's side.
fn honest() -> &'static Draft {
    static DRAFT: OnceLock<Draft> = OnceLock::new();
    DRAFT.get_or_init(Draft::honest)
}

fn bundle() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| honest().evidence().to_bytes())
}

fn request() -> Request {
    let tpm = &honest().made.tpm;
    Request {
        ek_certificates: tpm.ek_certificates.clone(),
        ek_public: tpm.ek_public.clone(),
        ak_public: tpm.ak_public.clone(),
    }
}

#[test]
fn a_bundle_is_what_is_written_back_and_a_changed_one_proves_nothing_new() {
    fuzz("evidence", &[bundle()], |input| {
        if let Ok(evidence) = Evidence::from_bytes(input) {
            assert_eq!(evidence.to_bytes(), input, "two spellings of one bundle");
        }
        if honest().verify(input).is_ok() {
            let (changed, good) = (Evidence::from_bytes(input).unwrap(), honest().evidence());
            // Nothing but the log has bytes that nothing vouches for; a signature has two forms.
            assert_eq!((changed.nonce, changed.claims), (good.nonce, good.claims));
            assert_eq!(changed.tpm.pcrs, good.tpm.pcrs);
            assert_eq!(changed.tpm.ak_public, good.tpm.ak_public);
        }
    });
}

#[test]
fn an_event_log_that_replays_has_the_digests_of_the_boot() {
    static LOG: OnceLock<Vec<u8>> = OnceLock::new();
    let log = LOG.get_or_init(|| Boot::honest().log());
    fuzz("event log", &[log], |input| {
        let good = Boot::honest();
        let Ok(log) = EventLog::parse(input) else { return };
        let quoted = honest().evidence().tpm.pcrs;
        if log.check_replay(&quoted).is_ok() {
            for value in quoted {
                let digests: Vec<Sha256> = log.of(value.pcr).map(|event| event.digest).collect();
                let measured = good.measured().filter(|entry| entry.pcr == u32::from(value.pcr));
                assert!(digests.into_iter().eq(measured.map(|entry| entry.digest)));
            }
        }
    });
}

#[test]
fn structures_of_a_tpm_are_read_or_refused() {
    let tpm = &honest().evidence().tpm;
    let endorsement = &honest().made.tpm.ek_public;
    let seeds = [tpm.quote.as_slice(), &tpm.ak_public, endorsement, &tpm.signature];
    fuzz("TPM structures", &seeds, |input| {
        if let Ok(quote) = Quote::parse(input) {
            assert!(input.starts_with(&[0xFF, 0x54, 0x43, 0x47, 0x80, 0x18]));
            let _ = quote.check_selection(&simulation::PCRS);
        }
        if let Ok(key) = AttestationKey::parse(input) {
            let _ = key.check_attributes();
        }
        if let Ok(key) = EndorsementKey::parse(input) {
            assert!(key.subject_public_key().len() < 600);
        }
        let _ = Checkpoint::parse(input);
    });
}

#[test]
fn certificates_are_read_or_refused() {
    let seeds: Vec<_> = honest().made.tpm.ek_certificates.iter().map(Vec::as_slice).collect();
    fuzz("EK certificates", &seeds, |input| {
        let good = &honest().made.tpm.ek_certificates;
        let chain = [input.to_vec(), good[1].clone()];
        let verified = lamchat_attestation::CertifiedKey::verify(&chain, &honest().made.trust, simulation::TIME);
        assert!(verified.is_err() || input == good[0], "a certificate was made up");
        let _ = lamchat_attestation::certificate_names(input);
    });
}

#[test]
fn files_of_an_enrolment_are_what_is_written_back() {
    let made = &honest().made;
    let challenge = Challenge::new(
        &request(),
        "box",
        &made.trust,
        simulation::TIME,
        &simulation::Fixed(3),
        &made.auditor,
    );
    let challenge = challenge.unwrap();
    let answer = Answer::new(&challenge, [3; 32]).to_bytes();
    let seeds = [
        request().to_bytes(),
        challenge.to_bytes(),
        answer,
        made.enrolment.to_bytes(),
    ];
    let seeds: Vec<_> = seeds.iter().map(Vec::as_slice).collect();
    fuzz("enrolment", &seeds, |input| {
        if let Ok(request) = Request::from_bytes(input) {
            assert_eq!(request.to_bytes(), input);
        }
        if let Ok(challenge) = Challenge::from_bytes(input) {
            assert_eq!(challenge.to_bytes(), input);
            let answer = Answer::new(&challenge, [3; 32]);
            let made = &honest().made;
            if let Ok(enrolment) = Enrolment::new(&challenge, &answer, simulation::TIME, &made.auditor) {
                assert_eq!(enrolment.ak_public, made.tpm.ak_public, "another key was certified");
            }
        }
        if let Ok(answer) = Answer::from_bytes(input) {
            assert_eq!(answer.to_bytes(), input);
        }
        if let Ok(enrolment) = Enrolment::from_bytes(input) {
            assert_eq!(enrolment.to_bytes(), input);
            let believed = enrolment.check(&honest().made.trust).is_ok();
            assert!(!believed || enrolment.ak_public == honest().made.tpm.ak_public);
        }
    });
}

#[test]
fn manifests_and_trust_files_are_read_or_explained() {
    let manifest = serde_json::to_vec(&simulation::manifest()).unwrap();
    let made = &honest().made;
    let trust = simulation::trust_pem(&[&made.tpm.root], &[&made.auditor]);
    fuzz("manifest and trust", &[&manifest, trust.as_bytes()], |input| {
        match Manifest::from_bytes(input) {
            Ok(manifest) => {
                let again = serde_json::to_vec(&manifest).unwrap();
                assert_eq!(Manifest::from_bytes(&again).unwrap(), manifest);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        let _ = Trust::from_pem(input);
        for der in lamchat_attestation::certificates_from_pem(input).unwrap_or_default() {
            assert!(
                lamchat_attestation::certificate_names(&der).is_some(),
                "kept, and cannot be shown"
            );
        }
        assert_eq!(lamchat_attestation::from_hex(&to_hex(input)).as_deref(), Some(input));
    });
}
