//! `lamchat signing-key show|rotate`

use super::{Failure, Place, Server, output, socket};
use serde_json::Value;

const SIGNING_KEY: &str = "/_lamchat/admin/v1/signing-key";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum SigningKey {
    /// Show the key that signs this server's events, and the ones that did before.
    Show {
        #[command(flatten)]
        server: Server,
    },
    /// Make a new signing key, which signs from now on. The public key of before is kept: what it signed stays good.
    Rotate {
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: SigningKey) -> Result<(), Failure> {
    let (server, method, target) = match command {
        SigningKey::Show { server } => (server, "GET", SIGNING_KEY.to_owned()),
        SigningKey::Rotate { server } => (server, "POST", format!("{SIGNING_KEY}/rotate")),
    };
    let answer = socket::call(place, &server, method, &target, None)?;
    if server.json {
        output::line(answer.to_string());
        return Ok(());
    }
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut rows = vec![vec![text(&answer, "id"), text(&answer, "key"), "signs".to_owned()]];
    for old in answer.get("old").and_then(Value::as_array).into_iter().flatten() {
        let expired = old.get("expired_ms").and_then(Value::as_u64).unwrap_or_default();
        rows.push(vec![
            text(old, "id"),
            text(old, "key"),
            format!("until {}", output::time(expired)),
        ]);
    }
    output::table(&["KEY", "PUBLIC KEY", "(UTC)"], &rows);
    Ok(())
}
