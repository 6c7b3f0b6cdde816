//! The recovery key: shown once and only here, typed back, and typed to unlock.

use super::screen::{Echo, Screen};
use super::tpm_pin;
use crate::cli::qr::COLOURS;
use crate::cli::recovery_code;
use crate::init::state::Shared;
use crate::init::{exchange, keys, vault};
use lamchat_holder::{Reply, Typed};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Blocks of a key on a line.
const BLOCKS_A_LINE: usize = 4;

/// Makes a key, shows it, and asks for it until it is typed back right or left by Esc. Where nobody has typed one back yet,
/// the one that is written down can be typed back instead.
pub fn make(screen: &mut Screen, _: &Arc<Shared>) -> std::io::Result<()> {
    if is_awaited() {
        let text = "Nobody has typed the recovery key back yet, and until then other servers are turned away.";
        screen.page("Recovery key", text)?;
        if screen.confirm("Type back the key that you have, instead of a new one?")? {
            return type_back(screen);
        }
    }
    let key = match keys::typed(&Typed::AddRecovery) {
        Ok(Reply::Recovery(_, key)) => Zeroizing::new(String::from_utf8_lossy(key.expose()).into_owned()),
        Ok(_) => Zeroizing::new(String::new()),
        Err(error) => {
            screen.page("No recovery key", &error)?;
            return screen.pause();
        }
    };
    show(screen, &key)
}

/// Shows a key, and asks for it until it is typed back right or left by Esc.
pub fn show(screen: &mut Screen, key: &str) -> std::io::Result<()> {
    screen.draw(&[" The recovery key. It is shown this once: write it down.".to_owned()])?;
    let blocks: Vec<&str> = key.split(' ').collect();
    for line in blocks.chunks(BLOCKS_A_LINE) {
        let line = Zeroizing::new(format!("     {}\r\n", line.join("   ")));
        screen.print(&line)?;
    }
    let (begin, end) = COLOURS;
    match recovery_code(key) {
        Ok(code) => {
            for line in code.lines() {
                screen.print(&Zeroizing::new(format!("    {begin}{line}{end}\r\n")))?;
            }
        }
        Err(error) => screen.print(&format!(" No QR code: {}\r\n", error.0))?,
    }
    screen.pause()?;
    // It must not stay on the screen, nor in the lines above it.
    screen.print("\x1b[3J")?;
    type_back(screen)
}

/// Whether federation waits for somebody to type the recovery key back.
fn is_awaited() -> bool {
    let status = exchange::call("GET", "/_lamchat/admin/v1/seal", None);
    status.is_ok_and(|status| {
        status
            .pointer("/federation/state")
            .is_some_and(|state| state == "unverified")
    })
}

/// Asks for a key until it is right or left by Esc.
fn type_back(screen: &mut Screen) -> std::io::Result<()> {
    screen.page(
        "Type it back",
        "So that you know that it is written down right. Esc: later, from the menu.",
    )?;
    loop {
        let Some(typed) = screen.ask("Recovery key", Echo::Shown)? else {
            screen.page(
                "Not typed back",
                "Nobody knows whether the key was written down right, and other servers are turned away until one was \
                 typed back. The menu's line for the recovery key takes it, or makes a new one.",
            )?;
            return screen.pause();
        };
        match keys::typed(&Typed::VerifyRecovery(keys::secret(&typed))) {
            Ok(_) => {
                screen.page("Right", "Keep the key where this box is not.")?;
                return screen.pause();
            }
            Err(error) => screen.print(&format!(" {error}\r\n"))?,
        }
    }
}

/// Opens the keys by the recovery key.
pub fn unlock(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(_operator) = shared.operator.try_lock() else {
        screen.page("Another console unlocks this box", "Only one can do so.")?;
        return screen.pause();
    };
    screen.page("Unlock", "Type the recovery key: 48 digits. Esc goes back.")?;
    let Some(typed) = screen.ask("Recovery key", Echo::Shown)? else {
        return Ok(());
    };
    match keys::typed(&Typed::Unlock(keys::secret(&typed))) {
        Ok(_) => shared.log.note("an operator on a console unlocked the keys"),
        Err(error) => {
            screen.page("Not unlocked", &error)?;
            return screen.pause();
        }
    }
    let asks = keys::asks_for_pin();
    let text = match asks {
        Ok(true) => {
            "The box goes on starting. If what has changed is meant to be so, or nobody knows the TPM PIN any more, its keys \
             can be sealed to this machine as it is now, with a PIN that you type."
        }
        _ => {
            "The box goes on starting. If what has changed is meant to be so, its keys can be sealed to this machine as it \
             is now: then it starts by itself again."
        }
    };
    screen.page("Unlocked", text)?;
    if !screen.confirm("Seal the keys to this machine as it is now?")? {
        return Ok(());
    }
    let text = match asks {
        Ok(false) => sentence(&vault::seal(shared)),
        Ok(true) => {
            screen.page("The keys", "The TPM PIN of this box: the same, or a new one.")?;
            match tpm_pin::ask_new(screen)? {
                Some(pin) => match vault::set_pin(shared, Some(&pin)) {
                    Ok(()) => {
                        "The keys are sealed to this machine's TPM: it asks for the PIN at each start.".to_owned()
                    }
                    Err(why) => sentence(&Err(why)),
                },
                None => sentence(&Err("No PIN was typed.".to_owned())),
            }
        }
        Err(why) => sentence(&Err(why)),
    };
    screen.page("The keys", &text)?;
    screen.pause()
}

/// What it means that the keys were sealed or not.
pub fn sentence(sealed: &Result<(), String>) -> String {
    match sealed {
        Ok(()) => "The keys are sealed to this machine's TPM: it starts by itself.".to_owned(),
        Err(why) => {
            format!("The recovery key has to be typed at every start, because the keys are not sealed.\n\n{why}")
        }
    }
}
