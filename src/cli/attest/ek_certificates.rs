//! `lamchat attest ek-certificates`

use super::{Failure, Place, Server, named, output, read, socket};
use serde_json::{Value, json};
use std::path::PathBuf;

const TARGET: &str = "/_lamchat/admin/v1/attestation/ek-certificates";

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct EkCertificates {
    /// PEM files with the certificates that the TPM does not keep: the intermediates, and the endorsement key's own if it
    /// has none. All together they take the place of those that were kept. Without any, what is kept is shown.
    files: Vec<PathBuf>,
    /// Keep none any more.
    #[arg(long, conflicts_with = "files")]
    remove: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub fn run(place: &Place, command: &EkCertificates) -> Result<(), Failure> {
    let answer = if command.files.is_empty() && !command.remove {
        socket::call(place, &command.server, "GET", TARGET, None)?
    } else {
        let mut pem = String::new();
        for file in &command.files {
            pem.push_str(&named(file, String::from_utf8(read(file)?))?);
            pem.push('\n');
        }
        socket::call(place, &command.server, "POST", TARGET, Some(&json!({"pem": pem})))?
    };
    if command.server.json {
        output::line(answer.to_string());
        return Ok(());
    }
    let certificates = answer.get("certificates").and_then(Value::as_array);
    let rows: Vec<Vec<String>> = certificates.into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        output::line("No certificates are kept: what the TPM itself keeps is shown to auditors");
    } else {
        output::table(&["SUBJECT", "ISSUER", "SHA-256"], &rows);
    }
    Ok(())
}

fn row(certificate: &Value) -> Vec<String> {
    let text = |key: &str| {
        certificate
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    ["subject", "issuer", "sha256"].map(text).to_vec()
}
