//! Enrolment against a real TPM: it opens what the auditor wrapped, and only it does.

use crate::swtpm::Swtpm;
use lamchat_attestation::simulation::{self, Fixed, SoftwareAuditor};
use lamchat_attestation::{
    Answer, ChainError, Challenge, Credential, EndorsementKey, EnrolError, Enrolment, EnrolmentError, KeyError,
    Request, make_credential, name,
};

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// The file of tpm2_activatecredential: a magic, a version, two TPM2B.
fn tools_file(blob: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut file = vec![0xBA, 0xDC, 0xC0, 0xDE, 0, 0, 0, 1];
    for part in [blob, secret] {
        file.extend((part.len() as u16).to_be_bytes());
        file.extend(part);
    }
    file
}

fn activate(tpm: &Swtpm, endorsement: &str, blob: &[u8], secret: &[u8]) -> Vec<u8> {
    std::fs::write(tpm.path("credential"), tools_file(blob, secret)).unwrap();
    tpm.tool("startauthsession", &["--policy-session", "-S", "session.ctx"]);
    tpm.tool("policysecret", &["-S", "session.ctx", "-c", "e"]);
    let keys = ["-c", "ak.ctx", "-C", endorsement, "-i", "credential", "-o", "secret"];
    tpm.tool(
        "activatecredential",
        &[keys.as_slice(), &["-P", "session:session.ctx"]].concat(),
    );
    tpm.tool("flushcontext", &["session.ctx"]);
    tpm.read("secret")
}

/// Enrols a real TPM in two rounds, each file through its bytes.
pub fn enrol(tpm: &Swtpm, auditor: &SoftwareAuditor) -> Enrolment {
    let trust = simulation::trust(&[&tpm.root()], &[auditor]);
    let request = Request::from_bytes(&tpm.request().to_bytes()).unwrap();
    let challenge = Challenge::new(&request, "box 1", &trust, now(), &Fixed(7), auditor).unwrap();
    let challenge = Challenge::from_bytes(&challenge.to_bytes()).unwrap();
    let secret = activate(tpm, "ek.ctx", &challenge.credential_blob, &challenge.encrypted_secret);
    let answer = Answer::new(&challenge, secret.try_into().unwrap());
    let answer = Answer::from_bytes(&answer.to_bytes()).unwrap();
    let enrolment = Enrolment::new(&challenge, &answer, now(), auditor).unwrap();
    let enrolment = Enrolment::from_bytes(&enrolment.to_bytes()).unwrap();
    enrolment.check(&trust).unwrap();
    enrolment
}

#[test]
fn a_real_tpm_opens_credentials_for_both_kinds_of_endorsement_key() {
    let tpm = Swtpm::new();
    let object = name(&tpm.public("ak.pub"));
    for (context, public) in [("ek.ctx", "ek.pub"), ("ecc.ctx", "ecc.pub")] {
        let key = EndorsementKey::parse(&tpm.public(public)).unwrap();
        for byte in [0x11, 0x7F] {
            let secret = [byte ^ 0x80; 32];
            let Credential { blob, encrypted_secret } = make_credential(&key, &object, &secret, &Fixed(byte)).unwrap();
            assert_eq!(activate(&tpm, context, &blob, &encrypted_secret), secret, "{public}");
        }
    }
}

#[test]
fn a_real_tpm_refuses_what_was_changed_or_is_for_another_key() {
    let tpm = Swtpm::new();
    let key = EndorsementKey::parse(&tpm.public("ek.pub")).unwrap();
    let own = name(&tpm.public("ak.pub"));
    let refused = |blob: &[u8], secret: &[u8]| {
        std::fs::write(tpm.path("credential"), tools_file(blob, secret)).unwrap();
        tpm.tool("startauthsession", &["--policy-session", "-S", "session.ctx"]);
        tpm.tool("policysecret", &["-S", "session.ctx", "-c", "e"]);
        let keys = ["-c", "ak.ctx", "-C", "ek.ctx", "-i", "credential", "-o", "secret"];
        let session = ["-P", "session:session.ctx"];
        let output = tpm
            .command("activatecredential", &[keys.as_slice(), &session].concat())
            .output();
        tpm.tool("flushcontext", &["session.ctx"]);
        !output.unwrap().status.success()
    };
    let mut other = own.clone();
    other[5] ^= 1;
    let foreign = make_credential(&key, &other, &[1; 32], &Fixed(3)).unwrap();
    assert!(refused(&foreign.blob, &foreign.encrypted_secret), "for another object");
    let good = make_credential(&key, &own, &[1; 32], &Fixed(3)).unwrap();
    assert!(!refused(&good.blob, &good.encrypted_secret), "the honest one");
    let mut changed = good.blob.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(refused(&changed, &good.encrypted_secret), "changed");
}

