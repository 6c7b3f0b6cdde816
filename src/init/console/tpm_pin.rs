//! The PIN beside the TPM: against the theft of the whole box. It is typed at each start, before anything is open; here it
//! is also set, changed and taken off.
//!
//! What must never happen here: that a PIN goes anywhere but to the key holder's own socket.

use super::acts::new_secret;
use super::screen::{Echo, Screen};
use crate::init::late::{self, Act};
use crate::init::state::Shared;
use crate::init::{keys, vault};
use lamchat_appliance::pin::{PIN_DIGITS_MAX, PIN_DIGITS_MIN};
use lamchat_holder::Typed;
use std::sync::Arc;
use zeroize::Zeroizing;

const ABOUT: &str = "With a TPM PIN the box waits at each start until somebody types it at a console: whoever takes the \
whole machine away has nothing then. Nobody can type it from a distance, so a restart needs somebody here. After some wrong \
ones the TPM takes none for a while. The recovery key opens the box without it. Take another one than the console's PIN.";

/// Opens the keys by the PIN.
pub fn unlock(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(_operator) = shared.operator.try_lock() else {
        screen.page("Another console unlocks this box", "Only one can do so.")?;
        return screen.pause();
    };
    screen.page(
        "Unlock",
        "Type the TPM PIN of this box. Esc goes back; the recovery key opens it, too.",
    )?;
    let Some(typed) = screen.ask("TPM PIN", Echo::Hidden)?.filter(|typed| !typed.is_empty()) else {
        return Ok(());
    };
    match keys::typed(&Typed::Unlock(keys::secret(&typed))) {
        Ok(_) => {
            shared.log.note("an operator on a console typed the TPM PIN");
            screen.page("Unlocked", "The box goes on starting.")
        }
        Err(error) => {
            shared.log.note(&format!("the TPM PIN on a console: {error}"));
            screen.page("Not unlocked", &error)?;
            screen.pause()
        }
    }
}

/// Sets it, changes it, or takes it off.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let asks = match keys::asks_for_pin() {
        Ok(asks) => asks,
        Err(error) => {
            screen.page("Not possible", &error)?;
            return screen.pause();
        }
    };
    let now = if asks { "it is asked for" } else { "none is asked for" };
    screen.page("TPM PIN at each start", &format!("Now: {now}.\n\n{ABOUT}"))?;
    let question = if asks {
        "Type new for another PIN, off for none"
    } else {
        "Type on to have one"
    };
    let Some(answer) = screen.ask(question, Echo::Shown)? else {
        return Ok(());
    };
    match (answer.trim(), asks) {
        ("on", false) | ("new", true) => match ask_new(screen)? {
            Some(pin) => seal(screen, shared, Some(&pin)),
            None => Ok(()),
        },
        ("off", true) => seal(screen, shared, None),
        _ => Ok(()),
    }
}

fn seal(screen: &mut Screen, shared: &Arc<Shared>, pin: Option<&str>) -> std::io::Result<()> {
    let (act, done) = match pin {
        Some(_) => ("tpm-pin", "Each start asks for this PIN from now on."),
        None => (
            "tpm-pin-off",
            "No start asks for a PIN any more: this machine's TPM alone opens the box.",
        ),
    };
    let sealed = late::note(shared, Act::new(act, &screen.name))
        .map_err(|error| format!("It cannot be noted: {error}"))
        .and_then(|()| vault::set_pin(shared, pin));
    match sealed {
        Ok(()) => screen.page("Done", done)?,
        Err(error) => screen.page("Not done", &error)?,
    }
    screen.pause()
}

/// Asks for a new one twice; `None`: left by Esc. Digits alone, as they are the same on every keyboard.
pub fn ask_new(screen: &mut Screen) -> std::io::Result<Option<Zeroizing<String>>> {
    loop {
        let Some(typed) = new_secret(screen, "New TPM PIN")? else {
            return Ok(None);
        };
        if is_pin(&typed) {
            return Ok(Some(typed));
        }
        screen.print(&format!(" A PIN has {PIN_DIGITS_MIN} to {PIN_DIGITS_MAX} digits.\r\n"))?;
    }
}

fn is_pin(typed: &str) -> bool {
    (PIN_DIGITS_MIN..=PIN_DIGITS_MAX).contains(&typed.len()) && typed.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_pin;

    #[test]
    fn a_pin_is_the_same_on_every_keyboard() {
        assert!(is_pin("246810") && is_pin(&"1".repeat(32)));
        for typed in ["", "12345", "12345z", "123 456", "１２３４５６", &"1".repeat(33)] {
            assert!(!is_pin(typed), "{typed}");
        }
    }
}
