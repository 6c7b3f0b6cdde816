//! `lamchat attest verify|enrol`: the auditor's side. Needs no server, no network, no TPM and no data folder.

mod auditor;
mod enrol;
mod verify;

use super::{Failure, output};
use lamchat_attestation::limits::FILE_BYTES_MAX;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// The exit code for files of the auditor's own that cannot be used: wrong usage, not a rejection.
const UNUSABLE: u8 = 2;

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Attest {
    /// Verify a box's evidence: exit code 0 verified, 1 rejected, 2 wrong usage or unusable files.
    Verify(verify::Verify),
    /// Enrol a box: certify that its attestation key lives in its TPM.
    #[command(subcommand)]
    Enrol(enrol::Enrol),
}

/// Runs it.
pub fn run(command: &Attest) -> ExitCode {
    match command {
        Attest::Verify(command) => verify::run(command).unwrap_or_else(|Failure(reason)| {
            output::error(&reason);
            ExitCode::from(UNUSABLE)
        }),
        Attest::Enrol(command) => match enrol::run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure(reason)) => {
                output::error(&reason);
                ExitCode::FAILURE
            }
        },
    }
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
