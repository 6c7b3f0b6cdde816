//! Something that somebody should look after, and how bad it is: what the status screen orders its lines by.

use lamchat_hardware::{Reading, State};
use lamchat_notices::Level;
use serde_json::Value;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// How bad it is; never [`Level::Well`].
    pub level: Level,
    /// What it is, without a full stop.
    pub sentence: String,
}

impl Trouble {
    /// Of the hardware. What is well is none.
    pub fn of_reading(reading: &Reading) -> Option<Self> {
        let level = match reading.state {
            State::Well => return None,
            State::Warning => Level::Warning,
            State::Failed => Level::Failed,
        };
        let sentence = reading.to_string();
        Some(Self { level, sentence })
    }

    /// One of the exchange's alarms, as it tells them; `None`: not of that form. A state that only a later release knows
    /// counts as a warning: it is not well, or it would not be there.
    pub fn of_alarm(alarm: &Value) -> Option<Self> {
        let sentence = alarm.get("sentence").and_then(Value::as_str)?.to_owned();
        let state = alarm.get("state").and_then(Value::as_str);
        let level = if state == Some(Level::Failed.word()) {
            Level::Failed
        } else {
            Level::Warning
        };
        Some(Self { level, sentence })
    }
}
