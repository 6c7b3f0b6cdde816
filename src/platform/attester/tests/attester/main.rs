//! A software TPM (swtpm) is attested, enrolled and verified, without a server around it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "tests: a panic is the report; the TPM's helper is shared"
)]

#[path = "../../../../protocol/attestation/tests/attestation/swtpm.rs"]
mod swtpm;

use lamchat_attestation::simulation::{self, Boot, PCRS, SoftwareAuditor};
use lamchat_attestation::{
    Answer, BoundKey, Challenge, Enrolment, Evidence, KeyUse, Manifest, PcrReference, Policy, Request, Sha256, to_hex,
    verify,
};
use lamchat_attester::{AttestError, Attester, Known, Machine, Nonce, Places, Settings, Statement};
use lamchat_host::OsEntropy;
use lamchat_tpm::{Address, PcrSelection, Tpm};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use swtpm::Swtpm;

fn open(tpm: &Swtpm) -> Tpm {
    Tpm::open(&Address::Unix(tpm.path("sock")), Arc::new(OsEntropy)).unwrap()
}

fn issuer(tpm: &Swtpm) -> Vec<u8> {
    tpm.request().ek_certificates[1].clone()
}

/// The attester of a box whose firmware measured this boot.
fn attester(tpm: &Swtpm, boot: &Boot, ek_certificates: Vec<Vec<u8>>) -> Attester {
    attester_of(tpm, boot, ek_certificates, None)
}

/// The same, whose kernel tells the name of its null key in this file, as Linux 6.10 does in sysfs.
fn attester_of(tpm: &Swtpm, boot: &Boot, ek_certificates: Vec<Vec<u8>>, null_key_name: Option<PathBuf>) -> Attester {
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(tpm.path(name), bytes).unwrap();
        Some(tpm.path(name))
    };
    let places = Places {
        event_log: write("log", &boot.log()),
        uki: write("uki", b"uki"),
        null_key_name,
        ..Places::of_machine()
    };
    let settings = Settings {
        pcrs: PCRS.to_vec(),
        ek_certificates,
    };
    Attester::new(Machine::open(&places), settings, "1.2.3")
}

fn statement() -> Statement {
    Statement {
        server_name: "example.org".into(),
        configuration: Sha256::of(b"configuration"),
        tls_files: vec![Sha256::of(b"file"), Sha256::of(b"file")],
    }
}

fn known(audit_checkpoint: Option<Vec<u8>>) -> Known {
    Known {
        keys: own(),
        audit_checkpoint,
        seal: "PCR 7 only".to_owned(),
    }
}

