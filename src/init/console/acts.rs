//! What the menu's lines do.

use super::menu::{Gate, Item};
use super::screen::{Echo, Screen};
use super::{gate, pages};
use crate::cli::credential_file;
use crate::init::late::{self, Act};
use crate::init::state::{Event, Shared, State};
use crate::init::{crash, exchange};
use lamchat_machine::kernel_log;
use lamchat_machine::power::End;
use serde_json::json;
use std::sync::Arc;

/// Lines of a log that can be leafed through.
const LOG_LINES: usize = 2000;

/// Does one; back on the status screen afterwards.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>, item: &Item) -> std::io::Result<()> {
    if item.gate == Gate::Open {
        return (item.run)(screen, shared);
    }
    if !gate::pass(screen, shared, item.gate)? {
        return Ok(());
    }
    shared
        .log
        .note(&format!("an operator on {}: {}", screen.name, item.label));
    if let Gate::Noted(name) | Gate::Tried(name) | Gate::Always(name) = item.gate
        && let Err(error) = note(screen, shared, name)
    {
        shared.log.note(&format!("{name} is not in the audit log: {error}"));
        if matches!(item.gate, Gate::Noted(_)) {
            screen.page("Not done", &format!("It cannot be noted: {error}"))?;
            return screen.pause();
        }
    }
    (item.run)(screen, shared)
}

/// Writes an act into the audit log; where the exchange does not answer, it is kept for later. Before the set-up there is
/// none. While the data are closed there is nothing durable to keep it on, and the box's own log says so.
fn note(screen: &Screen, shared: &Shared, name: &str) -> Result<(), String> {
    if matches!(shared.state(), State::Install | State::SetUp) {
        return Ok(());
    }
    if shared.site.lock().is_none() || shared.state() == State::Locked {
        return Err("the data are not open, so nothing durable can be written".to_owned());
    }
    late::note(shared, Act::new(name, &screen.name))
}

/// The change of the network stays.
pub fn confirm(_: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    shared.tell(Event::Confirmed);
    Ok(())
}

/// What process 1 and its children said, the newest page first. Who was asked for nothing sees nothing of people.
pub fn log(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    if screen.is_known {
        return pages::show(screen, "The log", &shared.log.last(LOG_LINES));
    }
    let mut lines = shared.log.last_public(LOG_LINES);
    lines.push("What the exchange said is left out: nobody could be asked for the PIN.".to_owned());
    pages::show(screen, "The log", &lines)
}

/// What the kernel said.
pub fn kernel_log(screen: &mut Screen, _: &Arc<Shared>) -> std::io::Result<()> {
    let lines = kernel_log::read(LOG_LINES).unwrap_or_else(|error| vec![error.to_string()]);
    pages::show(screen, "The kernel's log", &lines)
}

/// What the kernel said before the last crash.
pub fn crash_log(screen: &mut Screen, _: &Arc<Shared>) -> std::io::Result<()> {
    pages::show(screen, "The kernel's log before the last crash", &crash::last())
}

/// The machine starts again.
pub fn restart(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    end(screen, shared, "Restart the machine?", End::Reboot)
}

/// The power goes off.
pub fn power_off(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    end(screen, shared, "Shut the machine down?", End::PowerOff)
}

fn end(screen: &mut Screen, shared: &Shared, question: &str, end: End) -> std::io::Result<()> {
    screen.page("The end", "Everything that was acknowledged is on the disk.")?;
    if screen.confirm(question)? && shared.state() != State::Stopping {
        shared.tell(Event::End(end));
    }
    Ok(())
}

/// An account is made that may do everything.
pub fn administrator(screen: &mut Screen, _: &Arc<Shared>) -> std::io::Result<()> {
    screen.page("New administrator", "An account with every right of administration.")?;
    let Some(name) = screen.ask("Name", Echo::Shown)? else {
        return Ok(());
    };
    let Some(password) = new_secret(screen, "Password")? else {
        return Ok(());
    };
    match make_administrator(&name, &password) {
        Ok(user) => screen.page("Done", &format!("{user} was made."))?,
        Err(error) => screen.page("Not done", &error)?,
    }
    screen.pause()
}

/// Makes a credential and shows it, once, with what `lamchat --credential FILE` needs beside it.
pub fn credential(screen: &mut Screen, _: &Arc<Shared>) -> std::io::Result<()> {
    screen.page(
        "Administration from a distance",
        "A credential with which `lamchat --server` works on another machine, for 90 days. It is shown once.",
    )?;
    let Some(name) = screen.ask("Name, such as alice-laptop", Echo::Shown)? else {
        return Ok(());
    };
    let body = json!({"name": name.trim()});
    match exchange::call("POST", "/_lamchat/admin/v1/credentials", Some(&body)) {
        Ok(answer) => {
            let file = zeroize::Zeroizing::new(credential_file(&answer));
            screen.page("Write these lines into a file of their own, chmod 600", &file)?;
        }
        Err(error) => screen.page("Not done", &error.0)?,
    }
    screen.pause()
}

/// Makes the account; answers its whole id.
pub fn make_administrator(name: &str, password: &str) -> Result<String, String> {
    let body = json!({"user": name.trim(), "password": password, "admin": true});
    let answer = exchange::call("POST", "/_lamchat/admin/v1/users", Some(&body)).map_err(|error| error.0)?;
    let user = answer.get("user_id").and_then(serde_json::Value::as_str);
    Ok(user.unwrap_or("the account").to_owned())
}

/// Asks twice, until both are the same.
pub fn new_secret(screen: &mut Screen, what: &str) -> std::io::Result<Option<zeroize::Zeroizing<String>>> {
    loop {
        let Some(first) = screen.ask(what, Echo::Hidden)? else {
            return Ok(None);
        };
        let Some(second) = screen.ask(&format!("{what} again"), Echo::Hidden)? else {
            return Ok(None);
        };
        if *first == *second && !first.is_empty() {
            return Ok(Some(first));
        }
        screen.print(" The two are not the same, or empty. Once more.\r\n")?;
    }
}
