//! Decides what is told: a change once, a recovery when it lasts, and never too often. Pure.

use crate::alarm::{Alarm, Level};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How long something has to be well again before that is told: what flickers is not.
pub const CALM_MS: u64 = 30_000;
/// How long something may not be reported before that is told.
pub const ABSENT_MS: u64 = 10 * 60_000;
/// An hour, in which only so much is told.
const HOUR_MS: u64 = 60 * 60_000;
/// Changes of one datum in an hour; what comes after them waits, and only the newest is told.
pub const CHANGES_AN_HOUR: usize = 6;
/// Messages in an hour; what comes after them waits, and is told together.
pub const MESSAGES_AN_HOUR: usize = 30;
/// Data that are remembered. More are never told.
pub const KEYS_MAX: usize = 2048;
/// Lines of a message; the rest is counted.
pub const LINES_MAX: usize = 20;

/// What was told of a datum last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How it was.
    pub level: Level,
    /// What was news of it.
    #[serde(default)]
    pub news: String,
    /// The sentence.
    pub sentence: String,
    /// When changes of it were told, in the last hour.
    #[serde(default)]
    pub at_ms: Vec<u64>,
}

/// Something to be told, or to be remembered without a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The datum.
    pub key: String,
    /// The line; `None`: nothing is said.
    pub line: Option<String>,
    /// What is remembered; `None`: it is forgotten.
    pub told: Option<Told>,
}

/// Knows what was told.
#[derive(Debug, Default)]
pub struct Teller {
    told: BTreeMap<String, Told>,
    /// Since when each datum is better than what was told, or absent.
    calm: BTreeMap<String, u64>,
    /// When messages were sent, in the last hour.
    messages: VecDeque<u64>,
}

impl Teller {
    /// With what earlier starts told.
    pub fn new(told: BTreeMap<String, Told>) -> Self {
        Self {
            told,
            ..Self::default()
        }
    }

