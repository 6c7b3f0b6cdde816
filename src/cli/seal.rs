//! `lamchat seal status|init|add-recovery|verify-recovery|add-passphrase|rebind|remove|unlock`

mod paper;

use super::{Failure, Place, Server, output, password, socket};
use serde_json::{Value, json};

const SEAL: &str = "/_lamchat/admin/v1/seal";
const KEYRING: &str = "/_lamchat/admin/v1/keyring";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Seal {
    /// Show the slots: the ways in which the keys can be unlocked, and how well they are protected.
    #[command(alias = "list")]
    Status {
        #[command(flatten)]
        server: Server,
    },
    /// Seal the keys to this machine's TPM, so that they open here only.
    Init {
        /// Even without Secure Boot, which makes the seal weak.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Make a recovery key: 48 digits that open the keys and every backup. They are shown once: write them down.
    AddRecovery {
        #[command(flatten)]
        server: Server,
    },
    /// Type the recovery key back, to be sure that it was written down right.
    VerifyRecovery {
        #[command(flatten)]
        server: Server,
    },
    /// Add a passphrase that unlocks the keys and every backup. It is asked for, or read from standard input.
    AddPassphrase {
        #[command(flatten)]
        server: Server,
    },
    /// Seal a TPM slot anew, to the present state of the machine: after a firmware update, or an unlock by hand.
    Rebind {
        /// The slot's number, as `lamchat seal status` shows it.
        slot: u32,
        #[command(flatten)]
        server: Server,
    },
    /// Remove a slot, by its number.
    Remove {
        /// The number, as `lamchat seal status` shows it.
        slot: u32,
        #[command(flatten)]
        server: Server,
    },
    /// Open the keys of a server that waits for it, with the recovery key or a passphrase. It is asked for, or read from
    /// standard input.
    Unlock {
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Seal) -> Result<(), Failure> {
    let call = |server: &Server, method: &str, target: &str, body: Option<Value>| {
        socket::call(place, server, method, target, body.as_ref())
    };
    match command {
        Seal::Status { server } => show(&server, &call(&server, "GET", SEAL, None)?),
        Seal::Init { force, server } => {
            let body = json!({"force": force});
            show(&server, &call(&server, "POST", &format!("{SEAL}/init"), Some(body))?);
        }
        Seal::AddRecovery { server } => {
            let answer = call(&server, "POST", &format!("{SEAL}/recovery"), None)?;
            match answer.get("recovery_key").and_then(Value::as_str) {
                Some(key) if !server.json => paper::print(key)?,
                _ => show(&server, &answer),
            }
        }
        Seal::VerifyRecovery { server } => {
            let key = password::read_existing("Recovery key")?;
            let body = json!({"key": *key});
            let answer = call(&server, "POST", &format!("{SEAL}/recovery/verify"), Some(body))?;
            show(&server, &answer);
        }
        Seal::AddPassphrase { server } => {
            let passphrase = password::read_new("passphrase")?;
            let body = json!({"passphrase": *passphrase});
            let answer = call(&server, "POST", &format!("{KEYRING}/passphrase"), Some(body))?;
            show(&server, &answer);
        }
        Seal::Rebind { slot, server } => {
            let answer = call(&server, "POST", &format!("{SEAL}/slots/{slot}/rebind"), None)?;
            show(&server, &answer);
        }
        Seal::Remove { slot, server } => {
            let answer = call(&server, "DELETE", &format!("{KEYRING}/slots/{slot}"), None)?;
            show(&server, &answer);
        }
        Seal::Unlock { server } => {
            let key = password::read_existing("Recovery key or passphrase")?;
            let body = json!({"key": *key});
            let answer = call(&server, "POST", &format!("{SEAL}/unlock"), Some(body))?;
            if server.json {
                output::line(answer.to_string());
            } else {
                output::line(
                    "The keys are open, and the server goes on starting; `lamchat health` says when it is well.",
                );
                output::line(
                    "If a TPM slot did not open by itself: `lamchat seal rebind` binds it to this machine as it is now.",
                );
            }
        }
    }
    Ok(())
}

/// Slots as a table, then sentences; or the answer itself.
fn show(server: &Server, answer: &Value) {
    if server.json {
        output::line(answer.to_string());
        return;
    }
    let slots = answer.get("slots").and_then(Value::as_array).into_iter().flatten();
    let row = |slot: &Value| {
        let text = |key: &str| slot.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = slot.get("id").and_then(Value::as_u64).unwrap_or_default().to_string();
        let verified = match slot.get("verified_ms") {
            Some(time) => time.as_u64().map_or_else(|| "never".to_owned(), output::time),
            None => "-".to_owned(),
        };
        vec![number, text("kind"), verified]
    };
    output::table(
        &["SLOT", "KIND", "TYPED BACK (UTC)"],
        &slots.map(row).collect::<Vec<_>>(),
    );
    output::line(answer.get("sentence").and_then(Value::as_str).unwrap_or_default());
    let tpm = answer.get("tpm").and_then(|tpm| tpm.get("sentence"));
    output::line(tpm.and_then(Value::as_str).unwrap_or_default());
    if let Some(advice) = answer.get("advice").and_then(Value::as_str) {
        output::line(format!("to go on: {advice}"));
    }
}
