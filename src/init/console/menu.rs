//! The status screen and the menu of each state.

use super::screen::{COLUMNS, rule};
use crate::init::state::{Health, Shared, State};

/// Columns of what stands before a value.
const LABEL_COLUMNS: usize = 16;
/// Lines that a sentence about the keys may have.
const KEYS_LINES: usize = 5;

/// What can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The image goes onto a disk.
    Install,
    /// The questions of the first set-up.
    SetUp,
    /// The recovery key is typed.
    Unlock,
    /// A new recovery key is shown.
    Recovery,
    /// An administrator's account is made.
    Administrator,
    /// A credential is made for commands from a distance.
    Credential,
    /// Two accounts exchange a message.
    Check,
    /// Another network.
    Network,
    /// The change of the network stays.
    Confirm,
    /// Time servers, or the time by hand.
    Time,
    /// The last lines of the log.
    Log,
    /// The kernel's last lines.
    KernelLog,
    /// The machine starts again.
    Restart,
    /// The power goes off.
    PowerOff,
}

/// A line of the menu.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// The key that chooses it.
    pub key: char,
    /// What it says.
    pub label: &'static str,
    /// What it does.
    pub act: Act,
}

const fn item(key: char, label: &'static str, act: Act) -> Item {
    Item { key, label, act }
}

/// The menu of a state.
pub fn items(state: State) -> Vec<Item> {
    let mut items = match state {
        State::Install => vec![item('1', "Install on a disk", Act::Install)],
        State::SetUp => vec![item('1', "Set up this box", Act::SetUp)],
        State::Locked => vec![item('1', "Unlock with the recovery key", Act::Unlock)],
        State::Serving => vec![
            item('1', "New recovery key", Act::Recovery),
            item('2', "New administrator", Act::Administrator),
            item('3', "Check: two accounts exchange a message", Act::Check),
            item('4', "Network", Act::Network),
            item('5', "Time", Act::Time),
            item('a', "Administration from a distance", Act::Credential),
        ],
        State::Starting | State::Degraded => Vec::new(),
        State::Stopping => return Vec::new(),
    };
    items.extend([
        item('7', "Log", Act::Log),
        item('8', "Kernel log", Act::KernelLog),
        item('9', "Restart", Act::Restart),
        item('0', "Shut down", Act::PowerOff),
    ]);
    items
}

/// The status screen: what is, then what can be done.
pub fn status(shared: &Shared) -> Vec<String> {
    let status = shared.status.lock().clone();
    let site = shared.site.lock().clone();
    let name = site.map_or_else(|| "LamChat".to_owned(), |site| site.server_name);
    let row = |label: &str, value: &str| format!(" {label:<14}{value}");
    let (keys, health) = match &status.health {
        Some(Health::Running { keys, .. }) => (keys.clone(), "the exchange answers".to_owned()),
        Some(Health::Locked(why)) => (why.clone(), "the exchange waits for its keys".to_owned()),
        Some(Health::Silent(why)) => (String::new(), why.clone()),
        None => (String::new(), "not known yet".to_owned()),
    };
    let clock = crate::cli::output::time(lamchat_machine::time::now_ms());
    let minute: String = clock.chars().take(16).collect();
    let mut lines = vec![format!(" {name:<57} {minute} UTC"), rule()];
    lines.push(row("State", status.state.sentence()));
    if !matches!(status.state, State::Install | State::SetUp) {
        lines.push(row("Health", &health));
        // Why they are locked is the one thing that nobody may miss: all of it is shown.
        for (at, line) in super::screen::wrap_to(&keys, COLUMNS - LABEL_COLUMNS)
            .iter()
            .take(KEYS_LINES)
            .enumerate()
        {
            lines.push(row(if at == 0 { "Keys" } else { "" }, line.trim_start()));
        }
    }
    if status.addresses.is_empty() {
        lines.push(row("Addresses", "none"));
    }
    // One line less while the menu has one more.
    let room = if status.trial.is_some() { 1 } else { 2 };
    for address in status.addresses.iter().take(room) {
        lines.push(row("Address", address));
    }
    lines.push(row("Release", crate::cli::VERSION));
    lines.push(row(
        "Watchdog",
        status.watchdog.as_deref().unwrap_or("this machine shows none"),
    ));
    let hardware = match &status.hardware {
        None => "not asked yet".to_owned(),
        Some(problems) => problems.first().map_or_else(
            || "well".to_owned(),
            |first| format!("{first} ({} in all)", problems.len()),
        ),
    };
    lines.push(row("Hardware", &hardware));
    if let Some(why) = &status.network {
        lines.push(row("Network", why));
    }
    if status.trial.is_some() {
        lines.push(row("NETWORK", "for two minutes; 6 keeps it, else it goes back"));
    }
    for notice in status.notices.iter().take(room) {
        lines.push(row("Notice", notice));
    }
    lines.push(rule());
    if status.trial.is_some() {
        lines.push("  6  Keep the new network".to_owned());
    }
    lines.extend(
        items(status.state)
            .iter()
            .map(|item| format!("  {}  {}", item.key, item.label)),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::release::Release;

    #[test]
    fn every_state_fits_on_a_screen() {
        let shared = Shared::new(Release::default());
        for state in [
            State::Starting,
            State::Install,
            State::SetUp,
            State::Locked,
            State::Serving,
            State::Degraded,
            State::Stopping,
        ] {
            {
                let mut status = shared.status.lock();
                status.state = state;
                status.addresses = vec!["10.0.0.1 (eth0)".to_owned(); 20];
                status.notices = vec!["x".to_owned(); 20];
                status.network = Some("x".to_owned());
                status.trial = Some(std::time::Instant::now());
            }
            let lines = super::status(&shared);
            assert!(lines.len() <= 24, "{state:?}: {}", lines.len());
            let keys: std::collections::HashSet<char> = items(state).iter().map(|item| item.key).collect();
            assert_eq!(keys.len(), items(state).len(), "every key once");
        }
    }
}
