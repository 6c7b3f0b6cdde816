//! Looks at everything that administrators look after, and tells them in their room what has changed.

use super::wiring::Parts;
use lamchat_api_admin::{alarm, standing};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What fails is told within a minute: the hardware is read every 20 s.
const LOOK: Duration = Duration::from_secs(10);
/// How long the first look at the hardware may take.
const EARLY: Duration = Duration::from_secs(30);
/// How often a box's slots are read, by a process of its own.
const SLOTS: Duration = Duration::from_secs(600);

/// Never ends. `is_told`: whether the room is wanted; else the slots alone are looked at, for health and metrics.
pub async fn tell_forever(parts: Arc<Parts>, is_told: bool) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    let (mut slots, mut trouble) = (None::<Instant>, String::new());
    loop {
        ticks.tick().await;
        if slots.is_none_or(|at| at.elapsed() > SLOTS) {
            slots = Some(Instant::now());
            if let Err(error) = standing::look(&parts.admin).await {
                tracing::warn!(error = error.message.as_str(), "the slots of the box could not be read");
            }
        }
        // Before the hardware was read once, nothing is known of it; a machine may tell nothing at all.
        let is_early = began.elapsed() < EARLY && parts.admin.hardware.load().readings.is_empty();
        if !is_told || is_early {
            continue;
        }
        let admin = Arc::clone(&parts.admin);
        let alarms = match tokio::task::spawn_blocking(move || alarm::all(&admin)).await {
            Ok(Ok(alarms)) => alarms,
            Ok(Err(error)) => {
                tracing::warn!(error = error.message.as_str(), "what to look after is not known");
                continue;
            }
            // The runtime ends.
            Err(_) => return,
        };
        let told = parts.notices.look(&alarms, parts.clock.now_ms()).await;
        let sentence = told.err().map(|error| error.to_string()).unwrap_or_default();
        if !sentence.is_empty() && sentence != trouble {
            tracing::error!(error = sentence, "administrators are not told in their room");
        }
        trouble = sentence;
    }
}
