//! `lamchat attest`: an auditor's laptop, without server, data folder, network or TPM.

use crate::harness::{lamchat, program, text};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use lamchat_attestation::simulation::{self, Draft};
use lamchat_attestation::{Answer, AuditorKey, Challenge, Enrolment, Point, Request, Sha256, Trust, to_hex};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// What an auditor has on the laptop.
fn desk() -> (tempfile::TempDir, Draft) {
    let folder = tempfile::tempdir().unwrap();
    let draft = Draft::honest();
    let path = folder.path();
    write(path, "bundle", draft.evidence().to_bytes());
    write(
        path,
        "manifest.json",
        serde_json::to_vec_pretty(&draft.manifest).unwrap(),
    );
    let made = &draft.made;
    write(
        path,
        "trust.pem",
        simulation::trust_pem(&[&made.tpm.root], &[&made.auditor]),
    );
    write(path, "enrolment", made.enrolment.to_bytes());
    (folder, draft)
}

fn verify(folder: &Path, bundle: &str, more: &[&str]) -> (i32, String, String) {
    let nonce = to_hex(&simulation::NONCE);
    let files = [
        "--reference",
        "manifest.json",
        "--trust",
        "trust.pem",
        "--enrolment",
        "enrolment",
    ];
    let arguments = [&["attest", "verify", bundle, "--nonce", &nonce], files.as_slice(), more].concat();
    let output = lamchat(folder, &arguments, "");
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn an_honest_bundle_is_verified_and_a_forged_one_named() {
    let (folder, draft) = desk();
    let path = folder.path();
    let (code, said, error) = verify(path, "bundle", &[]);
    assert_eq!(code, 0, "{said}{error}");
    for part in [
        "VERIFIED: box 1, example.org",
        "Proved:",
        "Claimed by the program that was proved, not proved itself:",
        "Not checked:\n  - whether the TPM's counters",
        "What this cannot prove:",
        "BMC",
        "What is known of this TPM:",
        "Infineon OPTIGA TPM (a chip of its own)",
        "TPM Genie",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    let (code, said, _) = verify(path, "bundle", &["--json", "--previous", "bundle"]);
    let verdict: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &verdict["verdict"]), (0, &"verified".into()));
    assert_eq!(verdict["tpm"]["family"], "Infineon OPTIGA TPM");
    assert_eq!(verdict["tpm"]["quirks"][0]["bearing"], "possible");
    assert_eq!(verdict["facts"]["binary"], Sha256::of(b"binary").to_string());

    let mut forged = draft.evidence();
    forged.claims.binary = Sha256::ZERO;
    write(path, "forged", forged.to_bytes());
    let (code, said, _) = verify(path, "forged", &["--json"]);
    let verdict: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &verdict["reason"]), (1, &"qualifying-data".into()));
    let (code, said, _) = verify(path, "forged", &[]);
    assert!(code == 1 && said.starts_with("REJECTED (qualifying-data)"), "{said}");
    assert!(!path.join("lamchat-data").exists(), "a data folder was made");
}

#[test]
fn what_was_accepted_is_remembered_beside_the_enrolment() {
    use lamchat_attestation::Mark;
    let (folder, mut draft) = desk();
    let path = folder.path();
    let seen = || Mark::from_bytes(&std::fs::read(path.join("enrolment.seen")).unwrap()).unwrap();
    // Not after a refusal, and not when it is not wanted.
    let mut forged = draft.evidence();
    forged.claims.binary = Sha256::ZERO;
    write(path, "forged", forged.to_bytes());
    assert_eq!(verify(path, "forged", &[]).0, 1);
    assert_eq!(verify(path, "bundle", &["--no-memory"]).0, 0);
    assert!(!path.join("enrolment.seen").exists());
    let (code, said, error) = verify(path, "bundle", &["--json"]);
    let verdict: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(verdict["remembered"], true);
    assert_eq!(verdict["facts"]["since_seen"], Value::Null);
    let not_checked = verdict["facts"]["not_checked"][0].as_str().unwrap();
    assert!(not_checked.contains("no bundle of before"), "{not_checked}");
    assert_eq!(seen().resets, 12);

    // A later bundle; then the first one is old.
    draft.made.clock.reset_count += 1;
    draft.claims.audit_checkpoint = Some(simulation::checkpoint(50, 9));
    write(path, "later", draft.evidence().to_bytes());
    let (code, said, error) = verify(path, "later", &[]);
    assert_eq!((code, error.as_str()), (0, ""), "{said}");
    assert!(
        said.contains("since the bundle that was accepted last: 1 resets")
            && said.contains("its length alone was compared"),
        "{said}"
    );
    assert_eq!(seen().resets, 13);
    let (code, said, error) = verify(path, "bundle", &[]);
    assert!(
        code == 1 && said.starts_with("REJECTED (reset-count-went-back)") && error.contains("--no-memory"),
        "{said}{error}"
    );
    assert_eq!(seen().resets, 13);
    assert_eq!(verify(path, "bundle", &["--no-memory"]).0, 0);

    // After a backup was restored.
    let note = String::from_utf8(simulation::checkpoint(3, 1)).unwrap();
    draft.claims.audit_checkpoint = Some(note.replace("/audit", "/audit/2").into_bytes());
    write(path, "restored", draft.evidence().to_bytes());
    let (code, said, _) = verify(path, "restored", &[]);
    assert!(
        code == 1 && said.contains("audit-is-another") && said.contains("--accept-new-log"),
        "{said}"
    );
    assert_eq!(verify(path, "restored", &["--accept-new-log"]).0, 0);
    assert_eq!(verify(path, "restored", &[]).0, 0, "it is remembered as the log of now");

    // A memory that cannot be read is no reason to forget, and one that cannot be kept is said.
    write(path, "enrolment.seen", "nonsense");
    let (code, said, error) = verify(path, "restored", &[]);
    assert!(
        code == 2 && said.is_empty() && error.contains("what is remembered of this box"),
        "{said}{error}"
    );
    std::fs::remove_file(path.join("enrolment.seen")).unwrap();
    std::fs::create_dir(path.join("enrolment.seen.new")).unwrap();
    let (code, said, error) = verify(path, "restored", &["--json"]);
    let verdict: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &verdict["remembered"]), (0, &false.into()));
    assert!(
        error.contains("this verdict is not remembered") && error.contains("--previous"),
        "{error}"
    );
}

