//! `lamchat attest quote`

use super::{Failure, Place, Server, keep, output, socket};
use std::path::PathBuf;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Quote {
    /// The auditor's nonce: 32 to 64 lower-case hexadecimal digits. The evidence answers it and no other.
    #[arg(long, value_name = "HEX")]
    nonce: String,
    /// Where the evidence goes; it must not be there yet. Without it, it is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub fn run(place: &Place, command: &Quote) -> Result<(), Failure> {
    let target = format!(
        "/_lamchat/admin/v1/attestation?nonce={}",
        socket::escape(&command.nonce)
    );
    let answer = socket::call(place, &command.server, "GET", &target, None)?;
    if command.server.json {
        output::line(answer.to_string());
        return Ok(());
    }
    keep(&answer, "evidence", command.out.as_deref())
}
