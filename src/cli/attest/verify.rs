//! `lamchat attest verify`

use super::{Failure, named, now, output, read};
use lamchat_attestation::{Enrolment, Evidence, Manifest, Policy, Rejection, Trust, Verdict, from_hex, verify};
use lamchat_hardware::{TpmMake, TpmReport, Version};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Verify a box's evidence. Exit code 0: verified; 1: rejected, the reason is printed; 2: wrong usage or unusable files.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The evidence bundle.
    bundle: PathBuf,
    /// The nonce that was given to the box: 32 to 64 hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    nonce: String,
    /// The reference manifest: what may be running.
    #[arg(long, value_name = "MANIFEST")]
    reference: PathBuf,
    /// PEM: root certificates of TPM makers, public keys of auditors.
    #[arg(long, value_name = "ROOTS")]
    trust: PathBuf,
    /// The box's enrolment.
    #[arg(long, value_name = "FILE")]
    enrolment: PathBuf,
    /// The last bundle of this box that was verified: no counter may have gone back since.
    #[arg(long, value_name = "BUNDLE")]
    previous: Option<PathBuf>,
    /// Print JSON, for scripts.
    #[arg(long)]
    json: bool,
}

/// Runs it. An error means that the auditor's own files cannot be used.
pub fn run(command: &Verify) -> Result<ExitCode, Failure> {
    let limits = lamchat_attestation::limits::NONCE_BYTES_MIN..=lamchat_attestation::limits::NONCE_BYTES_MAX;
    let nonce = from_hex(&command.nonce.to_ascii_lowercase()).filter(|nonce| limits.contains(&nonce.len()));
    let nonce = nonce.ok_or("a nonce has 32 to 64 hexadecimal digits, two for each byte")?;
    let manifest = named(&command.reference, Manifest::from_bytes(&read(&command.reference)?))?;
    let trust = named(&command.trust, Trust::from_pem(&read(&command.trust)?))?;
    let enrolment = named(&command.enrolment, Enrolment::from_bytes(&read(&command.enrolment)?))?;
    let previous = match &command.previous {
        Some(path) => Some(named(path, Evidence::from_bytes(&read(path)?))?),
        None => None,
    };
    let bundle = read(&command.bundle)?;
    let policy = Policy {
        nonce: &nonce,
        manifest: &manifest,
        trust: &trust,
        enrolment: &enrolment,
        previous: previous.as_ref(),
        time: now(),
    };
    let outcome = verify(&bundle, &policy);
    if command.json {
        output::line(as_json(&outcome).to_string());
    } else {
        print(&outcome);
    }
    Ok(if outcome.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn as_json(outcome: &Result<Verdict, Rejection>) -> Value {
    match outcome {
        Ok(verdict) => json!({"verdict": "verified", "facts": verdict, "tpm": known(verdict)}),
        Err(rejection) => json!({
            "verdict": "rejected",
            "reason": rejection.reason(),
            "message": rejection.to_string(),
        }),
    }
}

/// The TPM that the certificate names, with the firmware that the quote tells.
fn make(verdict: &Verdict) -> Option<TpmMake> {
    verdict.tpm.as_ref().map(|certified| TpmMake {
        manufacturer: certified.letters(),
        model: certified.model.clone(),
        firmware: Version(verdict.tpm_firmware),
    })
}

fn known(verdict: &Verdict) -> Value {
    make(verdict).map_or(Value::Null, |make| json!(TpmReport::of(&make)))
}

fn print(outcome: &Result<Verdict, Rejection>) {
    let section = |head: &str, lines: &mut dyn Iterator<Item = &str>| {
        output::line(format!("\n{head}:"));
        for line in lines {
            output::line(format!("  - {line}"));
        }
    };
    match outcome {
        Ok(verdict) => {
            output::line(format!("VERIFIED: {}, {}", verdict.label, verdict.server_name));
            section("Proved", &mut verdict.proved.iter().map(String::as_str));
            section(
                "Claimed by the box, not proved",
                &mut verdict.claimed.iter().map(String::as_str),
            );
            section("What this cannot prove", &mut verdict.not_provable.iter().copied());
            let sentences = make(verdict).map_or_else(Vec::new, |make| TpmReport::of(&make).sentences);
            section("What is known of this TPM", &mut sentences.iter().map(String::as_str));
        }
        Err(rejection) => {
            output::line(format!("REJECTED ({}): {rejection}", rejection.reason()));
            output::line("Nothing that this bundle says is proved.");
        }
    }
}
