//! Who may act: before the set-up everybody, then whoever types the console's PIN or the recovery key.

use super::screen::{Echo, Screen};
use crate::init::keys;
use crate::init::late::{self, Act};
use crate::init::state::Shared;
use lamchat_appliance::pin::{self, PIN_DIGITS_MAX};
use lamchat_holder::Typed;
use std::time::{Duration, Instant};

/// The first wait after a wrong answer; it doubles.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(5 * 60);
/// Wrong answers without a wait: slips of the finger.
const SLIPS: u32 = 3;

/// Wrong answers since the last right one, over all consoles.
#[derive(Debug, Default)]
pub struct Guesses {
    wrong: u32,
    not_before: Option<Instant>,
}

impl Guesses {
    /// How long nobody may try yet.
    pub fn wait(&self, now: Instant) -> Duration {
        self.not_before
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// Counts before the answer is looked at, so that a second console cannot guess meanwhile.
    pub fn begin(&mut self, now: Instant) {
        self.wrong += 1;
        if self.wrong > SLIPS {
            let doubled = 1u32 << (self.wrong - SLIPS - 1).min(16);
            self.not_before = Some(now + WAIT_FIRST.saturating_mul(doubled).min(WAIT_MAX));
        }
    }

    /// The answer was right.
    pub fn right(&mut self) {
        *self = Self::default();
    }
}

/// Asks for the PIN, if there is one. Without the configuration (keys locked) there is none that could be compared.
pub fn pass(screen: &mut Screen, shared: &Shared) -> std::io::Result<bool> {
    let kept = shared.site.lock().as_ref().and_then(|site| site.pin.clone());
    let Some(kept) = kept else { return Ok(true) };
    let wait = shared.guesses.lock().wait(Instant::now());
    if !wait.is_zero() {
        screen.page("Not yet", &format!("After wrong PINs: wait {} s.", wait.as_secs() + 1))?;
        screen.pause()?;
        return Ok(false);
    }
    screen.page(
        "Who are you?",
        "Type the console PIN, or the recovery key. Esc goes back.",
    )?;
    let Some(typed) = screen.ask("PIN", Echo::Hidden)? else {
        return Ok(false);
    };
    shared.guesses.lock().begin(Instant::now());
    let right = if typed.len() <= PIN_DIGITS_MAX {
        pin::verify(&typed, &kept).map_err(|error| error.to_string())
    } else if keys_are_open(shared) {
        Ok(keys::typed(&Typed::VerifyRecovery(keys::secret(&typed))).is_ok())
    } else {
        Err("the recovery key can be compared once the keys are open".to_owned())
    };
    match right {
        Ok(true) => {
            shared.guesses.lock().right();
            return Ok(true);
        }
        Ok(false) => {
            shared.log.note("a wrong PIN or recovery key was typed on a console");
            if let Err(error) = late::note(shared, Act::new("wrong-pin", &screen.name)) {
                shared
                    .log
                    .note(&format!("the wrong PIN is not in the audit log: {error}"));
            }
            screen.page("Wrong", "That is neither the PIN nor the recovery key.")?;
        }
        Err(error) => screen.page("Not possible", &error)?,
    }
    screen.pause()?;
    Ok(false)
}

/// Whether the key holder can compare what is typed.
fn keys_are_open(shared: &Shared) -> bool {
    let status = shared.status.lock();
    status.is_open() || status.is_read_only
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_answers_take_longer_and_longer() {
        let now = Instant::now();
        let mut guesses = Guesses::default();
        let waits: Vec<u64> = (0..6)
            .map(|_| {
                guesses.begin(now);
                guesses.wait(now).as_secs()
            })
            .collect();
        assert_eq!(waits, [0, 0, 0, 1, 2, 4]);
        for _ in 0..100 {
            guesses.begin(now);
        }
        assert_eq!(guesses.wait(now), WAIT_MAX);
        guesses.right();
        assert!(guesses.wait(now).is_zero());
    }
}