/// Starts it, for who wants several at once.
fn verifying(folder: &Path, bundle: &str) -> Child {
    let nonce = to_hex(&simulation::NONCE);
    Command::new(program())
        .args([
            "attest",
            "verify",
            bundle,
            "--nonce",
            &nonce,
            "--reference",
            "manifest.json",
        ])
        .args(["--trust", "trust.pem", "--enrolment", "enrolment"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn two_bundles_at_once_are_judged_one_after_the_other() {
    use lamchat_attestation::Mark;
    let (folder, mut draft) = desk();
    let path = folder.path();
    let seen = || Mark::from_bytes(&std::fs::read(path.join("enrolment.seen")).unwrap()).unwrap();
    draft.made.clock.reset_count += 1;
    draft.claims.audit_checkpoint = Some(simulation::checkpoint(50, 9));
    write(path, "later", draft.evidence().to_bytes());
    for round in 0..10 {
        let mut both = [verifying(path, "bundle"), verifying(path, "later")];
        let codes = both.each_mut().map(|one| one.wait().unwrap().code());
        assert_eq!(codes[1], Some(0), "round {round}");
        assert_eq!(seen().resets, 13, "round {round}: {codes:?}");
        std::fs::remove_file(path.join("enrolment.seen")).unwrap();
    }

    // One that waits judges by what the other one has remembered.
    assert_eq!(verify(path, "later", &[]).0, 0);
    let remembered = std::fs::read(path.join("enrolment.seen")).unwrap();
    std::fs::remove_file(path.join("enrolment.seen")).unwrap();
    let lock = std::fs::File::open(path.join("enrolment")).unwrap();
    lock.lock().unwrap();
    let mut waiting = verifying(path, "bundle");
    let mut line = String::new();
    let mut note = BufReader::new(waiting.stderr.take().unwrap());
    note.read_line(&mut line).unwrap();
    assert!(line.contains("waiting until it has ended"), "{line}");
    write(path, "enrolment.seen", remembered);
    drop(lock);
    let output = waiting.wait_with_output().unwrap();
    let said = text(&output.stdout);
    assert!(
        output.status.code() == Some(1) && said.starts_with("REJECTED (reset-count-went-back)"),
        "{said}"
    );
    assert_eq!(seen().resets, 13);
    // It may lie where nothing can be written, and need no lock.
    let lock = std::fs::File::open(path.join("enrolment")).unwrap();
    lock.lock().unwrap();
    assert_eq!(verify(path, "bundle", &["--no-memory"]).0, 0);
}

#[test]
fn an_auditors_own_intermediates_complete_a_chain() {
    let (folder, draft) = desk();
    let path = folder.path();
    let mut short = draft.evidence();
    let intermediate = short.tpm.ek_certificates.pop().unwrap();
    write(path, "short", short.to_bytes());
    write(path, "maker.pem", simulation::pem("CERTIFICATE", &intermediate));
    let (code, said, _) = verify(path, "short", &[]);
    assert!(code == 1 && said.contains("ek-chain-foreign"), "{said}");
    assert_eq!(verify(path, "short", &["--intermediates", "maker.pem"]).0, 0);
    let tpm = &draft.made.tpm;
    let request = Request {
        ek_certificates: short.tpm.ek_certificates,
        ek_public: tpm.ek_public.clone(),
        ak_public: tpm.ak_public.clone(),
    };
    write(path, "request", request.to_bytes());
    let challenge = |more: &[&str]| {
        let ask = [
            "attest",
            "enrol",
            "challenge",
            "request",
            "--label",
            "rack 7",
            "--trust",
            "trust.pem",
        ];
        let files = ["--key", "own.pem", "--out", "made"];
        lamchat(path, &[&ask[..], &files[..], more].concat(), "")
    };
    let refused = challenge(&[]);
    assert!(
        text(&refused.stderr).contains("leads to no root"),
        "{}",
        text(&refused.stderr)
    );
    assert!(!path.join("made").exists());
    let wrong = challenge(&["--intermediates", "request"]);
    assert!(
        text(&wrong.stderr).contains("request: the file has no certificate"),
        "{}",
        text(&wrong.stderr)
    );
    let made = challenge(&["--intermediates", "maker.pem"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
}

#[test]
fn unusable_files_are_wrong_usage_and_not_a_rejection() {
    let (folder, _) = desk();
    let path = folder.path();
    for name in ["manifest.json", "trust.pem", "enrolment"] {
        let good = std::fs::read(path.join(name)).unwrap();
        write(path, name, b"nonsense");
        let (code, said, error) = verify(path, "bundle", &[]);
        assert!(
            code == 2 && said.is_empty() && error.contains(name),
            "{name}: {said}{error}"
        );
        write(path, name, good);
    }
    assert_eq!(verify(path, "none", &[]).0, 2);
    assert_eq!(verify(path, "bundle", &["--previous", "none"]).0, 2);
    let short = ["attest", "verify", "bundle", "--nonce", "00"];
    assert_eq!(lamchat(path, &short, "").status.code(), Some(2));
}

#[test]
fn an_auditor_enrols_a_box_in_two_rounds() {
    let (folder, draft) = desk();
    let path = folder.path();
    let tpm = &draft.made.tpm;
    let request = Request {
        ek_certificates: tpm.ek_certificates.clone(),
        ek_public: tpm.ek_public.clone(),
        ak_public: tpm.ak_public.clone(),
    };
    write(path, "request", request.to_bytes());
    let run = |arguments: &[&str]| {
        let output = lamchat(path, &[&["attest", "enrol"], arguments].concat(), "");
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let ask = [
        "challenge",
        "request",
        "--label",
        "rack 7",
        "--trust",
        "trust.pem",
        "--key",
        "auditor.pem",
    ];
    let (done, _, error) = run(&[ask.as_slice(), &["--out", "challenge"]].concat());
    assert!(done, "{error}");
    assert!(
        !run(&[ask.as_slice(), &["--out", "challenge"]].concat()).0,
        "a challenge was overwritten"
    );
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path.join("auditor.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // No TPM opened it: the answer has a wrong secret.
    let challenge = Challenge::from_bytes(&std::fs::read(path.join("challenge")).unwrap()).unwrap();
    write(path, "answer", Answer::new(&challenge, [0; 32]).to_bytes());
    let finish = [
        "finish",
        "challenge",
        "answer",
        "--key",
        "auditor.pem",
        "--out",
        "box.enrolment",
    ];
    let (done, _, error) = run(&finish);
    assert!(!done && error.contains("wrong secret"), "{error}");

    // The public key goes into the trust file.
    let (done, public, _) = run(&["public-key", "--key", "auditor.pem"]);
    assert!(done, "{public}");
    let trust = format!("{}{public}", simulation::trust_pem(&[&tpm.root], &[]));
    assert!(Trust::from_pem(trust.as_bytes()).is_ok());

    // An auditor with a key from elsewhere, whose challenge a TPM opened.
    let auditor = Imported(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
    let key = auditor.0.to_pkcs8v1().unwrap();
    write(path, "imported.pem", simulation::pem("PRIVATE KEY", key.as_ref()));
    let roots = &draft.made.trust;
    let time = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let challenge = Challenge::new(&request, "rack 7", roots, time, &simulation::Fixed(9), &auditor).unwrap();
    write(path, "challenge 2", challenge.to_bytes());
    write(path, "answer 2", Answer::new(&challenge, [9; 32]).to_bytes());
    let finish = ["finish", "challenge 2", "answer 2", "--out", "box.enrolment", "--key"];
    let (done, _, error) = run(&[finish.as_slice(), &["auditor.pem"]].concat());
    assert!(!done && error.contains("not made with this key"), "{error}");
    let (done, said, error) = run(&[finish.as_slice(), &["imported.pem"]].concat());
    assert!(done && said.contains("`rack 7` is enrolled"), "{said}{error}");
    let enrolment = Enrolment::from_bytes(&std::fs::read(path.join("box.enrolment")).unwrap()).unwrap();
    let (done, public, _) = run(&["public-key", "--key", "imported.pem"]);
    let trust = Trust::from_pem(format!("{}{public}", simulation::trust_pem(&[&tpm.root], &[])).as_bytes());
    assert!(done && enrolment.check(&trust.unwrap()).is_ok());
}

struct Imported(EcdsaKeyPair);

impl AuditorKey for Imported {
    fn public(&self) -> Point {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let signature = self.0.sign(&SystemRandom::new(), message).unwrap();
        signature.as_ref().try_into().ok()
    }
}
