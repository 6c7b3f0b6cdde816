//! A release that is not marked good yet: what it may take, and when it is left for the one before. The boot loader
//! counts; all that happens here is that the machine starts again, or that a start is not counted.
//!
//! What must never happen here: that a release is left because of something that its predecessor could not help.

use super::state::{Shared, State};
use super::{update, vital};
use lamchat_holder::Blame;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a release may take until it answers, or be away. A release that is marked good has longer (`vital`): there
/// is nothing to fall back to.
const AWAY_MAX: Duration = Duration::from_secs(3 * 60);
/// How long after the exchange was first started a release may go on without being marked good: one that answers now and
/// then is none that anybody wants.
const TRIAL_MAX: Duration = Duration::from_secs(30 * 60);
/// How long the console shows why the keys did not open before the release is left, so that somebody may read it.
const LOCKED_MAX: Duration = Duration::from_secs(60);

/// What is known of the trial.
#[derive(Debug, Default)]
pub struct Trial {
    /// Not before the exchange is started: the boot loader's variables come late.
    is_counted: bool,
    /// When the exchange was started first, or last told that it works on the data: how long that takes is no fault.
    since: Option<Instant>,
}

impl Trial {
    /// The exchange is started.
    pub fn begins(&mut self, now: Instant) {
        if self.since.is_none() {
            self.since = Some(now);
            self.is_counted = update::is_counted();
        }
    }

    /// The exchange works on the data, and has got further.
    pub fn progress(&mut self, now: Instant) {
        self.since = self.since.map(|_| now);
    }

    /// The release was marked good.
    pub fn ends(&mut self) {
        self.is_counted = false;
    }

    /// Why the machine should start again, if it should. `elapsed`: since `state` was entered, or since the last progress of
    /// a repair.
    pub fn verdict(&self, now: Instant, state: State, elapsed: Duration) -> Option<&'static str> {
        // Without an exchange the box waits for an operator, whatever its state is called.
        let since = self.since?;
        if !matches!(
            state,
            State::Starting | State::Repairing | State::Serving | State::Degraded
        ) {
            return None;
        }
        if !vital::may_feed(state, elapsed) {
            return Some("the exchange does not come to answer: the machine starts again");
        }
        if !self.is_counted {
            return None;
        }
        if matches!(state, State::Starting | State::Degraded) && elapsed >= AWAY_MAX {
            return Some("the release on trial does not come to answer: the machine starts again");
        }
        let over = now.saturating_duration_since(since) >= TRIAL_MAX;
        over.then_some("the release on trial does not stay: the machine starts again")
    }
}

/// A start whose keys did not open by themselves.
#[derive(Debug)]
pub struct Refused {
    since: Instant,
    is_done: bool,
    /// Whether this start was given back until the keys are open.
    is_given_back: bool,
}

impl Refused {
    /// Just now. A machine that has changed is not the release's doing: such starts do not count, however many there are.
    /// Nor does one that waits for a PIN, until it is typed: the power may go as often as it likes before.
    pub fn new(shared: &Arc<Shared>, blame: Blame) -> Self {
        let is_counted = update::is_counted();
        let mut is_given_back = false;
        if is_counted && blame == Blame::Pin {
            let given = update::errand(shared, "--uncount");
            is_given_back = given.is_ok();
            shared.log.note(match given {
                Ok(()) => "this start is not counted before the TPM PIN is typed",
                Err(_) => "this start is counted, although it waits for the TPM PIN",
            });
        }
        if is_counted && blame == Blame::Machine {
            shared.log.note(match update::errand(shared, "--hold") {
                Ok(()) => "this start is not counted: no other release would open the keys",
                Err(_) => "this start is counted, although no other release would open the keys",
            });
        }
        Self {
            since: Instant::now(),
            is_done: !is_counted || blame != Blame::Release,
            is_given_back,
        }
    }

    /// Somebody opened the keys: what the release does with them counts.
    pub fn opened(self, shared: &Arc<Shared>) {
        if self.is_given_back
            && let Err(error) = update::errand(shared, "--count")
        {
            shared.log.note(&format!("this start is not counted: {error}"));
        }
    }

