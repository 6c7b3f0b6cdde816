//! `lamchat health`

use super::{Failure, Place, Server, output, socket};
use serde_json::Value;

/// Ask the running server whether it is well, and its hardware. Exit code 1: its keys are locked, or hardware has failed.
#[derive(Debug, clap::Args)]
pub struct Health {
    /// Show every reading of the hardware, too.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub fn run(place: &Place, command: &Health) -> Result<(), Failure> {
    let answer = socket::call(place, &command.server, "GET", "/_lamchat/admin/v1/health", None)?;
    let locked = answer.get("state").and_then(Value::as_str) == Some("locked");
    let hardware = answer.get("hardware").cloned().unwrap_or_default();
    let state = hardware.get("state").and_then(Value::as_str).unwrap_or_default();
    let failed = state == "failed";
    if command.server.json {
        output::line(answer.to_string());
        return if locked {
            Err("the keys are locked".into())
        } else if failed {
            Err("hardware has failed".into())
        } else {
            Ok(())
        };
    }
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    if locked {
        return Err(Failure(text("keys")));
    }
    output::line(format!("{} is well: lamchat {}", text("server_name"), text("version")));
    output::line(text("keys"));
    let tpm = answer.get("tpm").and_then(|tpm| tpm.get("sentence"));
    output::line(tpm.and_then(Value::as_str).unwrap_or_default());
    let lines = |key: &str, line: &dyn Fn(&Value) -> Option<String>| {
        let values = hardware.get(key).and_then(Value::as_array).into_iter().flatten();
        values.filter_map(line).for_each(output::line);
    };
    output::line(format!(
        "the hardware is {}",
        if state.is_empty() { "not read yet" } else { state }
    ));
    lines("problems", &|problem| Some(format!("  ! {}", problem.as_str()?)));
    if command.verbose {
        lines("readings", &|reading| {
            let text = |key: &str| reading.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let number = |key: &str| reading.get(key).and_then(Value::as_f64);
            let value = number("value").map(|value| format!(": {value} {}", text("unit")));
            let limit = number("limit").map(|limit| format!(" (limit {limit})"));
            let sentence = Some(text("sentence"))
                .filter(|text| !text.is_empty())
                .map(|text| format!(": {text}"));
            let parts = [value, limit, sentence].into_iter().flatten().collect::<String>();
            Some(format!("  {:<12}{}{parts}", text("part"), text("name")))
        });
    }
    if failed {
        return Err("hardware has failed: see above".into());
    }
    Ok(())
}
