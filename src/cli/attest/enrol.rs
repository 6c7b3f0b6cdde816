//! `lamchat attest enrol public-key|challenge|finish`: the auditor's side of an enrolment.

use super::auditor::Auditor;
use super::{Failure, named, now, output, read, write_new};
use lamchat_attestation::{Answer, Challenge, Enrolment, Request, Sha256, Trust};
use lamchat_host::OsEntropy;
use std::path::PathBuf;

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Enrol {
    /// Print the auditor's public key, for the trust file of `lamchat attest verify`.
    PublicKey {
        /// The auditor's private key (PKCS#8 PEM, ECDSA on P-256); made if it is not there.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// First round: verify a box's request and write a challenge that only its TPM can open.
    Challenge {
        /// The box's request.
        request: PathBuf,
        /// Your name for the box.
        #[arg(long)]
        label: String,
        /// PEM: root certificates of TPM makers.
        #[arg(long, value_name = "ROOTS")]
        trust: PathBuf,
        /// The auditor's private key (PKCS#8 PEM, ECDSA on P-256); made if it is not there.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the challenge goes; it must not be there yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Second round: compare the box's answer with the challenge and write the signed enrolment.
    Finish {
        /// The challenge.
        challenge: PathBuf,
        /// The box's answer.
        answer: PathBuf,
        /// The auditor's private key that made the challenge.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the enrolment goes; it must not be there yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Runs it.
pub fn run(command: &Enrol) -> Result<(), Failure> {
    match command {
        Enrol::PublicKey { key } => output::text(&Auditor::open(key)?.public_pem()),
        Enrol::Challenge {
            request,
            label,
            trust,
            key,
            out,
        } => {
            let trust = named(trust, Trust::from_pem(&read(trust)?))?;
            let asked = named(request, Request::from_bytes(&read(request)?))?;
            let key = Auditor::open(key)?;
            let made = Challenge::new(&asked, label, &trust, now(), &OsEntropy, &key);
            let challenge = named(request, made)?;
            write_new(out, &challenge.to_bytes())?;
            output::line(format!(
                "{}: for the TPM with the endorsement key {} and the attestation key {}. Carry it to the box.",
                out.display(),
                Sha256::of(&asked.ek_public),
                Sha256::of(&asked.ak_public)
            ));
        }
        Enrol::Finish {
            challenge,
            answer,
            key,
            out,
        } => {
            if !key.exists() {
                return Err(Failure(format!("{}: there is no such key", key.display())));
            }
            let asked = named(challenge, Challenge::from_bytes(&read(challenge)?))?;
            let given = named(answer, Answer::from_bytes(&read(answer)?))?;
            let enrolment = named(answer, Enrolment::new(&asked, &given, now(), &Auditor::open(key)?))?;
            write_new(out, &enrolment.to_bytes())?;
            output::line(format!("{}: `{}` is enrolled", out.display(), enrolment.label));
        }
    }
    Ok(())
}
