//! Who may act: before the set-up everybody, then whoever types the console's PIN or the recovery key. Where the
//! configuration cannot be read, and with it the PIN, logs and the end are open, and the rest needs the recovery key.

use super::menu::Gate;
use super::screen::{Echo, Screen};
use crate::init::keys;
use crate::init::late::{self, Act};
use crate::init::state::{Shared, State};
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

/// What somebody has to type.
#[derive(Debug, PartialEq, Eq)]
enum Needed {
    Nothing,
    /// The PIN with this hash, or the recovery key.
    Pin(String),
    /// The recovery key: there is no PIN that could be compared.
    Recovery,
}

/// Before the set-up nothing is kept that could be asked for. Where the configuration cannot be read, whoever stands there
/// may do what harms nobody; the rest needs the recovery key, which the key holder compares with the keyring.
fn needed(state: State, pin: Option<String>, gate: Gate) -> Needed {
    match (state, pin, gate) {
        (State::Install | State::SetUp, None, _) | (_, None, Gate::Always(_)) => Needed::Nothing,
        (_, Some(pin), _) => Needed::Pin(pin),
        (_, None, _) => Needed::Recovery,
    }
}

/// Asks for what this gate needs now.
pub fn pass(screen: &mut Screen, shared: &Shared, gate: Gate) -> std::io::Result<bool> {
    screen.is_known = false;
    let pin = shared.site.lock().as_ref().and_then(|site| site.pin.clone());
    let (kept, question) = match needed(shared.state(), pin, gate) {
        Needed::Nothing => return Ok(true),
        Needed::Pin(kept) => (
            Some(kept),
            ("Type the console PIN, or the recovery key. Esc goes back.", "PIN"),
        ),
        Needed::Recovery => (
            None,
            (
                "The PIN cannot be read: type the recovery key. Esc goes back.",
                "Recovery key",
            ),
        ),
    };
    let wait = shared.guesses.lock().wait(Instant::now());
    if !wait.is_zero() {
        screen.page("Not yet", &format!("After wrong PINs: wait {} s.", wait.as_secs() + 1))?;
        screen.pause()?;
        return Ok(false);
    }
    screen.page("Who are you?", question.0)?;
    let Some(typed) = screen.ask(question.1, Echo::Hidden)? else {
        return Ok(false);
    };
    shared.guesses.lock().begin(Instant::now());
    let right = if typed.len() <= PIN_DIGITS_MAX {
        match kept {
            Some(kept) => pin::verify(&typed, &kept).map_err(|error| error.to_string()),
            None => Ok(false),
        }
    } else if keys_are_open(shared) {
        Ok(keys::typed(&Typed::VerifyRecovery(keys::secret(&typed))).is_ok())
    } else {
        Err("the recovery key can be compared once the keys are open".to_owned())
    };
    match right {
        Ok(true) => {
            shared.guesses.lock().right();
            screen.is_known = true;
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
    fn without_a_configuration_only_the_recovery_key_opens_more_than_logs_and_the_end() {
        let (always, noted) = (Gate::Always("log"), Gate::Noted("network"));
        let export = Gate::Tried("usb-export");
        for state in [State::Starting, State::Locked, State::Degraded, State::ReadOnly] {
            assert_eq!(needed(state, None, always), Needed::Nothing, "{state:?}");
            for gate in [noted, export, Gate::Elsewhere] {
                assert_eq!(needed(state, None, gate), Needed::Recovery, "{state:?} {gate:?}");
            }
        }
        for state in [State::Install, State::SetUp] {
            assert_eq!(needed(state, None, noted), Needed::Nothing, "{state:?}");
        }
        for gate in [always, noted, export, Gate::Elsewhere] {
            let pin = || "hash".to_owned();
            assert_eq!(
                needed(State::Serving, Some(pin()), gate),
                Needed::Pin(pin()),
                "{gate:?}"
            );
            assert_eq!(
                needed(State::Degraded, Some(pin()), gate),
                Needed::Pin(pin()),
                "{gate:?}"
            );
        }
    }

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
