//! `lamchat mirror status|add`

use super::{Failure, Place, Server, output, socket};
use serde_json::{Value, json};

const MIRROR: &str = "/_lamchat/admin/v1/box/mirror";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Mirror {
    /// Show whether both disks hold the same, and which disks could be added.
    Status {
        #[command(flatten)]
        server: Server,
    },
    /// Make a disk the other half of the mirror. What is on it is lost; the box goes on while it is filled.
    Add {
        /// What `lamchat mirror status` calls the disk, such as sdb.
        disk: String,
        /// Lose what is on it without a question.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Mirror) -> Result<(), Failure> {
    match command {
        Mirror::Status { server } => {
            let answer = socket::call(place, &server, "GET", MIRROR, None)?;
            print(&server, &answer);
        }
        Mirror::Add { disk, yes, server } => {
            if !yes {
                return Err(format!("what is on {disk} will be lost: say so with --yes").into());
            }
            let answer = socket::call(place, &server, "POST", MIRROR, Some(&json!({"disk": disk})))?;
            print(&server, &answer);
        }
    }
    Ok(())
}

fn print(server: &Server, answer: &Value) {
    if server.json {
        return output::line(answer.to_string());
    }
    let Some(mirror) = answer.get("mirror").filter(|mirror| !mirror.is_null()) else {
        return output::line("This box was set up on one disk.");
    };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |key: &str| mirror.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let reading = mirror.get("reading").cloned().unwrap_or_default();
    let (state, sentence) = (text(&reading, "state"), text(&reading, "sentence"));
    if state.is_empty() {
        output::line("not looked at yet");
    } else {
        output::line(format!("{state}: {sentence}"));
    }
    let disks: Vec<String> = list("disks")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    output::line(format!("disks: {}", disks.join(", ")));
    for other in list("others") {
        let refused = text(&other, "refused");
        let why = if refused.is_empty() {
            "can be added".to_owned()
        } else {
            refused
        };
        output::line(format!(
            "  {}  {}  {}: {why}",
            text(&other, "name"),
            text(&other, "model"),
            text(&other, "content")
        ));
    }
}
