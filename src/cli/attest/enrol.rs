//! `lamchat attest enrol`: the auditor's side of an enrolment (`public-key`, `challenge`, `finish`), and the box's
//! (`request`, `activate`).

use super::auditor::Auditor;
use super::{Failure, Place, Server, keep, named, now, output, read, read_trust, socket, write_new};
use lamchat_attestation::{Answer, Challenge, Enrolment, Request, Sha256};
use lamchat_host::OsEntropy;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where the server answers enrolments.
const ENROLMENT: &str = "/_lamchat/admin/v1/attestation/enrolment";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Enrol {
    /// Print the auditor's public key, for the trust file of `lamchat attest verify`.
    PublicKey {
        /// The auditor's private key (PKCS#8 PEM, ECDSA on P-256); made if it is not there.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// On the box, before the first round: write what the running server's TPM is, for the auditor.
    Request {
        /// Where the request goes; it must not be there yet. Without it, it is printed.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
    /// On the box, between the rounds: let the running server's TPM open the auditor's challenge.
    Activate {
        /// The auditor's challenge.
        challenge: PathBuf,
        /// Where the answer goes; it must not be there yet. Without it, it is printed.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
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
        /// PEM: intermediates of the TPM's maker that the box does not have. They are not trusted, but lead to a root that
        /// is. May be given several times.
        #[arg(long, value_name = "FILE")]
        intermediates: Vec<PathBuf>,
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
pub fn run(place: &Place, command: &Enrol) -> Result<(), Failure> {
    match command {
        Enrol::Request { out, server } => {
            let answer = socket::call(place, server, "GET", ENROLMENT, None)?;
            hand_over(server, &answer, "request", out.as_deref())?;
        }
        Enrol::Activate { challenge, out, server } => {
            let text = named(challenge, String::from_utf8(read(challenge)?))?;
            let answer = socket::call(place, server, "POST", ENROLMENT, Some(&json!({"challenge": text})))?;
            hand_over(server, &answer, "answer", out.as_deref())?;
        }
        Enrol::PublicKey { key } => output::text(&Auditor::open(key)?.public_pem()),
        Enrol::Challenge {
            request,
            label,
            trust,
            intermediates,
            key,
            out,
        } => {
            let trust = read_trust(trust, intermediates)?;
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

/// The server's answer for people or for programs.
fn hand_over(server: &Server, answer: &Value, name: &str, out: Option<&Path>) -> Result<(), Failure> {
    if server.json {
        output::line(answer.to_string());
        return Ok(());
    }
    keep(answer, name, out)
}
