//! The installer's questions about the firmware: whose it is, its keys, and the drivers of cards.

use super::install::{Ready, prepare};
use super::screen::{Screen, wrap};
use crate::init::state::Shared;
use lamchat_installer::{Driver, EnrolError, Owner, drivers, enrol, log_of_machine};
use std::sync::Arc;

/// Drivers that fit on a screen.
const DRIVERS_MAX: usize = 12;

/// The firmware alone: its keys, and the drivers of cards that were added later. No disk is written.
pub fn alone(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(_operator) = shared.operator.try_lock() else {
        screen.page("Busy", "Another console is installing.")?;
        return screen.pause();
    };
    match prepare() {
        Ok(ready) => {
            screen.page("The firmware's keys", "")?;
            make_yours(screen, shared, &ready)?;
            screen.pause()
        }
        Err(error) => {
            screen.page("Not possible", &error)?;
            screen.pause()
        }
    }
}

/// Enrols the keys, and says what came of it.
pub(super) fn make_yours(screen: &mut Screen, shared: &Shared, ready: &Ready) -> std::io::Result<()> {
    match take_firmware(screen, ready)? {
        Ok(sentence) => {
            shared.log.note(&sentence);
            screen.print(&format!(" {sentence}\r\n"))
        }
        Err(error) => {
            shared.log.note(&error);
            screen.page("The firmware is not yours yet", &error)
        }
    }
}

/// What a firmware is to the installer.
pub fn sentence(owner: Owner) -> &'static str {
    match owner {
        Owner::Nobody => "is in set-up mode: it will take your keys.",
        Owner::Operator => "has your keys already.",
        Owner::Another => "has somebody else's platform key. Clear it in the firmware's set-up first.",
        Owner::Without => "knows no Secure Boot: this box cannot prove what it runs.",
    }
}

/// Enrols the keys where the firmware takes them; answers what came of it.
fn take_firmware(screen: &mut Screen, ready: &Ready) -> std::io::Result<Result<String, String>> {
    match ready.owner {
        Owner::Nobody => {}
        Owner::Operator => {
            say_later_cards(screen)?;
            return Ok(Ok("The firmware has your keys already.".to_owned()));
        }
        Owner::Another | Owner::Without => {
            return Ok(Err(format!(
                "The firmware {}\nThe box starts, and its keys can be sealed only to what this firmware lets through. In the \
                 firmware's set-up, clear the Secure Boot keys (\"set-up mode\") and start this stick again.",
                sentence(ready.owner)
            )));
        }
    }
    let wanted = match ask_drivers(screen)? {
        Ok(wanted) => wanted,
        Err(error) => {
            screen.print(&format!(" Which drivers the cards bring is not known: {error}\r\n"))?;
            Vec::new()
        }
    };
    Ok(match enrol(&ready.variables, &ready.updates, &wanted) {
        Ok(()) => Ok(format!(
            "The firmware is yours: PK, KEK and db are enrolled; drivers of cards: {}.",
            wanted.len()
        )),
        Err(error) => Err(enrol_failed(&error)),
    })
}

fn enrol_failed(error: &EnrolError) -> String {
    format!(
        "{error}\nIn the firmware's set-up, clear the Secure Boot keys (\"set-up mode\") and start this stick again."
    )
}

/// A card that was added after the keys. A firmware need not list a driver that it refused, so nobody can name it here; and
/// a change of db is signed by KEK's key from now on, which is nowhere near.
fn say_later_cards(screen: &mut Screen) -> std::io::Result<()> {
    let text = "Has a card been added since, and is it dead until Linux runs? Then your keys leave its driver out. Clear the \
                Secure Boot keys in the firmware's set-up (\"set-up mode\"), start this stick again by the firmware's boot \
                menu (it starts the box's disk first) and choose \"Only the firmware's keys\": it offers the drivers of all cards, and writes no disk. A box that is set up asks for its \
                recovery key once afterwards.";
    for line in wrap(text) {
        screen.print(&format!("{line}\r\n"))?;
    }
    screen.print("\r\n")
}

/// Offers to let the drivers of cards start under the operator's keys.
fn ask_drivers(screen: &mut Screen) -> std::io::Result<Result<Vec<Driver>, String>> {
    let found = log_of_machine()
        .map_err(|error| error.to_string())
        .and_then(|log| drivers(&log).map_err(|error| error.to_string()));
    let found = match found {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    if found.is_empty() {
        screen.print(" No card brought a driver of its own.\r\n")?;
        return Ok(Ok(found));
    }
    screen.print(" Cards brought drivers of their own (PCR 2). Under your keys alone they do not\r\n")?;
    screen.print(" start, and a screen, network boot or disk may stay dead until Linux runs:\r\n")?;
    for driver in found.iter().take(DRIVERS_MAX) {
        let digest: String = driver.digest.to_string().chars().take(32).collect();
        screen.print(&format!("   PCI {:<16} {digest}…\r\n", driver.place))?;
    }
    if found.len() > DRIVERS_MAX {
        screen.print(&format!("   and {} more\r\n", found.len() - DRIVERS_MAX))?;
    }
    let yes = screen.confirm("Trust these very drivers as well?")?;
    Ok(Ok(if yes { found } else { Vec::new() }))
}
