//! A box that no network reaches is enrolled by an auditor, wholly by stick: the certificate that its TPM does not keep,
//! both rounds, evidence, and the audit log with a witness's signature. The auditor trusts the maker's root and nothing
//! below it.

use crate::opening::good_box;
use crate::set_up::{set_up, shut_down};
use crate::stick::UsbStick;
use crate::usb::{choose, done, here, refused};
use crate::virtual_machine::{VirtualMachine, flat, uki};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const ENROLMENT: (&str, &str) = ("Enrolment by an auditor", "8");
const CERTIFICATES: (&str, &str) = ("TPM certificates from the stick", "9");
const WITNESS: (&str, &str) = ("Audit log: a witness's signature", "w");
const NONCE: &str = "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5";

/// A command on the auditor's laptop; what it says if it fails.
fn desk(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lamchat"));
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn begin(machine: &mut VirtualMachine, (label, key): (&str, &str)) {
    choose(machine, label, key);
}

/// First round: from the box's request to the challenge on the stick.
fn challenge(folder: &Path, request: &Path, stick: &UsbStick) {
    let request = request.to_str().unwrap();
    let ask = [
        "attest",
        "enrol",
        "challenge",
        request,
        "--label",
        "rack 7",
        "--trust",
        "trust.pem",
    ];
    desk(
        folder,
        &[&ask[..], &["--key", "auditor.pem", "--out", "challenge.json"]].concat(),
    )
    .unwrap();
    stick.write("challenge.json", &std::fs::read(folder.join("challenge.json")).unwrap());
}

/// Evidence and audit log of the stick, judged by the build's reference; the checkpoint, signed by a witness, on the stick.
fn audit(folder: &Path, stick: &UsbStick, reference: &Path) {
    let export = stick.take("lamchat-export-", folder);
    let path = |name: &str| export.join(name).to_str().unwrap().to_owned();
    let (evidence, log) = (path("evidence.json"), path("audit.log"));
    let verify = [
        "attest",
        "verify",
        &evidence,
        "--nonce",
        NONCE,
        "--reference",
        reference.to_str().unwrap(),
    ];
    let files = ["--trust", "trust.pem", "--enrolment", "enrolment", "--audit", &log];
    let verdict = here(folder, &[&verify[..], &files[..]].concat(), "");
    let fact = |pointer: &str| verdict.pointer(pointer).cloned().unwrap();
    assert_eq!(fact("/facts/label"), "rack 7");
    assert_eq!(fact("/facts/claims_by"), "proved-program");
    assert_eq!(fact("/facts/audit_exported"), true);
    assert_eq!(fact("/remembered"), true);

    desk(
        folder,
        &["audit", "witness-key", "witness.key", "--name", "auditor.example.org"],
    )
    .unwrap();
    here(folder, &["audit", "witness", &log, "--key", "witness.key"], "");
    stick.put(&export.join("audit.log.cosigned"));
}

#[test]
fn a_box_is_enrolled_and_witnessed_wholly_by_stick() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ((disk, board), stick) = (good_box(), UsbStick::new(true));
    board.manufacture_tpm();
    let (intermediate, root) = board.maker();
    let public = desk(folder, &["attest", "enrol", "public-key", "--key", "auditor.pem"]).unwrap();
    std::fs::write(folder.join("trust.pem"), root + &public).unwrap();
    let arguments = [vec!["-nic".to_owned(), "none".to_owned()], stick.arguments()].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut machine = VirtualMachine::start_on(&board, &disk, &arguments);
    set_up(&mut machine, "none");

    // What is no certificate is not kept; then the one that the TPM lacks.
    begin(&mut machine, CERTIFICATES);
    assert!(refused(&mut machine).contains("into a folder ek"));
    stick.write_into(
        "ek",
        "maker.pem",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    begin(&mut machine, CERTIFICATES);
    assert!(refused(&mut machine).contains("Nothing was kept"));
    stick.write_into("ek", "maker.pem", intermediate.as_bytes());
    begin(&mut machine, CERTIFICATES);
    let said = flat(&done(&mut machine));
    assert!(said.contains("shown to auditors from now on"), "{said}");

    // Both rounds.
    begin(&mut machine, ENROLMENT);
    let said = flat(&done(&mut machine));
    assert!(said.contains("request.json was written and read back right"), "{said}");
    let request = stick.take("lamchat-enrolment-request-", folder).join("request.json");
    stick.write("challenge.json", b"{}");
    begin(&mut machine, ENROLMENT);
    let why = refused(&mut machine);
    assert!(why.contains("was taken for an auditor's challenge"), "{why}");
    challenge(folder, &request, &stick);
    begin(&mut machine, ENROLMENT);
    let said = flat(&done(&mut machine));
    assert!(said.contains("The TPM opened the challenge"), "{said}");
    let answer = stick.take("lamchat-enrolment-answer-", folder).join("answer.json");
    let finish = ["attest", "enrol", "finish", "challenge.json", answer.to_str().unwrap()];
    desk(
        folder,
        &[&finish[..], &["--key", "auditor.pem", "--out", "enrolment"]].concat(),
    )
    .unwrap();

    // A start later the certificate is still there: evidence that leads to the root.
    shut_down(&mut machine);
    let mut machine = VirtualMachine::start_on(&board, &disk, &arguments);
    machine.expect("New administrator");
    stick.write("nonce.txt", NONCE.as_bytes());
    choose(&mut machine, "Evidence, audit log", "3");
    let said = done(&mut machine);
    assert!(said.contains("evidence.json") && said.contains("audit.log"), "{said}");
    begin(&mut machine, WITNESS);
    assert!(refused(&mut machine).contains("There is no file that ends in .cosigned"));
    audit(folder, &stick, &uki().with_file_name("reference.json"));
    begin(&mut machine, WITNESS);
    let said = flat(&done(&mut machine));
    assert!(said.contains("goes into later exports"), "{said}");
    stick.forget("lamchat-export-");
    choose(&mut machine, "Evidence, audit log", "3");
    done(&mut machine);
    shut_down(&mut machine);

    stick.check();
    let later = folder.join("later");
    std::fs::create_dir(&later).unwrap();
    let log = stick.take("lamchat-export-", &later).join("audit.log");
    let verdict = here(folder, &["audit", "verify", log.to_str().unwrap(), "--entries"], "");
    let entries = verdict.get("entries").and_then(Value::as_array).unwrap();
    let acts: Vec<&str> = entries.iter().filter_map(|entry| entry.get("act")?.as_str()).collect();
    for act in [
        "attestation.ek-certificates",
        "box.usb-enrolment",
        "attestation.activate",
    ] {
        assert!(acts.contains(&act), "{act}: {acts:?}");
    }
    let kept = verdict.get("consistent_with").and_then(Value::as_array).unwrap();
    assert_eq!(kept.len(), 1, "the witnessed checkpoint is in later exports: {verdict}");
}
