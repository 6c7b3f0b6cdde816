//! `lamchat box show|set|set-clock|confirm|log|restart|power-off`

use super::{Failure, Place, Server, next_start, output, password, socket, time};
use lamchat_appliance::site::Editable;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

const SITE: &str = "/_lamchat/admin/v1/box/site";
const LOG: &str = "/_lamchat/admin/v1/box/log";
const CLOCK: &str = "/_lamchat/admin/v1/box/clock";
const HEALTH: &str = "/_lamchat/admin/v1/health";
const END: &str = "/_lamchat/admin/v1/box/end";
/// Longest file.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum BoxSite {
    /// Print the configuration as the file that `lamchat box set` takes, with the box's addresses as remarks.
    Show {
        #[command(flatten)]
        server: Server,
    },
    /// Change the configuration. A change of the network goes back after two minutes, unless `lamchat box confirm` is
    /// run.
    Set {
        /// The file, TOML: what `lamchat box show` printed, changed.
        file: PathBuf,
        #[command(flatten)]
        server: Server,
    },
    /// Set the box's clock, where no time server does. Never before its release was built.
    SetClock {
        /// The time in UTC, such as "2026-11-27 09:30".
        #[arg(value_name = "TIME")]
        at: String,
        #[command(flatten)]
        server: Server,
    },
    /// Keep a change of the network: whoever can run this still reaches the box.
    Confirm {
        #[command(flatten)]
        server: Server,
    },
    /// Print the last lines of the box's log.
    Log {
        /// Which: init (process 1 and its children), kernel, or crash (the kernel's before the last crash).
        #[arg(long, default_value = "init", value_parser = ["init", "kernel", "crash"])]
        of: String,
        #[command(flatten)]
        server: Server,
    },
    /// Start the machine again.
    Restart {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Switch the machine off. Somebody has to switch it on again.
    PowerOff {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: BoxSite) -> Result<(), Failure> {
    match command {
        BoxSite::Show { server } => {
            let answer = socket::call(place, &server, "GET", SITE, None)?;
            print(&server, &answer)
        }
        BoxSite::Set { file, server } => {
            let site = serde_json::to_value(read(&file)?)?;
            let answer = socket::call(place, &server, "POST", SITE, Some(&site))?;
            print(&server, &answer)
        }
        BoxSite::SetClock { at, server } => set_clock(place, &server, &at),
        BoxSite::Confirm { server } => {
            let target = format!("{SITE}/confirm");
            let answer = socket::call(place, &server, "POST", &target, Some(&serde_json::json!({})))?;
            print(&server, &answer)
        }
        BoxSite::Log { of, server } => {
            let answer = socket::call(place, &server, "GET", &format!("{LOG}?of={of}"), None)?;
            if server.json {
                output::line(answer.to_string());
                return Ok(());
            }
            for line in answer.get("lines").and_then(Value::as_array).into_iter().flatten() {
                output::line(line.as_str().unwrap_or_default());
            }
            Ok(())
        }
        BoxSite::Restart { yes, server } => end(place, &server, true, yes),
        BoxSite::PowerOff { yes, server } => end(place, &server, false, yes),
    }
}

fn set_clock(place: &Place, server: &Server, at: &str) -> Result<(), Failure> {
    let ms = time::parse(at.trim())
        .ok_or_else(|| format!("{at:?} is no time: type it as \"YYYY-MM-DD HH:MM\", in UTC, before the year 2200"))?;
    let answer = socket::call(place, server, "POST", CLOCK, Some(&serde_json::json!({"ms": ms})))?;
    if server.json {
        output::line(answer.to_string());
        return Ok(());
    }
    let now = answer.get("clock_ms").and_then(Value::as_u64).unwrap_or_default();
    output::line(format!("the box's clock says {} UTC", output::time(now)));
    Ok(())
}

fn end(place: &Place, server: &Server, restart: bool, yes: bool) -> Result<(), Failure> {
    let question = if restart {
        "Start the machine again?"
    } else {
        "Switch the machine off?"
    };
    // Before it is done: afterwards nobody far away can do anything about it.
    // A server that is not well is no reason against it.
    match socket::call(place, server, "GET", HEALTH, None) {
        Ok(health) => next_start::note(&health),
        Err(error) => output::note(format!(
            "Whether its next start waits for somebody is not known: {}",
            error.0
        )),
    }
    if !yes && !password::confirm(question)? {
        return Err("nothing was done".into());
    }
    let body = serde_json::json!({"restart": restart});
    let answer = socket::call(place, server, "POST", END, Some(&body))?;
    if server.json {
        output::line(answer.to_string());
    }
    Ok(())
}

fn read(path: &Path) -> Result<Editable, Failure> {
    let named = |error: &dyn std::fmt::Display| Failure(format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| named(&error))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| named(&error))?;
    toml::from_str(&text).map_err(|error| named(&error))
}

fn print(server: &Server, answer: &Value) -> Result<(), Failure> {
    if server.json {
        output::line(answer.to_string());
        return Ok(());
    }
    let strings = |key: &str| {
        let list = answer.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    for address in strings("addresses") {
        output::line(format!("# {address}"));
    }
    for remark in ["problem", "in_effect"] {
        if let Some(remark) = answer.get(remark).and_then(Value::as_str) {
            output::line(format!("# {remark}"));
        }
    }
    if let Some(left) = answer.get("confirm_within_s").and_then(Value::as_u64) {
        output::line(format!(
            "# the network goes back in {left} s, unless `lamchat box confirm` is run"
        ));
    }
    let site: Editable = serde_json::from_value(answer.get("site").cloned().unwrap_or_default())?;
    output::line(toml::to_string(&site)?.trim_end());
    Ok(())
}
