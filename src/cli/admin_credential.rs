//! `lamchat admin-credential create|list|revoke`

use super::{Failure, Place, Server, output, socket, token};
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const CREDENTIALS: &str = "/_lamchat/admin/v1/credentials";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum AdminCredential {
    /// On the server's own machine: make a credential, which is shown once. With it, commands work from a distance.
    Create {
        /// Its name, such as alice-laptop: the audit log knows whoever uses it by that.
        name: String,
        /// How long it is valid, such as 36h or 90d, at most 366d; without it 90 days.
        #[arg(long, value_name = "TIME", value_parser = token::parse_time_ms)]
        valid_for: Option<u64>,
        /// The file that it goes to, with the server's fingerprint, for `--credential`; it must not be there yet.
        /// Without it, it is printed.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
    /// List all credentials, and the addresses and fingerprints at which they are taken.
    List {
        #[command(flatten)]
        server: Server,
    },
    /// Make a credential invalid.
    Revoke {
        /// Its name.
        name: String,
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: AdminCredential) -> Result<(), Failure> {
    match command {
        AdminCredential::Create {
            name,
            valid_for,
            out,
            server,
        } => {
            let body = json!({"name": name, "valid_for_ms": valid_for});
            let answer = socket::call(place, &server, "POST", CREDENTIALS, Some(&body))?;
            let file = Zeroizing::new(file(&answer));
            match out {
                Some(path) => {
                    write(&path, &file)?;
                    output::line(if server.json {
                        json!({"file": path.display().to_string()}).to_string()
                    } else {
                        format!("{}: carry it to where you administer from", path.display())
                    });
                }
                None if server.json => output::line(answer.to_string()),
                None => output::text(&file),
            }
        }
        AdminCredential::List { server } => list(&server, &socket::call(place, &server, "GET", CREDENTIALS, None)?),
        AdminCredential::Revoke { name, server } => {
            let target = format!("{CREDENTIALS}/{}", socket::escape(&name));
            let answer = socket::call(place, &server, "DELETE", &target, None)?;
            output::line(if server.json {
                answer.to_string()
            } else {
                format!("{name} is no longer valid")
            });
        }
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn servers(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.get("servers").and_then(Value::as_array).into_iter().flatten()
}

/// What `--credential` reads: the secret, the fingerprints, and remarks.
pub fn file(answer: &Value) -> String {
    let expires_ms = answer.get("expires_ms").and_then(Value::as_u64).unwrap_or_default();
    let mut file = format!(
        "# LamChat, credential of {}, valid until {} (UTC). Keep it like a password.\n{}\n",
        text(answer, "name"),
        output::time(expires_ms),
        text(answer, "credential"),
    );
    let mut pins: Vec<&str> = Vec::new();
    for server in servers(answer) {
        file.push_str(&format!("{}\n", text(server, "url")));
        let pin = text(server, "pin");
        if !pins.contains(&pin) {
            pins.push(pin);
        }
    }
    if pins.is_empty() {
        file.push_str("# No listener of this server takes it: give one TLS and the resource \"admin\".\n");
    }
    for pin in pins {
        file.push_str(pin);
        file.push('\n');
    }
    file
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        Failure(format!(
            "{}: {error}; the credential is lost: revoke it",
            path.display()
        ))
    })
}

fn list(server: &Server, answer: &Value) {
    if server.json {
        output::line(answer.to_string());
        return;
    }
    let known = answer.get("credentials").and_then(Value::as_array);
    let row = |known: &Value| {
        let time = |key: &str| known.get(key).and_then(Value::as_u64);
        let is_valid = known.get("valid").and_then(Value::as_bool).unwrap_or_default();
        let expires = output::time(time("expires_ms").unwrap_or_default());
        vec![
            text(known, "name").to_owned(),
            output::time(time("created_ms").unwrap_or_default()),
            if is_valid { expires } else { format!("{expires}, over") },
            time("used_ms").map_or_else(|| "never".to_owned(), output::time),
        ]
    };
    let rows: Vec<Vec<String>> = known.into_iter().flatten().map(row).collect();
    output::table(&["NAME", "MADE (UTC)", "VALID UNTIL (UTC)", "LAST USED (UTC)"], &rows);
    for door in servers(answer) {
        output::line(format!("\ntaken at {} {}", text(door, "url"), text(door, "pin")));
    }
}
