//! `lamchat certificate show|authority|request|install|remove`

use super::{Authority, Failure, Place, Server, output, socket};
use serde_json::{Value, json};
use std::path::PathBuf;

const TLS: &str = "/_lamchat/admin/v1/tls";
/// Largest file with a chain.
const CHAIN_BYTES_MAX: u64 = 48 << 10;

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Certificate {
    /// Show the certificates of the listeners and until when they are valid.
    Show {
        #[command(flatten)]
        server: Server,
    },
    /// Show the server's own authority, which clients have to trust: its fingerprint, also as a QR code.
    Authority {
        /// Print its certificate (PEM) alone.
        #[arg(long)]
        pem: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Print a request (CSR, PEM) for an authority of your own. Its key is made and kept by the server.
    Request {
        #[command(flatten)]
        server: Server,
    },
    /// Use what the authority answered instead of the server's own authority's certificate, at once.
    Install {
        /// The chain in PEM, the server's certificate first.
        file: PathBuf,
        #[command(flatten)]
        server: Server,
    },
    /// Go back to the certificate of the server's own authority.
    Remove {
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Certificate) -> Result<(), Failure> {
    let (server, answer) = match command {
        Certificate::Show { server } => {
            let answer = socket::call(place, &server, "GET", TLS, None)?;
            (server, answer)
        }
        Certificate::Authority { pem, server } => {
            let answer = socket::call(place, &server, "GET", &format!("{TLS}/authority"), None)?;
            if !server.json {
                let authority = Authority::of(&answer)?;
                return match pem {
                    true => {
                        output::line(authority.pem.trim_end());
                        Ok(())
                    }
                    false => authority.print(),
                };
            }
            (server, answer)
        }
        Certificate::Request { server } => {
            let answer = socket::call(place, &server, "POST", &format!("{TLS}/request"), Some(&json!({})))?;
            if !server.json {
                let pem = answer.get("request").and_then(Value::as_str).unwrap_or_default();
                output::line(pem.trim_end());
                return Ok(());
            }
            (server, answer)
        }
        Certificate::Install { file, server } => {
            let named = |error: std::io::Error| Failure(format!("{}: {error}", file.display()));
            if std::fs::metadata(&file).map_err(named)?.len() > CHAIN_BYTES_MAX {
                return Err(Failure(format!("{} is too large for a chain", file.display())));
            }
            let body = json!({"chain": std::fs::read_to_string(&file).map_err(named)?});
            let target = format!("{TLS}/certificate");
            let answer = socket::call(place, &server, "POST", &target, Some(&body))?;
            (server, answer)
        }
        Certificate::Remove { server } => {
            let answer = socket::call(place, &server, "DELETE", &format!("{TLS}/certificate"), None)?;
            (server, answer)
        }
    };
    if server.json {
        output::line(answer.to_string());
        return Ok(());
    }
    let shown = answer.get("certificates").and_then(Value::as_array);
    let row = |shown: &Value| {
        let number = |key: &str| shown.get(key).and_then(Value::as_u64).unwrap_or_default();
        let text = |key: &str| shown.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        vec![
            text("from"),
            output::time(number("not_after_ms")),
            number("days_left").to_string(),
            text("pin"),
        ]
    };
    output::table(
        &["FROM", "VALID UNTIL (UTC)", "DAYS LEFT", "PIN FOR --server"],
        &shown.into_iter().flatten().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}
