//! Asks the exchange how it is, again and again, in a thread of its own: an exchange that hangs must hang nobody else.

use super::state::{Event, Health, More, Shared, State};
use super::trouble::Trouble;
use super::{exchange, late};
use crate::cli::output;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(3);

/// What the operator has not done yet.
const UNVERIFIED: &str = "Other servers are turned away until the recovery key was typed back";

/// Longest version that is shown.
const VERSION_CHARS_MAX: usize = 32;

/// Never ends.
pub fn watch(shared: &Arc<Shared>) {
    let (mut offered, mut problem, mut alarms) = (None, None, Vec::new());
    loop {
        std::thread::sleep(INTERVAL);
        if matches!(shared.state(), State::SetUp | State::Stopping) {
            continue;
        }
        let health = match exchange::call("GET", "/_lamchat/admin/v1/health", None) {
            Ok(answer) => {
                offer(shared, &mut offered, &answer);
                let health = read(&answer);
                if let Health::Running { more, .. } = &health {
                    hand_over(shared, &mut problem);
                    keep(shared, &mut alarms, &more.alarms);
                }
                health
            }
            Err(error) => Health::Silent(error.0),
        };
        shared.tell(Event::Health(health));
    }
}

/// Hands over what it could not note before. What goes wrong is told once.
fn hand_over(shared: &Shared, problem: &mut Option<String>) {
    let failed = late::hand_over(shared).err();
    if let Some(error) = failed.as_ref().filter(|error| problem.as_ref() != Some(error)) {
        shared.log.note(&format!(
            "what was done without the exchange is not in the audit log yet: {error}"
        ));
    }
    *problem = failed;
}

/// Shows an update that was found, as long as it waits.
fn offer(shared: &Shared, shown: &mut Option<String>, answer: &Value) {
    let version = answer.pointer("/update/offered").and_then(Value::as_str);
    let now = version.map(|version| {
        let version: String = version.chars().take(VERSION_CHARS_MAX).collect();
        format!("release {version} was found and checked: `lamchat update apply` installs it")
    });
    if now == *shown {
        return;
    }
    if let Some(before) = shown.take() {
        shared.forget_notice(&before);
    }
    if let Some(now) = &now {
        shared.notice(now);
    }
    *shown = now;
}

/// Keeps in the log what the screen may have no room for. Not as process 1's own words: the exchange knows people.
fn keep(shared: &Shared, before: &mut Vec<Trouble>, now: &[Trouble]) {
    for alarm in now.iter().filter(|alarm| !before.contains(alarm)) {
        shared.log.keep("health", &alarm.sentence);
    }
    *before = now.to_vec();
}

fn read(answer: &Value) -> Health {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("state") {
        "locked" => Health::Locked {
            why: text("keys").to_owned(),
            pin: answer.get("asks_for_pin").and_then(Value::as_bool).unwrap_or_default(),
        },
        _ => Health::Running {
            keys: match answer.pointer("/federation/state").and_then(Value::as_str) {
                Some("unverified") => format!("{}. {UNVERIFIED}", text("keys")),
                _ => text("keys").to_owned(),
            },
            more: more(answer),
        },
    }
}

fn more(answer: &Value) -> More {
    let at = |place: &str| {
        answer
            .pointer(place)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let each = |key: &str| answer.get(key).and_then(Value::as_array).into_iter().flatten();
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or_default();
    let first = each("certificates").min_by_key(|shown| number(shown, "not_after_ms"));
    let certificate = first.map(|shown| {
        let until: String = output::time(number(shown, "not_after_ms")).chars().take(10).collect();
        let days = number(shown, "days_left");
        let from = shown.get("from").and_then(Value::as_str).unwrap_or_default();
        format!("until {until}, {days} days left, by {from}")
    });
    let backup = match answer.get("backup") {
        Some(last @ Value::Object(_)) => {
            let at: String = output::time(number(last, "at_ms")).chars().take(16).collect();
            let who = last.get("actor").and_then(Value::as_str).unwrap_or_default();
            format!("{at} by {who}, {} bytes", number(last, "bytes"))
        }
        _ => "none yet".to_owned(),
    };
    let alarms = each("alarms").filter_map(|alarm| {
        let what = alarm.get("what").and_then(Value::as_str)?;
        // A notice of its own tells the last one.
        let is_known = what.starts_with("hardware/") || what == "box/configuration";
        Trouble::of_alarm(alarm).filter(|_| !is_known)
    });
    More {
        peers: at("/peers/sentence"),
        certificate: certificate.unwrap_or_else(|| "none".to_owned()),
        backup,
        on_trial: answer
            .pointer("/release/on_trial")
            .and_then(Value::as_bool)
            .unwrap_or_default(),
        alarms: alarms.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Health, More, Trouble, read};
    use lamchat_notices::Level;
    use serde_json::json;

    #[test]
    fn answers_are_told_apart() {
        for (answer, pin) in [
            (json!({"state": "locked", "keys": "why"}), false),
            (json!({"state": "locked", "keys": "why", "asks_for_pin": true}), true),
        ] {
            let why = "why".to_owned();
            assert_eq!(read(&answer), Health::Locked { why, pin });
        }
        let running = read(&json!({
            "state": "running",
            "keys": "how",
            "peers": {"count": 0, "sentence": "none"},
            "certificates": [
                {"from": "b", "not_after_ms": 2 * 86_400_000_u64, "days_left": 2},
                {"from": "a", "not_after_ms": 86_400_000, "days_left": 1},
            ],
            "backup": {"at_ms": 0, "actor": "uid 0", "bytes": 5},
            "release": {"on_trial": true},
            "alarms": [
                {"what": "hardware/fan/1", "state": "failed", "sentence": "a fan"},
                {"what": "backup", "state": "warning", "sentence": "too old"},
                {"what": "box/configuration", "state": "warning", "sentence": "a notice tells it"},
            ],
        }));
        let more = More {
            peers: "none".to_owned(),
            certificate: "until 1970-01-02, 1 days left, by a".to_owned(),
            backup: "1970-01-01 00:00 by uid 0, 5 bytes".to_owned(),
            on_trial: true,
            alarms: vec![Trouble {
                level: Level::Warning,
                sentence: "too old".to_owned(),
            }],
        };
        let keys = "how".to_owned();
        assert_eq!(running, Health::Running { keys, more });
        let Health::Running { more, .. } = read(&json!({})) else {
            unreachable!("it runs")
        };
        assert_eq!((more.certificate.as_str(), more.backup.as_str()), ("none", "none yet"));
        let waiting = json!({"state": "running", "keys": "how", "federation": {"state": "unverified"}});
        let Health::Running { keys, .. } = read(&waiting) else {
            unreachable!("it runs")
        };
        assert!(keys.starts_with("how. ") && keys.contains("typed back"), "{keys}");
    }
}
