//! Something that an administrator looks after.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    #[default]
    Well,
    /// Somebody should look at it soon.
    Warning,
    /// It has failed, or is about to.
    Failed,
}

impl Level {
    /// The word, for JSON and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One datum, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Which one, for ever: `hardware/disk/nvme0 wear`, `certificate`.
    pub key: String,
    /// How it is.
    pub level: Level,
    /// For people: what it is and how, without a full stop.
    pub sentence: String,
    /// What of it is told again when it changes, although the level does not; empty: nothing.
    pub news: String,
}

impl Alarm {
    /// A datum whose level alone is told.
    pub fn new(key: impl Into<String>, level: Level, sentence: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            level,
            sentence: sentence.into(),
            news: String::new(),
        }
    }

    /// A datum of which each change is told.
    pub fn with_news(key: impl Into<String>, level: Level, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self {
            key: key.into(),
            level,
            news: sentence.clone(),
            sentence,
        }
    }
}
