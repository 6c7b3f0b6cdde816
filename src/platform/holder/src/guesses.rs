//! Slows down wrong recovery keys and passphrases. Nothing is ever wiped: who has the right key gets in at last.

use parking_lot::Mutex;
use std::sync::Arc;

/// The wait after the first wrong key; each further one doubles it.
const WAIT_FIRST_MS: u64 = 1_000;
/// The longest wait.
const WAIT_MS_MAX: u64 = 60_000;

/// The wrong keys of this process, and when the next one may be tried.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wrong: u32,
    /// Milliseconds since 1970.
    not_before_ms: u64,
    /// One try at a time: each costs as much memory as the passphrase's slot says.
    busy: bool,
}

/// The next try has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// Wrong keys came before.
    #[error("after {wrong} wrong keys the next one may be tried in {seconds} s; nothing is lost by waiting")]
    Slowed {
        /// How many.
        wrong: u32,
        /// Seconds, rounded up.
        seconds: u64,
    },
    /// Another try is under way.
    #[error("another key is being tried; wait until it is done")]
    Busy,
}

/// A try that is under way. Dropping it without a result counts nothing.
#[derive(Debug)]
pub struct Guess(Arc<Guesses>);

impl Guesses {
    /// Begins a try, if one may be made at `now_ms`.
    pub fn begin(self: &Arc<Self>, now_ms: u64) -> Result<Guess, WaitError> {
        let mut state = self.0.lock();
        if state.busy {
            return Err(WaitError::Busy);
        }
        if now_ms < state.not_before_ms {
            return Err(WaitError::Slowed {
                wrong: state.wrong,
                seconds: (state.not_before_ms - now_ms).div_ceil(1_000),
            });
        }
        state.busy = true;
        Ok(Guess(Arc::clone(self)))
    }
}

impl Guess {
    /// It was the wrong key.
    pub fn wrong(self, now_ms: u64) {
        let mut state = self.0.0.lock();
        let wait_ms = WAIT_FIRST_MS.checked_shl(state.wrong).unwrap_or(WAIT_MS_MAX);
        state.wrong = state.wrong.saturating_add(1);
        // The shift may have pushed the bit out.
        let wait_ms = if wait_ms == 0 {
            WAIT_MS_MAX
        } else {
            wait_ms.min(WAIT_MS_MAX)
        };
        state.not_before_ms = now_ms.saturating_add(wait_ms);
    }

    /// It was the right one.
    pub fn right(self) {
        let mut state = self.0.0.lock();
        (state.wrong, state.not_before_ms) = (0, 0);
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        self.0.0.lock().busy = false;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Guesses, WaitError};
    use std::sync::Arc;

    #[test]
    fn waits_double_up_to_a_minute_and_end() {
        let guesses = Arc::new(Guesses::default());
        let mut now_ms = 1_000_000;
        for (count, seconds) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().chain([60; 80]).enumerate() {
            guesses.begin(now_ms).unwrap().wrong(now_ms);
            let wrong = count as u32 + 1;
            let refused = guesses.begin(now_ms + 1).unwrap_err();
            assert_eq!(refused, WaitError::Slowed { wrong, seconds });
            now_ms += seconds * 1_000;
        }
        guesses.begin(now_ms).unwrap().right();
        let under_way = guesses.begin(now_ms).unwrap();
        assert_eq!(guesses.begin(now_ms).unwrap_err(), WaitError::Busy);
        drop(under_way);
        guesses.begin(now_ms).unwrap().wrong(now_ms);
        assert_eq!(
            guesses.begin(now_ms).unwrap_err(),
            WaitError::Slowed { wrong: 1, seconds: 1 }
        );
    }
}
