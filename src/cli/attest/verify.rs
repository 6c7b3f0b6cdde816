//! `lamchat attest verify`

use super::memory::Memory;
use super::{Failure, heads, named, now, output, read, read_trust};
use lamchat_attestation::{ClaimsBy, Enrolment, Evidence, Manifest, Mark, Policy, Verdict, from_hex, verify};
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
    /// PEM: intermediates of the TPM's maker that the box does not have. They are not trusted, but lead to a root that is.
    /// May be given several times.
    #[arg(long, value_name = "FILE")]
    intermediates: Vec<PathBuf>,
    /// An earlier bundle of this box: no counter may have gone back since. What was accepted last is remembered beside the
    /// enrolment, in ENROLMENT.seen, and compared in any case.
    #[arg(long, value_name = "BUNDLE")]
    previous: Option<PathBuf>,
    /// An export of the audit log, made after the bundle: shows that the log goes on from the bundles of before. Without
    /// it only the log's length is compared.
    #[arg(long, value_name = "EXPORT")]
    audit: Option<PathBuf>,
    /// The audit log may be another one than before, because a backup was restored. Counters and clock are compared all
    /// the same.
    #[arg(long)]
    accept_new_log: bool,
    /// Neither compare with ENROLMENT.seen nor write it: for an old bundle, or a folder that cannot be written.
    #[arg(long)]
    no_memory: bool,
    /// Print JSON, for scripts.
    #[arg(long)]
    json: bool,
}

/// Why a bundle is refused.
struct Refusal {
    reason: &'static str,
    message: String,
}

/// Runs it. An error means that the auditor's own files cannot be used.
pub fn run(command: &Verify) -> Result<ExitCode, Failure> {
    let memory = if command.no_memory {
        None
    } else {
        Some(Memory::open(&command.enrolment)?)
    };
    let outcome = judge(command, memory.as_ref().and_then(|memory| memory.seen.as_ref()))?;
    let kept = match (&outcome, &memory) {
        (Ok(verdict), Some(memory)) => Some(memory.keep(&verdict.mark)),
        _ => None,
    };
    if command.json {
        output::line(as_json(&outcome, matches!(kept, Some(Ok(())))).to_string());
    } else {
        print(&outcome);
    }
    if let Some(Err(Failure(why))) = kept {
        output::note(format!(
            "note: this verdict is not remembered, so the next bundle is not compared with this one: {why}. Keep the \
             enrolment in a folder that can be written, or name this bundle with --previous then"
        ));
    }
    let Err(refusal) = &outcome else {
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(memory) = memory.filter(|memory| memory.seen.is_some() && refusal.reason.ends_with("went-back")) {
        output::note(format!(
            "note: {} remembers a bundle that was accepted before. An old bundle is judged by itself with --no-memory",
            memory.name()
        ));
    }
    Ok(ExitCode::FAILURE)
}

/// The verdict on the bundle, then on the export of the audit log where one is given.
fn judge(command: &Verify, seen: Option<&Mark>) -> Result<Result<Verdict, Refusal>, Failure> {
    let limits = lamchat_attestation::limits::NONCE_BYTES_MIN..=lamchat_attestation::limits::NONCE_BYTES_MAX;
    let nonce = from_hex(&command.nonce.to_ascii_lowercase()).filter(|nonce| limits.contains(&nonce.len()));
    let nonce = nonce.ok_or("a nonce has 32 to 64 hexadecimal digits, two for each byte")?;
    let manifest = named(&command.reference, Manifest::from_bytes(&read(&command.reference)?))?;
    let trust = read_trust(&command.trust, &command.intermediates)?;
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
        seen,
        accept_new_log: command.accept_new_log,
        time: now(),
    };
    let mut verdict = match verify(&bundle, &policy) {
        Ok(verdict) => verdict,
        Err(rejection) => return Ok(Err(Refusal::of(rejection.reason(), &rejection))),
    };
    if let Some(export) = &command.audit {
        let previous = previous
            .as_ref()
            .and_then(|bundle| bundle.claims.audit_checkpoint.as_deref());
        let before: Vec<&[u8]> = previous
            .into_iter()
            .chain(seen.into_iter().flat_map(Mark::heads))
            .collect();
        match heads::check(export, &verdict, &before)? {
            Ok(()) => verdict.audit_is_consistent(),
            Err(other) => return Ok(Err(Refusal::of(other.reason(), &other))),
        }
    }
    Ok(Ok(verdict))
}

impl Refusal {
    fn of(reason: &'static str, message: &dyn std::fmt::Display) -> Self {
        let message = message.to_string();
        Self { reason, message }
    }
}

fn as_json(outcome: &Result<Verdict, Refusal>, remembered: bool) -> Value {
    match outcome {
        Ok(verdict) => json!({
            "verdict": "verified",
            "facts": verdict,
            "remembered": remembered,
            "tpm": known(verdict),
        }),
        Err(refusal) => json!({
            "verdict": "rejected",
            "reason": refusal.reason,
            "message": refusal.message,
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

fn print(outcome: &Result<Verdict, Refusal>) {
    let section = |head: &str, lines: &mut dyn Iterator<Item = &str>| {
        for (at, line) in lines.enumerate() {
            if at == 0 {
                output::line(format!("\n{head}:"));
            }
            output::line(format!("  - {line}"));
        }
    };
    match outcome {
        Ok(verdict) => {
            output::line(format!("VERIFIED: {}, {}", verdict.label, verdict.server_name));
            section("Proved", &mut verdict.proved.iter().map(String::as_str));
            let by = match verdict.claims_by {
                ClaimsBy::ProvedProgram => "Claimed by the program that was proved, not proved itself",
                ClaimsBy::UnprovedProgram => "Claimed by the box, not proved",
            };
            section(by, &mut verdict.claimed.iter().map(String::as_str));
            section("Not checked", &mut verdict.not_checked.iter().map(String::as_str));
            section("What this cannot prove", &mut verdict.not_provable.iter().copied());
            let sentences = make(verdict).map_or_else(Vec::new, |make| TpmReport::of(&make).sentences);
            section("What is known of this TPM", &mut sentences.iter().map(String::as_str));
        }
        Err(refusal) => {
            output::line(format!("REJECTED ({}): {}", refusal.reason, refusal.message));
            output::line("Nothing that this bundle says is proved.");
        }
    }
}
