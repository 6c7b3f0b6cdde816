//! `lamchat health`

use super::{Failure, Place, Server, output, socket};
use crate::devices::Devices;
use lamchat_hardware::{Found, HealthReport, Root, Surveyor, catalogue, is_unfit, qualify};
use serde_json::{Value, json};

/// Ask the running server whether it is well, and its hardware. Exit code 1: its keys are locked, or something has failed.
#[derive(Debug, clap::Args)]
pub struct Health {
    /// Show every reading of the hardware, too.
    #[arg(long, short)]
    verbose: bool,
    /// Ask no server: read the hardware of this machine, to see what it tells before it is used.
    /// As root it asks disks and the management controller, too.
    #[arg(long, conflicts_with = "socket")]
    here: bool,
    /// With --here: go through the list of what to check before a server is trusted (hardware/README.md), with what this
    /// program finds out itself. Exit code 1: something that must be there is not.
    #[arg(long, requires = "here")]
    qualify: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub fn run(place: &Place, command: &Health) -> Result<(), Failure> {
    if command.here {
        let health = Surveyor::new(Root::kernel()).survey().with(Devices::default().survey());
        if command.qualify {
            return qualification(command.server.json, &health);
        }
        let hardware = json!(HealthReport::of(&health));
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
            judge(&hardware).and_then(|()| judge_alarms(&answer))
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
        ("/update/problem", "updates"),
    ] {
        if let Some(trouble) = answer.pointer(place).and_then(Value::as_str) {
            output::line(format!("{what}: {trouble}"));
        }
    }
    more(&answer);
    show(&hardware, command.verbose)?;
    judge_alarms(&answer)
}

/// Prints the list with its answers.
fn qualification(json: bool, health: &lamchat_hardware::Health) -> Result<(), Failure> {
    let catalogue = catalogue().map_err(|error| Failure(error.to_string()))?;
    let answers = qualify(&catalogue.checks, &Root::kernel(), health);
    if json {
        output::line(json!({"checks": answers, "unfit": is_unfit(&answers)}).to_string());
    } else {
        for answer in &answers {
            let head = format!("{:<8}{:<8}{:<15}", answer.found.word(), answer.needed, answer.id);
            output::line(format!("{head}{}", answer.question));
            if !answer.sentence.is_empty() {
                output::line(format!("{:31}{}", "", answer.sentence));
            }
            if answer.found != Found::Yes {
                output::line(format!("{:31}How: {}", "", answer.how));
            }
        }
    }
    if is_unfit(&answers) {
        return Err("something that must be there is not, or the kernel does not see it".into());
    }
    Ok(())
}

/// Release, peers, certificates, backup, and what is not well besides the hardware.
fn more(answer: &Value) {
    if answer.pointer("/release/on_trial").and_then(Value::as_bool) == Some(true) {
        output::line("the release is on trial: it is marked good once the server has answered for a while");
    }
    if let Some(peers) = answer.pointer("/peers/sentence").and_then(Value::as_str) {
        output::line(format!("peers: {peers}"));
    }
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or_default();
    let each = |key: &str| answer.get(key).and_then(Value::as_array).into_iter().flatten();
    for shown in each("certificates") {
        output::line(format!(
            "certificate of {}: until {} UTC, {} days left",
            shown.get("from").and_then(Value::as_str).unwrap_or_default(),
            output::time(number(shown, "not_after_ms")),
            number(shown, "days_left"),
        ));
    }
    output::line(match answer.get("backup") {
        Some(last @ Value::Object(_)) => format!(
            "last backup: {} UTC by {}, {} bytes",
            output::time(number(last, "at_ms")),
            last.get("actor").and_then(Value::as_str).unwrap_or_default(),
            number(last, "bytes"),
        ),
        _ => "last backup: none yet".to_owned(),
    });
    if let Some(version) = answer.pointer("/update/offered").and_then(Value::as_str) {
        output::line(format!(
            "release {version} was found and checked: `lamchat update apply` installs it"
        ));
    }
    for alarm in alarms(answer) {
        let sentence = alarm.get("sentence").and_then(Value::as_str).unwrap_or_default();
        output::line(format!("  ! {sentence}"));
    }
}

/// What is not well, without the hardware, which is told apart.
fn alarms(answer: &Value) -> impl Iterator<Item = &Value> {
    let all = answer.get("alarms").and_then(Value::as_array).into_iter().flatten();
    all.filter(|alarm| {
        let what = alarm.get("what").and_then(Value::as_str).unwrap_or_default();
        !what.starts_with("hardware/")
    })
}

fn judge_alarms(answer: &Value) -> Result<(), Failure> {
    let failed = alarms(answer).find(|alarm| state(alarm) == "failed");
    match failed.and_then(|alarm| alarm.get("sentence")).and_then(Value::as_str) {
        Some(sentence) => Err(Failure(sentence.to_owned())),
        None => Ok(()),
    }
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
