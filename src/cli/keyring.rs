//! `lamchat keyring list|add-passphrase|remove`

use super::{Failure, Place, Server, output, password, socket};
use serde_json::{Value, json};

const KEYRING: &str = "/_lamchat/admin/v1/keyring";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Keyring {
    /// List the slots: the ways in which the keys can be unlocked.
    List {
        #[command(flatten)]
        server: Server,
    },
    /// Add a passphrase that unlocks the keys; backups need one. It is asked for, or read from standard input.
    AddPassphrase {
        #[command(flatten)]
        server: Server,
    },
    /// Remove a slot, by its number.
    Remove {
        /// The number, as `lamchat keyring list` shows it.
        slot: u32,
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Keyring) -> Result<(), Failure> {
    let (server, answer) = match command {
        Keyring::List { server } => {
            let answer = socket::call(place, &server, "GET", KEYRING, None)?;
            (server, answer)
        }
        Keyring::AddPassphrase { server } => {
            let passphrase = password::read_new("passphrase")?;
            let body = json!({"passphrase": *passphrase});
            let answer = socket::call(place, &server, "POST", &format!("{KEYRING}/passphrase"), Some(&body))?;
            (server, answer)
        }
        Keyring::Remove { slot, server } => {
            let answer = socket::call(place, &server, "DELETE", &format!("{KEYRING}/slots/{slot}"), None)?;
            (server, answer)
        }
    };
    if server.json {
        output::line(answer.to_string());
        return Ok(());
    }
    let slots = answer
        .get("slots")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let row = |slot: &Value| {
        let number = slot.get("id").and_then(Value::as_u64).unwrap_or_default().to_string();
        vec![
            number,
            slot.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned(),
        ]
    };
    output::table(&["SLOT", "KIND"], &slots.iter().map(row).collect::<Vec<_>>());
    output::line(answer.get("sentence").and_then(Value::as_str).unwrap_or_default());
    Ok(())
}