    /// What is due now. Nothing is taken for told before [`Teller::note`].
    pub fn due(&mut self, alarms: &[Alarm], now_ms: u64) -> Vec<Due> {
        while self
            .messages
            .front()
            .is_some_and(|at| at.saturating_add(HOUR_MS) <= now_ms)
        {
            self.messages.pop_front();
        }
        if self.messages.len() >= MESSAGES_AN_HOUR {
            return Vec::new();
        }
        let mut due: Vec<Due> = alarms.iter().filter_map(|alarm| self.change(alarm, now_ms)).collect();
        let gone: Vec<String> = self
            .told
            .iter()
            .filter(|(key, told)| told.level != Level::Well && !alarms.iter().any(|alarm| alarm.key == **key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            let since = *self.calm.entry(key.clone()).or_insert(now_ms);
            if now_ms.saturating_sub(since) >= ABSENT_MS {
                let before = self.told.get(&key).map(|told| told.sentence.clone());
                let line = format!("no longer reported: {}", before.unwrap_or_default());
                due.push(Due {
                    key,
                    line: Some(line),
                    told: None,
                });
            }
        }
        due
    }

    fn change(&mut self, alarm: &Alarm, now_ms: u64) -> Option<Due> {
        let known = self.told.get(&alarm.key);
        if known.is_none() && self.told.len() >= KEYS_MAX {
            return None;
        }
        let before = known.cloned().unwrap_or_default();
        let is_better = alarm.level < before.level;
        let is_absent_no_more = !is_better;
        if is_absent_no_more {
            self.calm.remove(&alarm.key);
        }
        let line = if alarm.level > before.level {
            let word = if alarm.level == Level::Failed {
                "FAILED"
            } else {
                "WARNING"
            };
            Some(format!("{word}: {}", alarm.sentence))
        } else if is_better {
            let since = *self.calm.entry(alarm.key.clone()).or_insert(now_ms);
            if now_ms.saturating_sub(since) < CALM_MS {
                return None;
            }
            let word = if alarm.level == Level::Well {
                "well again"
            } else {
                "better"
            };
            Some(format!("{word}: {}", alarm.sentence))
        } else if alarm.news == before.news {
            return None;
        } else {
            // What is seen for the first time, and is well, is how it has always been.
            known.map(|_| format!("changed: {}", alarm.sentence))
        };
        let mut at_ms: Vec<u64> = before
            .at_ms
            .into_iter()
            .filter(|at| at.saturating_add(HOUR_MS) > now_ms)
            .collect();
        if line.is_some() {
            if at_ms.len() >= CHANGES_AN_HOUR {
                return None;
            }
            at_ms.push(now_ms);
        }
        Some(Due {
            key: alarm.key.clone(),
            line,
            told: Some(Told {
                level: alarm.level,
                news: alarm.news.clone(),
                sentence: alarm.sentence.clone(),
                at_ms,
            }),
        })
    }

    /// It was told.
    pub fn note(&mut self, due: &[Due], now_ms: u64) {
        if due.iter().any(|due| due.line.is_some()) {
            self.messages.push_back(now_ms);
        }
        for due in due {
            self.calm.remove(&due.key);
            match &due.told {
                Some(told) => self.told.insert(due.key.clone(), told.clone()),
                None => self.told.remove(&due.key),
            };
        }
    }
}

/// The message; `None`: there is nothing to say.
pub fn message(due: &[Due]) -> Option<String> {
    let lines: Vec<&str> = due.iter().filter_map(|due| due.line.as_deref()).collect();
    if lines.is_empty() {
        return None;
    }
    let mut text = lines.iter().take(LINES_MAX).copied().collect::<Vec<_>>().join("\n");
    let more = lines.len().saturating_sub(LINES_MAX);
    if more > 0 {
        text.push_str(&format!("\nand {more} more: lamchat health tells them"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fan(level: Level) -> Alarm {
        Alarm::new("hardware/fan/fan1", level, format!("fan1: {}", level.word()))
    }

    /// Looks, notes what is due, and answers the message.
    fn look(teller: &mut Teller, alarms: &[Alarm], now_ms: u64) -> Option<String> {
        let due = teller.due(alarms, now_ms);
        teller.note(&due, now_ms);
        message(&due)
    }

    #[test]
    fn a_change_is_told_once_and_a_recovery_when_it_lasts() {
        let mut teller = Teller::default();
        assert_eq!(look(&mut teller, &[fan(Level::Well)], 0), None);
        let told = look(&mut teller, &[fan(Level::Warning)], 1000);
        assert_eq!(told.as_deref(), Some("WARNING: fan1: warning"));
        for now in [2000, 3000] {
            assert_eq!(look(&mut teller, &[fan(Level::Warning)], now), None);
        }
        let told = look(&mut teller, &[fan(Level::Failed)], 4000);
        assert_eq!(told.as_deref(), Some("FAILED: fan1: failed"));
        // Flickers: not well for long enough.
        assert_eq!(look(&mut teller, &[fan(Level::Well)], 5000), None);
        assert_eq!(look(&mut teller, &[fan(Level::Failed)], 6000), None);
        assert_eq!(look(&mut teller, &[fan(Level::Well)], 5000 + CALM_MS), None);
        let told = look(&mut teller, &[fan(Level::Well)], 5000 + 2 * CALM_MS);
        assert_eq!(told.as_deref(), Some("well again: fan1: well"));
        assert_eq!(look(&mut teller, &[fan(Level::Well)], 5000 + 3 * CALM_MS), None);
    }

    #[test]
    fn what_flaps_and_what_is_much_waits() {
        let mut teller = Teller::default();
        let mut told = 0;
        for round in 0..100 {
            let level = if round % 2 == 0 { Level::Failed } else { Level::Well };
            // Each state lasts long enough to be told: 100 minutes in all.
            for now_ms in [round * 2 * CALM_MS, (round * 2 + 1) * CALM_MS] {
                told += usize::from(look(&mut teller, &[fan(level)], now_ms).is_some());
            }
        }
        assert!((CHANGES_AN_HOUR..=2 * CHANGES_AN_HOUR).contains(&told), "{told}");

        let mut teller = Teller::default();
        let mut told = 0;
        for number in 0..100 {
            let alarm = Alarm::new(format!("a{number}"), Level::Failed, "x");
            told += usize::from(look(&mut teller, &[alarm], number).is_some());
        }
        assert_eq!(told, MESSAGES_AN_HOUR);
        let all: Vec<Alarm> = (0..100)
            .map(|number| Alarm::new(format!("a{number}"), Level::Failed, "x"))
            .collect();
        let text = look(&mut teller, &all, HOUR_MS + 200).unwrap_or_default();
        assert!(text.ends_with("and 50 more: lamchat health tells them"), "{text}");
    }

    #[test]
    fn news_are_told_and_the_first_is_how_it_was() {
        let seal = |sentence: &str| [Alarm::with_news("seal", Level::Well, sentence)];
        let mut teller = Teller::default();
        assert_eq!(look(&mut teller, &seal("by the TPM"), 0), None);
        assert_eq!(look(&mut teller, &seal("by the TPM"), 1), None);
        let told = look(&mut teller, &seal("by a file"), 2);
        assert_eq!(told.as_deref(), Some("changed: by a file"));

        // Another start knows what was told.
        let mut again = Teller::new(teller.told);
        assert_eq!(look(&mut again, &seal("by a file"), 3), None);
    }

    #[test]
    fn what_vanishes_is_told_after_a_while() {
        let mut teller = Teller::default();
        assert!(look(&mut teller, &[fan(Level::Failed)], 0).is_some());
        assert_eq!(look(&mut teller, &[], 1), None);
        assert_eq!(look(&mut teller, &[fan(Level::Failed)], 2), None);
        assert_eq!(look(&mut teller, &[], 3), None);
        assert_eq!(look(&mut teller, &[], ABSENT_MS), None);
        let told = look(&mut teller, &[], 3 + ABSENT_MS);
        assert_eq!(told.as_deref(), Some("no longer reported: fan1: failed"));
        assert_eq!(look(&mut teller, &[], 4 + ABSENT_MS), None);
    }
}
