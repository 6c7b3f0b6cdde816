//! `lamchat update check|show|apply|status`

use super::socket::Body;
use super::{Failure, Place, Server, next_start, output, password, socket};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};

const UPDATE: &str = "/_lamchat/admin/v1/update";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Update {
    /// Hand a bundle to the box, which checks it from its first byte to its last and installs nothing.
    Check {
        /// The bundle, lamchat-VERSION.bundle.
        file: PathBuf,
        #[command(flatten)]
        server: Server,
    },
    /// Show the bundle that was checked last: its version, what it changes, its changelog.
    Show {
        #[command(flatten)]
        server: Server,
    },
    /// Install the bundle that was checked last, or FILE, into the slot that does not run, after showing what changes.
    Apply {
        /// A bundle to check first.
        file: Option<PathBuf>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Start the machine again afterwards. Without it the update waits for the next start.
        #[arg(long)]
        restart: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show both slots: what runs, what is tried next, what is marked good.
    Status {
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Update) -> Result<(), Failure> {
    match command {
        Update::Check { file, server } => print(&server, &stage(place, &server, &file)?),
        Update::Show { server } => print(&server, &staged(place, &server)?),
        Update::Status { server } => {
            let answer = socket::call(place, &server, "GET", UPDATE, None)?;
            status(&server, &answer);
        }
        Update::Apply {
            file,
            yes,
            restart,
            server,
        } => {
            let shown = match file {
                Some(file) => stage(place, &server, &file)?,
                None => staged(place, &server)?,
            };
            if yes {
                // Nobody is asked, but whoever looks is told before it is done.
                next_start::note(&shown);
            } else {
                output::text(&text_of(&shown));
                if !password::confirm("Install it?")? {
                    return Err("nothing was installed".into());
                }
            }
            let body = json!({"id": text(&shown, "id"), "restart": restart});
            let answer = socket::call(place, &server, "POST", &format!("{UPDATE}/apply"), Some(&body))?;
            if server.json {
                output::line(answer.to_string());
                return Ok(());
            }
            output::line(format!(
                "{} is installed as {}; {}",
                text(&answer, "version"),
                text(&answer, "file"),
                if restart {
                    "the machine starts again with it"
                } else {
                    "the next start tries it"
                }
            ));
        }
    }
    Ok(())
}

fn stage(place: &Place, server: &Server, path: &Path) -> Result<Value, Failure> {
    let named = |error: std::io::Error| Failure(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(named)?;
    let length = file.metadata().map_err(named)?.len();
    let target = format!("{UPDATE}/bundle");
    socket::transmit(place, server, "POST", &target, Body::Bytes(&mut file, length))?.json()
}

fn staged(place: &Place, server: &Server) -> Result<Value, Failure> {
    socket::call(place, server, "GET", &format!("{UPDATE}/bundle"), None)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn print(server: &Server, answer: &Value) {
    if server.json {
        output::line(answer.to_string());
    } else {
        output::text(&text_of(answer));
    }
}

/// What an update is and changes, as lines of text.
pub fn text_of(answer: &Value) -> String {
    let number = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or_default();
    let mut lines = format!(
        "Release {} (commit {}, {} UTC), security epoch {}, {} bytes. {} runs now. The release key signed it.\n",
        text(answer, "version"),
        text(answer, "commit"),
        output::time(number("built_at").saturating_mul(1000)),
        number("epoch"),
        number("bytes"),
        text(answer, "running"),
    );
    let components = answer.get("components").and_then(Value::as_array);
    let row = |component: &Value| {
        let version = |key: &str| {
            Some(text(component, key))
                .filter(|text| !text.is_empty())
                .unwrap_or("-")
                .to_owned()
        };
        vec![text(component, "name").to_owned(), version("from"), version("to")]
    };
    let rows: Vec<Vec<String>> = components.into_iter().flatten().map(row).collect();
    if answer.get("components_known").and_then(Value::as_bool) != Some(true) {
        lines += "\nWhich components change is not known: the update has no bill of materials.\n";
    } else if rows.is_empty() {
        lines += "\nNo component changes.\n";
    } else {
        lines += &format!("\n{}", output::columns(&["COMPONENT", "NOW", "THEN"], &rows));
        if number("components_left_out") > 0 {
            lines += &format!("and {} more\n", number("components_left_out"));
        }
    }
    let changelog: String = text(answer, "changelog")
        .chars()
        .filter(|char| *char == '\n' || !char.is_control())
        .collect();
    if !changelog.trim().is_empty() {
        lines += &format!("\n{}\n", changelog.trim_end());
    }
    if let Some(warning) = next_start::warning(answer) {
        lines += &format!("\n{warning}\n");
    }
    lines
}

fn status(server: &Server, answer: &Value) {
    if server.json {
        output::line(answer.to_string());
        return;
    }
    let flag = |slot: &Value, key: &str| slot.get(key).and_then(Value::as_bool).unwrap_or_default();
    let row = |slot: &Value| {
        let left = slot.get("tries_left").and_then(Value::as_u64);
        vec![
            text(slot, "slot").to_owned(),
            text(slot, "file").to_owned(),
            match left {
                None => "good".to_owned(),
                Some(0) => "given up".to_owned(),
                Some(left) => format!("on trial, {left} attempts left"),
            },
            slot.get("epoch")
                .and_then(Value::as_u64)
                .map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()),
            if flag(slot, "runs") { "runs" } else { "" }.to_owned(),
        ]
    };
    let slots = answer.get("slots").and_then(Value::as_array);
    output::table(
        &["SLOT", "FILE", "STATE", "EPOCH", ""],
        &slots.into_iter().flatten().map(row).collect::<Vec<_>>(),
    );
    output::line(format!("release {} runs", text(answer, "running")));
    if let Some(warning) = next_start::warning(answer) {
        output::line(warning);
    }
    if let Some(staged) = answer.get("staged").and_then(Value::as_str) {
        output::line(format!(
            "release {staged} was checked and can be installed: `lamchat update apply`"
        ));
    }
}
