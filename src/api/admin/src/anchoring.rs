//! How the anchor in the TPM is, for whoever asks.

use parking_lot::Mutex;
use serde_json::{Value, json};

/// Written by the task that keeps the anchor, read by handlers.
#[derive(Debug, Default)]
pub struct Anchoring(Mutex<State>);

#[derive(Debug, Default, Clone)]
struct State {
    /// When it was written last in this run, and the commit.
    written: Option<(u64, u64)>,
    /// Since when it is not, and why.
    trouble: Option<(u64, String)>,
}

impl Anchoring {
    /// It was written for a commit, or was not, for a reason.
    pub fn note(&self, written: Result<u64, String>, now_ms: u64) {
        let mut state = self.0.lock();
        match written {
            Ok(commit) => {
                *state = State {
                    written: Some((now_ms, commit)),
                    trouble: None,
                }
            }
            Err(why) => {
                let since = state.trouble.as_ref().map_or(now_ms, |(since, _)| *since);
                state.trouble = Some((since, why));
            }
        }
    }

    /// Whether it could not be written the last time.
    pub fn is_late(&self) -> bool {
        self.0.lock().trouble.is_some()
    }

    /// As JSON.
    pub fn describe(&self) -> Value {
        let state = self.0.lock().clone();
        json!({
            "written_ms": state.written.map(|(at, _)| at),
            "commit": state.written.map(|(_, commit)| commit),
            "trouble": state.trouble.map(|(since, why)| json!({"since_ms": since, "sentence": why})),
        })
    }
}
