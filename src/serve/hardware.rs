//! Reads the hardware from time to time, and tells the log what changed.

use super::wiring::Parts;
use lamchat_hardware::{Health, Reading, Root, State, Surveyor};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// A disk that was pulled is to be told within a minute.
const SURVEY: Duration = Duration::from_secs(20);

/// Reads it at once, and again and again, until the runtime ends. `folder`: the kernel's /sys.
pub async fn survey_forever(parts: Arc<Parts>, folder: PathBuf) {
    let surveyor = Arc::new(Surveyor::new(Root::at(folder)));
    let mut ticks = interval(SURVEY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // What process 1 of a box found need not wait.
            () = parts.admin.told_news.notified() => {}
        }
        let surveyor = Arc::clone(&surveyor);
        // The runtime ends.
        let Ok(health) = tokio::task::spawn_blocking(move || surveyor.survey()).await else {
            return;
        };
        let told = parts.admin.told.load_full();
        let told = told.map(|told| told.readings(parts.admin.now_ms()));
        let health = health.with(told.unwrap_or_default());
        for reading in changed(&parts.admin.hardware.load(), &health) {
            match reading.state {
                State::Well => tracing::info!(part = reading.part.word(), "hardware is well again: {reading}"),
                State::Warning => tracing::warn!(part = reading.part.word(), "hardware: {reading}"),
                State::Failed => tracing::error!(part = reading.part.word(), "hardware has failed: {reading}"),
            }
        }
        parts.admin.hardware.store(Arc::new(health));
    }
}

/// What is in another state than before; what is new counts as having been well.
fn changed<'a>(before: &Health, now: &'a Health) -> Vec<&'a Reading> {
    let key = |reading: &Reading| (reading.part, reading.name.clone());
    let before: BTreeMap<_, _> = before
        .readings
        .iter()
        .map(|reading| (key(reading), reading.state))
        .collect();
    let was = |reading: &Reading| before.get(&key(reading)).copied().unwrap_or(State::Well);
    now.readings
        .iter()
        .filter(|reading| was(reading) != reading.state)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Health, Reading, State, changed};
    use lamchat_hardware::Part;

    #[test]
    fn what_stays_is_told_once() {
        let fan = Reading::new(Part::Fan, "fan1", "");
        let still = fan.clone().worse(State::Failed, "it stands still");
        let of = |reading: &Reading| Health {
            readings: vec![reading.clone()],
        };
        let none = Health::default();
        assert!(changed(&none, &of(&fan)).is_empty());
        assert_eq!(changed(&none, &of(&still)), [&still]);
        assert!(changed(&of(&still), &of(&still)).is_empty());
        assert_eq!(changed(&of(&still), &of(&fan)), [&fan]);
    }
}
