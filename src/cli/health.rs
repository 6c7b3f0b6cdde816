//! `lamchat health`

use super::{Failure, Place, Server, output, socket};

/// Ask the running server whether it is well.
#[derive(Debug, clap::Args)]
pub struct Health {
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub fn run(place: &Place, command: &Health) -> Result<(), Failure> {
    let answer = socket::call(place, &command.server, "GET", "/_lamchat/admin/v1/health", None)?;
    let locked = answer.get("state").and_then(serde_json::Value::as_str) == Some("locked");
    if command.server.json {
        output::line(answer.to_string());
        return if locked {
            Err("the keys are locked".into())
        } else {
            Ok(())
        };
    }
    let text = |key: &str| {
        answer
            .get(key)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if locked {
        return Err(Failure(text("keys")));
    }
    output::line(format!("{} is well: lamchat {}", text("server_name"), text("version")));
    output::line(text("keys"));
    let tpm = answer.get("tpm").and_then(|tpm| tpm.get("sentence"));
    output::line(tpm.and_then(serde_json::Value::as_str).unwrap_or_default());
    for (place, what) in [
        ("/audit/trouble/sentence", "audit log"),
        ("/audit/anchor/trouble/sentence", "anchor"),
    ] {
        if let Some(trouble) = answer.pointer(place).and_then(serde_json::Value::as_str) {
            output::line(format!("{what}: {trouble}"));
        }
    }
    Ok(())
}
