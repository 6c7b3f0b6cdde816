//! The recovery key: shown once and only here, typed back, and typed to unlock.

use super::screen::{Echo, Screen};
use crate::cli::recovery_code;
use crate::init::exchange;
use crate::init::state::Shared;
use lamchat_holder::{Reply, Typed};
use zeroize::Zeroizing;

/// Blocks of a key on a line.
const BLOCKS_A_LINE: usize = 4;

/// Makes a key, shows it, and asks for it until it is typed back right or left by Esc.
pub fn make(screen: &mut Screen) -> std::io::Result<()> {
    let key = match exchange::typed(&Typed::AddRecovery) {
        Ok(Reply::Recovery(_, key)) => Zeroizing::new(String::from_utf8_lossy(key.expose()).into_owned()),
        Ok(_) => Zeroizing::new(String::new()),
        Err(error) => {
            screen.page("No recovery key", &error)?;
            return screen.pause();
        }
    };
    screen.draw(&[" The recovery key. It is shown this once: write it down.".to_owned()])?;
    let blocks: Vec<&str> = key.split(' ').collect();
    for line in blocks.chunks(BLOCKS_A_LINE) {
        let line = Zeroizing::new(format!("     {}\r\n", line.join("   ")));
        screen.print(&line)?;
    }
    match recovery_code(&key) {
        Ok(code) => {
            for line in code.lines() {
                screen.print(&format!("    \x1b[97;40m{line}\x1b[0m\r\n"))?;
            }
        }
        Err(error) => screen.print(&format!(" No QR code: {}\r\n", error.0))?,
    }
    screen.pause()?;
    // It must not stay on the screen, nor in the lines above it.
    screen.print("\x1b[3J")?;
    screen.page(
        "Type it back",
        "So that you know that it is written down right. Esc: later, from the menu.",
    )?;
    loop {
        let Some(typed) = screen.ask("Recovery key", Echo::Shown)? else {
            screen.page(
                "Not typed back",
                "Nobody knows whether the key was written down right: make a new one from the menu.",
            )?;
            return screen.pause();
        };
        match exchange::typed(&Typed::VerifyRecovery(exchange::secret(&typed))) {
            Ok(_) => {
                screen.page("Right", "Keep the key where this box is not.")?;
                return screen.pause();
            }
            Err(error) => screen.print(&format!(" {error}\r\n"))?,
        }
    }
}

/// Opens the keys by the recovery key.
pub fn unlock(screen: &mut Screen, shared: &Shared) -> std::io::Result<()> {
    screen.page("Unlock", "Type the recovery key: 48 digits. Esc goes back.")?;
    let Some(typed) = screen.ask("Recovery key", Echo::Shown)? else {
        return Ok(());
    };
    match exchange::typed(&Typed::Unlock(exchange::secret(&typed))) {
        Ok(_) => {
            shared.log.note("an operator on a console unlocked the keys");
            screen.page("Unlocked", "The exchange goes on starting.")?;
        }
        Err(error) => screen.page("Not unlocked", &error)?,
    }
    screen.pause()
}
