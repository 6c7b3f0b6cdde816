//! `lamchat attest`: the auditor's side (`verify`, `enrol public-key|challenge|finish`), which needs no server, no
//! network, no TPM and no data folder; and the box's (`quote`, `ek-certificates`, `enrol request|activate`), which asks the
//! running server.

mod auditor;
mod ek_certificates;
mod enrol;
mod heads;
mod memory;
mod quote;
mod verify;

use super::{Failure, Place, Server, output, socket};
use lamchat_attestation::Trust;
use lamchat_attestation::limits::FILE_BYTES_MAX;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// The exit code for files of the auditor's own that cannot be used: wrong usage, not a rejection.
const UNUSABLE: u8 = 2;

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Attest {
    /// Ask the running server for its evidence: what runs here and since when, signed by the TPM for an auditor's nonce.
    Quote(quote::Quote),
    /// Verify a box's evidence: exit code 0 verified, 1 rejected, 2 wrong usage or unusable files.
    Verify(verify::Verify),
    /// Show or replace the certificates that complete the chain of the running server's endorsement key.
    EkCertificates(ek_certificates::EkCertificates),
    /// Enrol a box: certify that its attestation key lives in its TPM.
    #[command(subcommand)]
    Enrol(enrol::Enrol),
}

/// Runs it.
pub fn run(place: &Place, command: &Attest) -> ExitCode {
    let done = |result: Result<(), Failure>| match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => {
            output::error(&reason);
            ExitCode::FAILURE
        }
    };
    match command {
        Attest::Quote(command) => done(quote::run(place, command)),
        Attest::Verify(command) => verify::run(command).unwrap_or_else(|Failure(reason)| {
            output::error(&reason);
            ExitCode::from(UNUSABLE)
        }),
        Attest::EkCertificates(command) => done(ek_certificates::run(place, command)),
        Attest::Enrol(command) => done(enrol::run(place, command)),
    }
}

/// Reads a trust file and the auditor's own intermediates.
fn read_trust(trust: &Path, intermediates: &[std::path::PathBuf]) -> Result<Trust, Failure> {
    let mut read_in = named(trust, Trust::from_pem(&read(trust)?))?;
    for path in intermediates {
        named(path, read_in.add_intermediates(&read(path)?))?;
    }
    Ok(read_in)
}

/// Takes a file out of the server's answer and keeps it, or prints it where no file is named. What is missing in it
/// goes to standard error.
fn keep(answer: &serde_json::Value, name: &str, out: Option<&Path>) -> Result<(), Failure> {
    use serde_json::Value;
    let file = answer.get(name).and_then(Value::as_str);
    let file = file.ok_or("the server answered something else than what was asked for")?;
    match out {
        Some(path) => write_new(path, file.as_bytes())?,
        // Without a line end: the file's spelling has none.
        None => output::text(file),
    }
    let missing = answer.get("missing").and_then(Value::as_array).into_iter().flatten();
    for sentence in missing.filter_map(Value::as_str) {
        output::note(format!("note: {sentence}"));
    }
    Ok(())
}

/// Reads a file, and of a large one no more than shows that it is too large.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure(format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// Names the file in an error.
fn named<T, E: std::fmt::Display>(path: &Path, result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(|error| Failure(format!("{}: {error}", path.display())))
}

/// Writes a file that must not be there yet: evidence and enrolments are never overwritten by mistake.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    named(path, written)
}

/// The time in seconds since 1970.
fn now() -> u64 {
    use lamchat_base::Clock;
    lamchat_host::SystemClock::default().now_ms() / 1000
}
