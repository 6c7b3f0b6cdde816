//! Asks the exchange how it is, again and again, in a thread of its own: an exchange that hangs must hang nobody else.

use super::exchange;
use super::state::{Event, Health, Shared, State};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(3);

/// What the operator has not done yet.
const UNVERIFIED: &str = "Other servers are turned away until the recovery key was typed back";

/// Never ends.
pub fn watch(shared: &Arc<Shared>) {
    loop {
        std::thread::sleep(INTERVAL);
        if matches!(shared.state(), State::SetUp | State::Stopping) {
            continue;
        }
        let health = match exchange::call("GET", "/_lamchat/admin/v1/health", None) {
            Ok(answer) => read(&answer),
            Err(error) => Health::Silent(error.0),
        };
        shared.tell(Event::Health(health));
    }
}

fn read(answer: &Value) -> Health {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("state") {
        "locked" => Health::Locked(text("keys").to_owned()),
        _ => Health::Running {
            keys: match answer.pointer("/federation/state").and_then(Value::as_str) {
                Some("unverified") => format!("{}. {UNVERIFIED}", text("keys")),
                _ => text("keys").to_owned(),
            },
            has_accounts: answer.get("has_accounts").and_then(Value::as_bool).unwrap_or_default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Health, read};
    use serde_json::json;

    #[test]
    fn answers_are_told_apart() {
        let locked = read(&json!({"state": "locked", "keys": "why"}));
        assert_eq!(locked, Health::Locked("why".to_owned()));
        let running = read(&json!({"state": "running", "keys": "how", "has_accounts": true}));
        assert_eq!(
            running,
            Health::Running {
                keys: "how".to_owned(),
                has_accounts: true
            }
        );
        let waiting = json!({"state": "running", "keys": "how", "federation": {"state": "unverified"}});
        let Health::Running { keys, .. } = read(&waiting) else {
            unreachable!("it runs")
        };
        assert!(keys.starts_with("how. ") && keys.contains("typed back"), "{keys}");
    }
}
