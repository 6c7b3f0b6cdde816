//! `lamchat health`

use super::{Failure, Place, Server, output, socket};
use crate::devices::Devices;
use lamchat_hardware::{HealthReport, Root, Surveyor};
use serde_json::{Value, json};

/// Ask the running server whether it is well, and its hardware. Exit code 1: its keys are locked, or hardware has failed.
#[derive(Debug, clap::Args)]
pub struct Health {
    /// Show every reading of the hardware, too.
    #[arg(long, short)]
    verbose: bool,
    /// Ask no server: read the hardware of this machine, to see what it tells before it is used.
    /// As root it asks disks and the management controller, too.
    #[arg(long, conflicts_with = "socket")]
    here: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub fn run(place: &Place, command: &Health) -> Result<(), Failure> {
    if command.here {
        let hardware = json!(HealthReport::of(
            &Surveyor::new(Root::kernel()).survey().with(Devices::default().survey())
        ));
        if command.server.json {
            output::line(hardware.to_string());
            return judge(&hardware);
        }
        return show(&hardware, true);
    }
    let answer = socket::call(place, &command.server, "GET", "/_lamchat/admin/v1/health", None)?;
    let locked = answer.get("state").and_then(Value::as_str) == Some("locked");
    let hardware = answer.get("hardware").cloned().unwrap_or_default();
    if command.server.json {
        output::line(answer.to_string());
        return if locked {
            Err("the keys are locked".into())
        } else {
            judge(&hardware)
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
    let federation = answer.pointer("/federation/sentence").and_then(Value::as_str);
    output::line(federation.unwrap_or_default());
    for (place, what) in [
        ("/audit/trouble/sentence", "audit log"),
        ("/audit/anchor/trouble/sentence", "anchor"),
    ] {
        if let Some(trouble) = answer.pointer(place).and_then(Value::as_str) {
            output::line(format!("{what}: {trouble}"));
        }
    }
    show(&hardware, command.verbose)
}

fn state(hardware: &Value) -> &str {
    hardware.get("state").and_then(Value::as_str).unwrap_or("unknown")
}

fn judge(hardware: &Value) -> Result<(), Failure> {
    if state(hardware) == "failed" {
        return Err("hardware has failed".into());
    }
    Ok(())
}

/// Prints it: what is not well, and everything when `verbose`.
fn show(hardware: &Value, verbose: bool) -> Result<(), Failure> {
    let each = |key: &str| hardware.get(key).and_then(Value::as_array).into_iter().flatten();
    output::line(match state(hardware) {
        "unknown" => "the hardware was not read yet".to_owned(),
        state => format!("the hardware is {state}"),
    });
    for problem in each("problems").filter_map(Value::as_str) {
        output::line(format!("  ! {problem}"));
    }
    for reading in each("readings").filter(|_| verbose) {
        let text = |key: &str| reading.get(key).and_then(Value::as_str).unwrap_or_default();
        output::line(format!("  {:<12}{}", text("part"), text("line")));
    }
    judge(hardware)
}
