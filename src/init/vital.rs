//! Whether the hardware watchdog is fed: a hung exchange must lead to a restart, waiting for an operator must not.

use super::repair;
use super::state::State;
use std::time::Duration;

/// How long a start may take: opening millions of events after a power cut, a slow TPM.
const STARTING_MAX: Duration = Duration::from_secs(15 * 60);
/// How long the exchange may be away before the machine is started again; it is restarted alone long before.
const DEGRADED_MAX: Duration = Duration::from_secs(10 * 60);
/// How long the end may take.
const STOPPING_MAX: Duration = Duration::from_secs(3 * 60);

/// Whether to feed, `elapsed` after the state was entered; while data are repaired, after that was last told to go on.
pub fn may_feed(state: State, elapsed: Duration) -> bool {
    match state {
        State::Install | State::SetUp | State::Locked | State::Serving | State::ReadOnly => true,
        State::Starting => elapsed < STARTING_MAX,
        State::Repairing => elapsed < repair::SILENT_MAX,
        State::Degraded => elapsed < DEGRADED_MAX,
        State::Stopping => elapsed < STOPPING_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_states_without_an_operator_have_a_deadline() {
        let year = Duration::from_secs(365 * 86_400);
        for state in [
            State::Install,
            State::SetUp,
            State::Locked,
            State::ReadOnly,
            State::Serving,
        ] {
            assert!(may_feed(state, year));
        }
        for state in [State::Starting, State::Repairing, State::Degraded, State::Stopping] {
            assert!(may_feed(state, Duration::from_secs(100)));
            assert!(!may_feed(state, year));
        }
    }
}
