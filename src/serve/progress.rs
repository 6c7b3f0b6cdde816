//! Tells the service manager how far a start has got that works on the whole database, so that it waits for it and sees
//! one that hangs.

use lamchat_store::{Progress, Work};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two notices, and before the first: an ordinary start is over by then.
const PAUSE: Duration = Duration::from_secs(5);

/// What opening the store tells, as notices.
pub fn listener() -> Progress {
    let is_logged = AtomicBool::new(false);
    let rate = Mutex::new(Rate::from(Instant::now()));
    Progress::to(move |work: Work| {
        if !rate.lock().is_due(Instant::now()) {
            return;
        }
        if !is_logged.swap(true, Ordering::Relaxed) {
            tracing::info!("the start takes longer: {work}");
        }
        if let Err(error) = lamchat_host::notify_progress(&work.to_string()) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    })
}

/// Lets through one of many.
struct Rate {
    last: Instant,
}

impl Rate {
    fn from(began: Instant) -> Self {
        Self { last: began }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.last) >= PAUSE;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_quick_start_tells_nothing_and_a_long_one_now_and_then() {
        let began = Instant::now();
        let after = |milliseconds| began.checked_add(Duration::from_millis(milliseconds)).unwrap();
        let mut rate = Rate::from(began);
        let told = [0, 4_999, 5_000, 5_001, 9_999, 10_000, 60_000].map(|at| rate.is_due(after(at)));
        assert_eq!(told, [false, false, true, false, false, true, true]);
    }
}
