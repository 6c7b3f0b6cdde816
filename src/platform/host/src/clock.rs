//! The real time. It never goes backwards within a process, even if somebody sets the system's clock back.

use lamchat_base::Clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The system's clock. Share one instance: each remembers the latest time that it told.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest_ms: AtomicU64,
}

impl SystemClock {
    /// A clock that has told no time yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The later of what the system says and what was told before.
    fn tell(&self, system_ms: u64) -> u64 {
        self.latest_ms.fetch_max(system_ms, Ordering::Relaxed).max(system_ms)
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // Before 1970 the clock is simply not set.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.tell(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::SystemClock;
    use lamchat_base::Clock;

    #[test]
    fn time_stands_still_when_the_system_goes_back() {
        let clock = SystemClock::new();
        assert_eq!([clock.tell(5), clock.tell(3), clock.tell(6)], [5, 5, 6]);
        // Later than when this was written, earlier than the year 2200.
        assert!((1_760_000_000_000..7_260_000_000_000).contains(&clock.now_ms()));
    }
}
