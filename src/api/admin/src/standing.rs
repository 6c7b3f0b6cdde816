//! How the release that runs came here, and what else lies in the box's slots.

use crate::route::parse;
use crate::{Admin, AdminError, audit, update};
use arc_swap::ArcSwapOption;
use lamchat_audit::Entry;
use lamchat_http::Request;
use lamchat_notices::{Alarm, Level};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest name of a slot or a release.
const WORD_BYTES_MAX: usize = 64;

/// Of the release that runs. Not a box: it is simply there.
#[derive(Debug, Default)]
pub struct Standing {
    is_box: bool,
    on_trial: AtomicBool,
    /// What the updater said of the slots last.
    slots: ArcSwapOption<Value>,
}

impl Standing {
    /// At the start.
    pub fn new(is_box: bool, on_trial: bool) -> Self {
        Self {
            is_box,
            on_trial: AtomicBool::new(on_trial),
            slots: ArcSwapOption::empty(),
        }
    }

    /// Whether it was not marked good yet.
    pub fn is_on_trial(&self) -> bool {
        self.on_trial.load(Ordering::Relaxed)
    }

    /// For `lamchat health`.
    pub(crate) fn describe(&self) -> Value {
        json!({"on_trial": self.is_on_trial()})
    }

    /// What administrators are told of releases.
    pub(crate) fn alarms(&self, version: &str) -> Vec<Alarm> {
        if !self.is_box {
            return Vec::new();
        }
        let how = if self.is_on_trial() { "on trial" } else { "marked good" };
        let mut alarms = vec![Alarm::with_news(
            "update/running",
            Level::Well,
            format!("release {version} runs, {how}"),
        )];
        let Some(told) = self.slots.load_full() else {
            return alarms;
        };
        let staged = told.get("staged").and_then(Value::as_str);
        let staged = staged.map_or_else(
            || "no update waits to be installed".to_owned(),
            |version| format!("release {version} was checked and can be installed"),
        );
        alarms.push(Alarm::with_news("update/staged", Level::Well, staged));
        for slot in told.get("slots").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| slot.get(key).and_then(Value::as_str).unwrap_or_default();
            let given_up = slot.get("tries_left").and_then(Value::as_u64) == Some(0)
                && slot.get("runs").and_then(Value::as_bool) != Some(true);
            let (level, what) = if given_up {
                (Level::Failed, "was tried, never marked good, and left again")
            } else {
                (Level::Well, "has nothing that was given up")
            };
            alarms.push(Alarm::new(
                format!("update/slot-{}", text("slot")),
                level,
                format!("slot {} {what}", text("slot")),
            ));
        }
        alarms
    }
}

/// Asks the updater what is in the slots; nothing where there is none.
pub async fn look(admin: &Admin) -> Result<(), AdminError> {
    if admin.standing.is_box {
        let told = update::ask(admin, json!({"act": "status"}), None).await?;
        admin.standing.slots.store(Some(Arc::new(told)));
    }
    Ok(())
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Good {
    slot: String,
    state: String,
}

/// Process 1 is about to mark the release that runs as good, or has done so.
pub async fn good(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let actor = audit::check_box(&request)?;
    let Good { slot, state } = parse(&request)?;
    if slot.len() > WORD_BYTES_MAX || !["begun", "done"].contains(&state.as_str()) {
        return Err(AdminError::invalid("A slot, and begun or done"));
    }
    let entry = Entry::new(admin.now_ms(), actor, "update.good")
        .subject(&admin.version)
        .fact("slot", slot)
        .fact("state", &state);
    let noting = Arc::clone(&admin);
    let task = tokio::task::spawn_blocking(move || audit::append(&noting, entry));
    task.await.map_err(AdminError::internal)??;
    if state == "done" {
        admin.standing.on_trial.store(false, Ordering::Relaxed);
    }
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_release_that_was_left_again_is_told() {
        let standing = Standing::new(true, true);
        let sentences = |standing: &Standing| -> Vec<(Level, String)> {
            let alarms = standing.alarms("0.2.0").into_iter();
            alarms.map(|alarm| (alarm.level, alarm.sentence)).collect()
        };
        assert_eq!(
            sentences(&standing),
            [(Level::Well, "release 0.2.0 runs, on trial".to_owned())]
        );
        standing.slots.store(Some(Arc::new(json!({
            "staged": "0.3.0",
            "slots": [
                {"slot": "a", "runs": true},
                {"slot": "b", "tries_left": 0, "runs": false},
            ],
        }))));
        let told = sentences(&standing);
        assert_eq!(told.get(1).unwrap().1, "release 0.3.0 was checked and can be installed");
        assert_eq!(told.iter().filter(|(level, _)| *level == Level::Failed).count(), 1);
        assert!(Standing::default().alarms("0.2.0").is_empty());
    }
}