fn own() -> Vec<BoundKey> {
    [
        (KeyUse::Audit, "audit"),
        (KeyUse::Signing, "signing"),
        (KeyUse::Tls, "tls"),
    ]
    .map(|(usage, name)| BoundKey {
        usage,
        sha256: Sha256::of(name.as_bytes()),
    })
    .to_vec()
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn manifest() -> Manifest {
    let mut manifest = simulation::manifest();
    let program = std::fs::read("/proc/self/exe").unwrap();
    manifest.images[0].binary = Sha256::of(&program);
    manifest
}

/// Both rounds, through the files.
fn enrol(attester: &Attester, tpm: &Swtpm, auditor: &SoftwareAuditor) -> Enrolment {
    let trust = simulation::trust(&[&tpm.root()], &[auditor]);
    let request = Request::from_bytes(&attester.request(&mut open(tpm)).unwrap().file).unwrap();
    let challenge = Challenge::new(&request, "box 1", &trust, now(), &OsEntropy, auditor).unwrap();
    let answer = attester.activate(&mut open(tpm), &challenge.to_bytes()).unwrap();
    let answer = Answer::from_bytes(&answer.to_bytes()).unwrap();
    Enrolment::new(&challenge, &answer, now(), auditor).unwrap()
}

#[test]
fn evidence_is_verified_after_an_enrolment_in_two_rounds() {
    let tpm = Swtpm::new();
    let boot = Boot::honest();
    tpm.boot(&boot);
    let attester = attester(&tpm, &boot, vec![issuer(&tpm), tpm.root()]);
    let auditor = SoftwareAuditor::new();
    let enrolment = enrol(&attester, &tpm, &auditor);
    let trust = simulation::trust(&[&tpm.root()], &[&auditor]);
    let manifest = manifest();
    for round in 0..2u8 {
        let nonce = Nonce::new(&[round; 20]).unwrap();
        let checkpoint = Some(simulation::checkpoint(7, 7));
        let began = Instant::now();
        let made = attester
            .evidence(&mut open(&tpm), &nonce, known(checkpoint), &statement(), now())
            .unwrap();
        println!("evidence {round}: {:?}, {} bytes", began.elapsed(), made.file.len());
        assert!(made.missing.is_empty(), "{:?}", made.missing);
        let policy = Policy {
            nonce: nonce.bytes(),
            manifest: &manifest,
            trust: &trust,
            enrolment: &enrolment,
            previous: None,
            seen: None,
            accept_new_log: false,
            time: now(),
        };
        let verdict = verify(&made.file, &policy).unwrap();
        assert_eq!(verdict.image.as_ref(), manifest.images.first());
        let uses: Vec<&str> = verdict.keys.iter().map(|key| key.usage).collect();
        assert_eq!(uses, ["signing", "tls", "audit", "tls-file"]);
        assert!(verdict.proved.iter().all(|line| !line.contains("tls-file")));
        assert!(verdict.claimed.iter().any(|line| line.contains("tls-file")));
        let evidence = Evidence::from_bytes(&made.file).unwrap();
        assert_eq!(evidence.claims.version, "1.2.3");
        // The root stays with the verifier.
        assert_eq!(evidence.tpm.ek_certificates.len(), 2);
        let other = Policy {
            nonce: &[9; 20],
            ..policy
        };
        assert_eq!(verify(&made.file, &other).unwrap_err().reason(), "nonce-foreign");
    }
}

#[test]
fn another_tpm_opens_no_challenge_and_passes_for_no_other() {
    let (first, second) = (Swtpm::new(), Swtpm::new());
    let boot = Boot::honest();
    second.boot(&boot);
    let of = |tpm: &Swtpm| attester(tpm, &boot, vec![issuer(tpm)]);
    let auditor = SoftwareAuditor::new();
    let trust = simulation::trust(&[&first.root(), &second.root()], &[&auditor]);
    let request = of(&first).request(&mut open(&first)).unwrap().file;
    let request = Request::from_bytes(&request).unwrap();
    let challenge = Challenge::new(&request, "box 1", &trust, now(), &OsEntropy, &auditor).unwrap();
    let refused = of(&second).activate(&mut open(&second), &challenge.to_bytes());
    assert!(matches!(refused, Err(AttestError::OtherBox)), "{refused:?}");
    let refused = of(&first).activate(&mut open(&first), b"nonsense");
    assert!(matches!(refused, Err(AttestError::Challenge(_))), "{refused:?}");

    let enrolment = enrol(&of(&first), &first, &auditor);
    let nonce = Nonce::new(&[3; 16]).unwrap();
    let made = of(&second).evidence(&mut open(&second), &nonce, known(None), &statement(), now());
    let policy = Policy {
        nonce: nonce.bytes(),
        manifest: &manifest(),
        trust: &trust,
        enrolment: &enrolment,
        previous: None,
        seen: None,
        accept_new_log: false,
        time: now(),
    };
    let rejection = verify(&made.unwrap().file, &policy).unwrap_err();
    assert_eq!(rejection.reason(), "ek-not-certified", "{rejection}");
}

/// Where nothing measures and no certificate is kept, evidence says so and is for auditors who take whole values.
#[test]
fn what_is_missing_is_said() {
    let tpm = Swtpm::new();
    tpm.tool("nvundefine", &["0x1c00002", "-C", "p"]);
    let program = Sha256::of(&std::fs::read("/proc/self/exe").unwrap());
    let settings = Settings {
        pcrs: vec![4, 7],
        ek_certificates: Vec::new(),
    };
    let machine = || Machine::open(&Places::of_software_tpm());
    let bare = Attester::new(machine(), settings.clone(), "1.2.3");
    assert!(matches!(bare.request(&mut open(&tpm)), Err(AttestError::NoCertificate)));
    let nonce = Nonce::new(&[3; 16]).unwrap();
    let made = bare
        .evidence(&mut open(&tpm), &nonce, known(None), &statement(), now())
        .unwrap();
    assert!(
        made.missing.iter().any(|line| line.contains("event log")),
        "{:?}",
        made.missing
    );
    assert!(
        made.missing.iter().any(|line| line.contains("no certificate")),
        "{:?}",
        made.missing
    );

    // The certificate comes from a file instead; which key it is for, the TPM tells.
    let certificates = vec![issuer(&tpm), tpm.read("ek-rsa2048.crt")];
    let from_files = Settings {
        ek_certificates: certificates,
        ..settings
    };
    let attester = Attester::new(machine(), from_files, "1.2.3");
    let auditor = SoftwareAuditor::new();
    let enrolment = enrol(&attester, &tpm, &auditor);
    let made = attester
        .evidence(&mut open(&tpm), &nonce, known(None), &statement(), now())
        .unwrap();
    let mut manifest = Manifest {
        pcrs: vec![4, 7],
        secure_boot: false,
        images: Vec::new(),
        binaries: vec![program],
        pcr4_events: Vec::new(),
        values: [4, 7]
            .map(|pcr| PcrReference {
                pcr,
                sha256: vec![Sha256::ZERO],
            })
            .to_vec(),
        ..simulation::manifest()
    };
    let trust = simulation::trust(&[&tpm.root()], &[&auditor]);
    let judge = |manifest: &Manifest| {
        let policy = Policy {
            nonce: nonce.bytes(),
            manifest,
            trust: &trust,
            enrolment: &enrolment,
            previous: None,
            seen: None,
            accept_new_log: false,
            time: now(),
        };
        verify(&made.file, &policy)
    };
    let verdict = judge(&manifest).unwrap();
    assert!(
        verdict.proved.iter().any(|line| line.contains("no event log")),
        "{:?}",
        verdict.proved
    );
    manifest.values[0].sha256 = vec![Sha256::of(b"other")];
    assert_eq!(judge(&manifest).unwrap_err().reason(), "pcr-value-unknown");
    manifest.values.remove(0);
    assert_eq!(judge(&manifest).unwrap_err().reason(), "log-absent");
    manifest.secure_boot = true;
    assert_eq!(judge(&manifest).unwrap_err().reason(), "log-absent");
}

/// The TPM signs nothing but the digest of all claims: a caller's nonce is never its qualifying data.
#[test]
fn a_nonce_is_never_quoted_as_it_is() {
    let tpm = Swtpm::new();
    let attester = attester(&tpm, &Boot::honest(), vec![issuer(&tpm)]);
    let nonce = Nonce::new(&[0xC3; 32]).unwrap();
    let made = attester
        .evidence(&mut open(&tpm), &nonce, known(None), &statement(), now())
        .unwrap();
    let evidence = Evidence::from_bytes(&made.file).unwrap();
    assert!(!evidence.tpm.quote.windows(16).any(|window| window == [0xC3; 16]));
    let expected = evidence.claims.qualifying_data(nonce.bytes());
    assert!(evidence.tpm.quote.windows(32).any(|window| window == expected.0));
    // Nor is a name that the format cannot spell.
    let unspeakable = Statement {
        server_name: "exa\"mple".into(),
        ..statement()
    };
    let refused = attester.evidence(&mut open(&tpm), &nonce, known(None), &unspeakable, now());
    assert_eq!(refused.unwrap_err().to_string(), AttestError::Unspelled.to_string());
    let selection = PcrSelection::new(&PCRS).unwrap();
    assert_eq!(evidence.tpm.pcrs.len(), selection.iter().count());
}

/// The TPM's own null key, by the name that the kernel would have found: it is in the evidence, it is claimed, and the
/// next start has another.
#[test]
fn the_null_key_of_a_start_is_named_and_claimed() {
    let mut tpm = Swtpm::new();
    let boot = Boot::honest();
    let auditor = SoftwareAuditor::new();
    let certificates = vec![issuer(&tpm), tpm.root()];
    tpm.boot(&boot);
    let enrolment = enrol(&attester(&tpm, &boot, certificates.clone()), &tpm, &auditor);
    let trust = simulation::trust(&[&tpm.root()], &[&auditor]);
    let manifest = manifest();
    let named = |tpm: &Swtpm| {
        tpm.tool("createprimary", &["-C", "n", "-G", "ecc", "-c", "null.ctx"]);
        tpm.tool("readpublic", &["-c", "null.ctx", "-n", "null.name"]);
        let name = to_hex(&tpm.read("null.name"));
        std::fs::write(tpm.path("null_name"), format!("{name}\n")).unwrap();
        let attester = attester_of(tpm, &boot, certificates.clone(), Some(tpm.path("null_name")));
        let nonce = Nonce::new(&[4; 20]).unwrap();
        let made = attester
            .evidence(&mut open(tpm), &nonce, known(None), &statement(), now())
            .unwrap();
        let policy = Policy {
            nonce: nonce.bytes(),
            manifest: &manifest,
            trust: &trust,
            enrolment: &enrolment,
            previous: None,
            seen: None,
            accept_new_log: false,
            time: now(),
        };
        let verdict = verify(&made.file, &policy).unwrap();
        let sentence = format!("the kernel's key in the null hierarchy is {name}");
        assert!(verdict.claimed.contains(&sentence), "{:?}", verdict.claimed);
        assert!(!verdict.proved.iter().any(|line| line.contains(&name)));
        name
    };
    let first = named(&tpm);
    assert_eq!(named(&tpm), first, "within one start it stays");
    tpm.reset();
    tpm.boot(&boot);
    assert_ne!(named(&tpm), first);
}
