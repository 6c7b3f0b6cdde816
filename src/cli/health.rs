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
    if command.server.json {
        output::line(answer.to_string());
        return Ok(());
    }
    let text = |key: &str| {
        answer
            .get(key)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    output::line(format!("{} is well: lamchat {}", text("server_name"), text("version")));
    output::line(text("keys"));
    Ok(())
}