    /// Leaves the release once it is time, unless an operator is at work or there is nothing to fall back to.
    pub fn look(&mut self, shared: &Arc<Shared>) {
        if self.is_done || self.since.elapsed() < LOCKED_MAX || shared.operator.try_lock().is_none() {
            return;
        }
        self.is_done = true;
        shared.log.note(match update::errand(shared, "--leave") {
            Ok(()) => "the keys did not open for the release on trial: if there is another, the machine starts again",
            Err(_) => "the keys did not open for the release on trial, and nobody knows whether there is another",
        });
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::init::repair::Repair;

    fn after(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn a_release_on_trial_has_less_time_and_one_that_waits_for_an_operator_has_all() {
        let began = Instant::now();
        let mut trial = Trial::default();
        let verdict = |trial: &Trial, state, minutes, elapsed| {
            let now = began.checked_add(after(minutes)).unwrap();
            trial.verdict(now, state, after(elapsed)).is_some()
        };
        assert!(!verdict(&trial, State::Degraded, 99, 99), "no exchange was started");
        trial.begins(began);
        trial.is_counted = true;
        for state in [State::Locked, State::SetUp, State::Install, State::Stopping] {
            assert!(!verdict(&trial, state, 99, 99), "{state:?}");
        }
        for state in [State::Starting, State::Degraded] {
            assert!(!verdict(&trial, state, 2, 2), "{state:?}");
            assert!(verdict(&trial, state, 3, 3), "{state:?}");
        }
        assert!(!verdict(&trial, State::Serving, 29, 9));
        assert!(verdict(&trial, State::Serving, 30, 9), "it comes and goes");
        trial.ends();
        assert!(!verdict(&trial, State::Serving, 999, 999));
        assert!(!verdict(&trial, State::Starting, 14, 14));
        assert!(
            verdict(&trial, State::Starting, 15, 15),
            "a good one has its deadline, too"
        );
    }

    #[test]
    fn a_release_on_trial_that_waits_for_its_pin_has_its_time_from_there() {
        let began = Instant::now();
        let at = |minutes| began.checked_add(after(minutes)).unwrap();
        let mut trial = Trial::default();
        // A night without anybody at the console: there is no exchange yet, and no clock runs.
        assert_eq!(trial.verdict(at(600), State::Locked, after(600)), None);
        assert_eq!(trial.verdict(at(600), State::Starting, after(0)), None);
        trial.begins(at(600));
        trial.is_counted = true;
        assert_eq!(trial.verdict(at(602), State::Starting, after(2)), None);
        assert!(trial.verdict(at(603), State::Starting, after(3)).is_some());
        // The key holder ended and asks again: the half hour counts from the last of that.
        trial.progress(at(700));
        assert_eq!(trial.verdict(at(729), State::Serving, after(1)), None);
        assert!(trial.verdict(at(730), State::Serving, after(1)).is_some());
    }

    #[test]
    fn a_release_on_trial_that_repairs_has_time_as_long_as_it_goes_on() {
        let began = Instant::now();
        let at = |minutes| began.checked_add(after(minutes)).unwrap();
        let (mut trial, mut repair) = (Trial::default(), Repair::default());
        trial.begins(began);
        trial.is_counted = true;
        let verdict = |trial: &Trial, repair: &Repair, now| trial.verdict(now, State::Repairing, repair.silent(now));
        for minute in 0..120 {
            repair.progress(at(minute));
            trial.progress(at(minute));
            assert_eq!(verdict(&trial, &repair, at(minute + 1)), None, "{minute}");
        }
        assert_eq!(verdict(&trial, &repair, at(119 + 14)), None);
        assert!(verdict(&trial, &repair, at(119 + 15)).is_some(), "silent");
        // The half hour for answering counts from there.
        assert_eq!(trial.verdict(at(119 + 29), State::Serving, after(1)), None);
        assert!(trial.verdict(at(119 + 30), State::Serving, after(1)).is_some());
        let mut endless = Repair::default();
        endless.progress(at(0));
        endless.progress(at(12 * 60));
        trial.progress(at(12 * 60));
        assert!(verdict(&trial, &endless, at(12 * 60)).is_some(), "it never ends");
    }
}
