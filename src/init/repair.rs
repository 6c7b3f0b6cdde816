//! Work on the whole database before the exchange can answer: a repair, a migration, a copy under another key. It may
//! take hours and says how far it has got; what counts is when it said so last.

use lamchat_host::PROGRESS_WITHIN;
use std::time::{Duration, Instant};

/// How long all of it may take, counted over the exchange's restarts: work that never ends is no progress. A terabyte is
/// copied in three hours on a slow disk.
const TOTAL_MAX: Duration = Duration::from_secs(12 * 3600);
/// How long it may be silent. The exchange tells every five seconds; one commit of all that a step changed may take
/// minutes.
pub const SILENT_MAX: Duration = PROGRESS_WITHIN;

/// What is known of such work.
#[derive(Debug, Default)]
pub struct Repair {
    began: Option<Instant>,
    told: Option<Instant>,
}

impl Repair {
    /// It has got further.
    pub fn progress(&mut self, now: Instant) {
        self.began.get_or_insert(now);
        self.told = Some(now);
    }

    /// The exchange answers.
    pub fn ends(&mut self) {
        *self = Self::default();
    }

    /// For how long it has been silent; all the time that there is if it has taken too long altogether.
    pub fn silent(&self, now: Instant) -> Duration {
        let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if since(self.began) >= TOTAL_MAX {
            Duration::MAX
        } else {
            since(self.told)
        }
    }
}

/// What a notice of the exchange's says that it does, if it asks for time: sd_notify(3), `EXTEND_TIMEOUT_USEC=` and
/// `STATUS=`.
pub fn work(notice: &str) -> Option<&str> {
    let value = |name: &str| notice.lines().find_map(|line| line.strip_prefix(name));
    value("EXTEND_TIMEOUT_USEC=")?;
    value("STATUS=")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::init::state::State;
    use crate::init::vital::may_feed;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    fn is_alive(repair: &Repair, now: Instant) -> bool {
        may_feed(State::Repairing, repair.silent(now))
    }

    #[test]
    fn progress_keeps_it_alive_and_silence_ends_it() {
        let began = Instant::now();
        let at = |after: u64| began.checked_add(minutes(after)).unwrap();
        let mut repair = Repair::default();
        for minute in (0..600).step_by(10) {
            repair.progress(at(minute));
            assert!(is_alive(&repair, at(minute + 10)), "{minute}");
        }
        assert!(is_alive(&repair, at(590 + 14)));
        assert!(!is_alive(&repair, at(590 + 15)), "silent");
    }

    #[test]
    fn work_that_never_ends_is_ended_over_restarts_of_the_exchange_as_well() {
        let began = Instant::now();
        let at = |after: u64| began.checked_add(minutes(after)).unwrap();
        let mut repair = Repair::default();
        repair.progress(at(0));
        repair.progress(at(12 * 60 - 1));
        assert!(is_alive(&repair, at(12 * 60 - 1)));
        repair.progress(at(12 * 60));
        assert!(!is_alive(&repair, at(12 * 60)));
        repair.ends();
        repair.progress(at(12 * 60));
        assert!(is_alive(&repair, at(12 * 60)), "it answered in between");
    }

    #[test]
    fn only_a_notice_that_asks_for_time_is_work() {
        assert_eq!(
            work("STATUS=the log is read\nEXTEND_TIMEOUT_USEC=900000000"),
            Some("the log is read")
        );
        assert_eq!(work("STATUS=locked"), None);
        assert_eq!(work("READY=1"), None);
        assert_eq!(work("EXTEND_TIMEOUT_USEC=900000000"), None);
    }
}