#[test]
fn wrong_steps_of_an_enrolment_are_refused() {
    let made = simulation::SoftwareBox::honest();
    let (tpm, auditor, trust) = (&made.tpm, &made.auditor, &made.trust);
    let time = simulation::TIME;
    let request = Request {
        ek_certificates: tpm.ek_certificates.clone(),
        ek_public: tpm.ek_public.clone(),
        ak_public: tpm.ak_public.clone(),
    };
    let challenge = |request: &Request, label: &str| Challenge::new(request, label, trust, time, &Fixed(9), auditor);
    let good = challenge(&request, "box").unwrap();
    let answer = Answer::new(&good, [9; 32]);
    let finish = |challenge: &Challenge, answer: &Answer, time| Enrolment::new(challenge, answer, time, auditor);
    assert!(finish(&good, &answer, time + 86_400).is_ok());
    assert_eq!(
        finish(&good, &Answer::new(&good, [8; 32]), time),
        Err(EnrolError::WrongSecret)
    );
    assert_eq!(finish(&good, &answer, time - 1), Err(EnrolError::StaleChallenge));
    assert_eq!(
        finish(&good, &answer, time + 31 * 86_400),
        Err(EnrolError::StaleChallenge)
    );
    let second = challenge(&request, "other box").unwrap();
    assert_eq!(finish(&second, &answer, time), Err(EnrolError::OtherChallenge));
    let stranger = SoftwareAuditor::new();
    assert_eq!(
        Enrolment::new(&good, &answer, time, &stranger),
        Err(EnrolError::ForeignChallenge)
    );
    let mut changed = good.clone();
    changed
        .ak_public
        .clone_from(&simulation::SoftwareBox::honest().tpm.ak_public);
    assert_eq!(
        finish(&changed, &Answer::new(&changed, [9; 32]), time),
        Err(EnrolError::ForeignChallenge)
    );
    for label in ["", "a\"b", "a\nb", "é", &"x".repeat(256)] {
        assert_eq!(challenge(&request, label).err(), Some(EnrolError::Label));
    }
    let other = simulation::SoftwareBox::honest();
    let mut foreign = request.clone();
    foreign.ek_certificates.clone_from(&other.tpm.ek_certificates);
    assert_eq!(
        challenge(&foreign, "x").err(),
        Some(EnrolError::Chain(ChainError::Foreign))
    );
    let mut swapped = request.clone();
    swapped.ek_public.clone_from(&other.tpm.ek_public);
    assert_eq!(
        challenge(&swapped, "x").err(),
        Some(EnrolError::Chain(ChainError::OtherKey))
    );
    let form = simulation::CertificateForm {
        ak_attributes: 0x0004_0072,
        ..Default::default()
    };
    let mut unrestricted = request.clone();
    unrestricted.ak_public = simulation::SoftwareTpm::new(&form).ak_public;
    assert_eq!(
        challenge(&unrestricted, "x").err(),
        Some(EnrolError::AttestationKey(KeyError::NotRestricted))
    );
    let mut not_endorsement = request.clone();
    not_endorsement.ek_public.clone_from(&request.ak_public);
    assert_eq!(
        challenge(&not_endorsement, "x").err(),
        Some(EnrolError::EndorsementKey(KeyError::NotEndorsement))
    );
    let lone = simulation::trust(&[&tpm.root], &[&stranger]);
    assert_eq!(made.enrolment.check(&lone), Err(EnrolmentError::UnknownAuditor));
}

#[test]
fn intermediates_of_the_auditors_own_complete_a_chain_and_are_no_roots() {
    let made = simulation::SoftwareBox::honest();
    let (tpm, auditor) = (&made.tpm, &made.auditor);
    let request = Request {
        ek_certificates: tpm.ek_certificates[..1].to_vec(),
        ek_public: tpm.ek_public.clone(),
        ak_public: tpm.ak_public.clone(),
    };
    let challenge = |trust| Challenge::new(&request, "box", trust, simulation::TIME, &Fixed(9), auditor);
    let foreign = Some(EnrolError::Chain(ChainError::Foreign));
    let roots = simulation::trust(&[&tpm.root], &[auditor]);
    assert_eq!(challenge(&roots).err(), foreign);
    let intermediate = simulation::pem("CERTIFICATE", &tpm.ek_certificates[1]);
    let mut completed = roots.clone();
    completed.add_intermediates(intermediate.as_bytes()).unwrap();
    assert!(challenge(&completed).is_ok());

    // The right way up to a root that nobody trusts.
    let mut stranger = simulation::trust(&[&simulation::SoftwareBox::honest().tpm.root], &[auditor]);
    let whole = intermediate.clone() + &simulation::pem("CERTIFICATE", &tpm.root);
    stranger.add_intermediates(whole.as_bytes()).unwrap();
    assert_eq!(challenge(&stranger).err(), foreign);

    let mut refused = roots.clone();
    for (wrong, why) in [
        (String::new(), "no certificate in PEM form"),
        (simulation::pem("PUBLIC KEY", &[1; 91]), "not a CERTIFICATE"),
        (simulation::pem("CERTIFICATE", b"none"), "certificate 1 of the file"),
        (intermediate.repeat(65), "too many entries"),
    ] {
        let error = refused.add_intermediates(wrong.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
