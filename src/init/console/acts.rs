//! What the menu's lines do.

use super::menu::Act;
use super::screen::{Echo, Screen};
use super::{change, check, gate, install, recovery, setup};
use crate::cli::credential_file;
use crate::init::exchange;
use crate::init::state::{Event, Shared, State};
use lamchat_machine::kernel_log;
use lamchat_machine::power::End;
use serde_json::json;
use std::sync::Arc;

/// Lines of a log that fit on a screen.
const LOG_LINES: usize = 19;

/// Does one; back on the status screen afterwards.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>, act: Act) -> std::io::Result<()> {
    match act {
        Act::Install => return install::run(screen, shared),
        Act::SetUp => return setup::run(screen, shared),
        Act::Unlock => return recovery::unlock(screen, shared),
        _ => {}
    }
    if !gate::pass(screen, shared)? {
        return Ok(());
    }
    shared.log.note(&format!("an operator on {}: {act:?}", screen.name));
    if let Err(error) = note(screen, shared, act) {
        shared.log.note(&format!("{act:?} is not in the audit log: {error}"));
        // The power can be cut without us; everything else waits until it can be noted.
        if !matches!(act, Act::Restart | Act::PowerOff | Act::Log | Act::KernelLog) {
            screen.page("Not done", &format!("It cannot be noted in the audit log: {error}"))?;
            return screen.pause();
        }
    }
    match act {
        Act::Install | Act::SetUp | Act::Unlock => Ok(()),
        Act::Recovery => recovery::make(screen),
        Act::Administrator => administrator(screen),
        Act::Credential => credential(screen),
        Act::Check => check::run(screen),
        Act::Network => change::network(screen, shared),
        Act::Confirm => {
            shared.tell(Event::Confirmed);
            Ok(())
        }
        Act::Time => change::time(screen, shared),
        Act::Log => {
            let lines = shared.log.last(LOG_LINES);
            show(screen, "The last lines of the log", lines)
        }
        Act::KernelLog => {
            let lines = kernel_log::read(LOG_LINES).unwrap_or_else(|error| vec![error.to_string()]);
            show(screen, "The kernel's last lines", lines)
        }
        Act::Restart => end(screen, shared, "Restart the machine?", End::Reboot),
        Act::PowerOff => end(screen, shared, "Shut the machine down?", End::PowerOff),
    }
}

/// Writes an act into the audit log, while there is one: before the set-up and without keys nobody can. Those that the
/// exchange and the key holder carry out, they note themselves.
fn note(screen: &Screen, shared: &Shared, act: Act) -> Result<(), String> {
    let name = match act {
        Act::Install | Act::SetUp | Act::Unlock | Act::Recovery | Act::Administrator | Act::Credential => return Ok(()),
        Act::Check => "check",
        Act::Network => "network",
        Act::Confirm => "network-confirm",
        Act::Time => "time",
        Act::Log => "log",
        Act::KernelLog => "kernel-log",
        Act::Restart => "restart",
        Act::PowerOff => "power-off",
    };
    if shared.site.lock().is_none() || shared.state() == State::Locked {
        return Ok(());
    }
    exchange::note_act(name, &screen.name)
}

fn show(screen: &mut Screen, title: &str, lines: Vec<String>) -> std::io::Result<()> {
    let mut all = vec![format!(" {title}"), super::screen::rule()];
    all.extend(lines);
    screen.draw(&all)?;
    screen.pause()
}

fn end(screen: &mut Screen, shared: &Shared, question: &str, end: End) -> std::io::Result<()> {
    screen.page("The end", "Everything that was acknowledged is on the disk.")?;
    if screen.confirm(question)? && shared.state() != State::Stopping {
        shared.tell(Event::End(end));
    }
    Ok(())
}

fn administrator(screen: &mut Screen) -> std::io::Result<()> {
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
fn credential(screen: &mut Screen) -> std::io::Result<()> {
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
