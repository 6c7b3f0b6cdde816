//! The status screen: what is, then what can be done. At most [`LINES_MAX`] lines; what matters least goes first.

use super::menu::{Item, items};
use super::screen::{COLUMNS, rule, wrap_to};
use crate::init::state::{Health, Shared, State, Status};

/// Lines of the screen, the last of which stays empty.
const LINES_MAX: usize = 24;
/// Columns of what stands before a value.
const LABEL_COLUMNS: usize = 16;
/// Lines that a sentence about the keys may have.
const KEYS_LINES: usize = 5;
/// Addresses and notices that are shown.
const EACH_MAX: usize = 2;
/// Where the second column of the menu begins.
const SECOND_COLUMN: usize = 40;
/// A menu of so many items has one column.
const ONE_COLUMN_MAX: usize = 6;

/// A line, and how much it matters: what has less weight is left out first.
struct Row {
    weight: u8,
    text: String,
}

/// Weights.
const ALWAYS: u8 = 9;
const IMPORTANT: u8 = 5;
const USUAL: u8 = 3;
const LITTLE: u8 = 1;

/// All lines.
pub fn lines(shared: &Shared) -> Vec<String> {
    let status = shared.status.lock().clone();
    let site = shared.site.lock().clone();
    let name = site.map_or_else(|| "LamChat".to_owned(), |site| site.server_name);
    let clock = crate::cli::output::time(lamchat_machine::time::now_ms());
    let minute: String = clock.chars().take(16).collect();
    let menu = menu(&items(&status));
    let mut rows = rows(&status);
    // Title, three rules' worth of frame: the title's, the menu's.
    while rows.len() + menu.len() + 3 > LINES_MAX {
        let Some(least) = (0..rows.len())
            .rev()
            .min_by_key(|at| rows.get(*at).map(|row| row.weight))
        else {
            break;
        };
        rows.remove(least);
    }
    let mut lines = vec![format!(" {name:<57} {minute} UTC"), rule()];
    lines.extend(rows.into_iter().map(|row| row.text));
    lines.push(rule());
    lines.extend(menu);
    lines
}

/// Where it is. A box whose disks are not found, or not taken, may be set up all the same: it is not for a console to say
/// that it is not.
fn state(status: &Status) -> &'static str {
    match status.state {
        State::SetUp if status.has_no_disk => "NOT STARTED: no disk to start from, see the notice",
        State::Starting if status.is_open() => "starting: the exchange does not answer yet",
        _ => status.sentence(),
    }
}

/// What is.
fn rows(status: &Status) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |weight: u8, label: &str, value: &str| {
        rows.push(Row {
            weight,
            text: format!(" {label:<14}{value}"),
        });
    };
    let more = match &status.health {
        Some(Health::Running { more, .. }) => Some(more),
        _ => None,
    };
    let (keys, health) = match &status.health {
        Some(Health::Running { keys, more }) => (keys.clone(), answers(&more.alarms)),
        Some(Health::Locked { why, .. }) => (why.clone(), "the exchange waits for its keys".to_owned()),
        Some(Health::Silent(why)) => (String::new(), why.clone()),
        None => (String::new(), "not known yet".to_owned()),
    };
    row(ALWAYS, "State", state(status));
    if let Some(work) = status.work.as_ref().filter(|_| status.state == State::Repairing) {
        row(IMPORTANT, "Work", work);
    }
    if !matches!(status.state, State::Install | State::SetUp) {
        row(IMPORTANT, "Health", &health);
        // Why they are locked is the one thing that nobody may miss: all of it is shown.
        let weight = if status.state == State::Locked { ALWAYS } else { USUAL };
        for (at, line) in wrap_to(&keys, COLUMNS - LABEL_COLUMNS)
            .iter()
            .take(KEYS_LINES)
            .enumerate()
        {
            row(
                if at == 0 { ALWAYS } else { weight },
                if at == 0 { "Keys" } else { "" },
                line.trim_start(),
            );
        }
    }
    if status.addresses.is_empty() {
        row(USUAL, "Addresses", "none");
    }
    for (at, address) in status.addresses.iter().take(EACH_MAX).enumerate() {
        row(if at == 0 { IMPORTANT } else { LITTLE }, "Address", address);
    }
    if let Some(more) = more {
        row(USUAL, "Peers", &more.peers);
        row(IMPORTANT, "Certificate", &more.certificate);
        row(IMPORTANT, "Last backup", &more.backup);
    }
    let trial = more.filter(|more| more.on_trial).map_or("", |_| ", on trial");
    row(USUAL, "Release", &format!("{}{trial}", crate::cli::VERSION));
    if let Some(time) = &status.time {
        row(USUAL, "Time", time);
    }
    let watchdog = status.watchdog.as_deref().unwrap_or("this machine shows none");
    row(LITTLE, "Watchdog", watchdog);
    let hardware = match &status.hardware {
        None => "not asked yet".to_owned(),
        Some(problems) => problems.first().map_or_else(
            || "well".to_owned(),
            |first| format!("{first} ({} in all)", problems.len()),
        ),
    };
    row(IMPORTANT, "Hardware", &hardware);
    if let Some(why) = &status.network {
        row(IMPORTANT, "Network", why);
    }
    if status.trial.is_some() {
        row(ALWAYS, "NETWORK", "for two minutes; 6 keeps it, else it goes back");
    }
    for (at, notice) in status.notices.iter().take(EACH_MAX).enumerate() {
        row(if at == 0 { IMPORTANT } else { LITTLE }, "Notice", notice);
    }
    rows
}

/// How the exchange is, in a line.
fn answers(alarms: &[String]) -> String {
    match alarms {
        [] => "the exchange answers".to_owned(),
        [one] => format!("the exchange answers; {one}"),
        [first, ..] => format!("the exchange answers; {first} ({} in all)", alarms.len()),
    }
}

/// What can be done: in one column, or in two if there is much.
fn menu(items: &[&Item]) -> Vec<String> {
    let text = |item: &&Item| format!("  {}  {}", item.key, item.label);
    if items.len() <= ONE_COLUMN_MAX {
        return items.iter().map(text).collect();
    }
    let (left, right) = items.split_at(items.len().div_ceil(2));
    let mut right = right.iter().map(text);
    left.iter()
        .map(|item| match right.next() {
            Some(second) => format!("{:<SECOND_COLUMN$}{second}", text(item)),
            None => text(item),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::release::Release;

    #[test]
    fn a_box_without_its_disk_is_not_called_new() {
        let shared = Shared::new(Release::default());
        shared.status.lock().state = State::SetUp;
        let is_new = |shared: &Shared| super::lines(shared).iter().any(|line| line.contains("not set up yet"));
        assert!(is_new(&shared));
        shared.status.lock().has_no_disk = true;
        assert!(!is_new(&shared));
    }

    #[test]
    fn an_exchange_that_never_answers_is_not_waited_for() {
        let shared = Shared::new(Release::default());
        let may_update = |shared: &Shared| super::lines(shared).iter().any(|line| line.contains("USB stick"));
        shared.status.lock().exchange_since = Some(std::time::Instant::now());
        assert!(!may_update(&shared), "it is about to answer");
        let long_ago = std::time::Instant::now().checked_sub(std::time::Duration::from_secs(61));
        shared.status.lock().exchange_since = long_ago;
        assert!(may_update(&shared));
        shared.status.lock().state = State::Locked;
        assert!(!may_update(&shared), "the keys are not open");
    }

    #[test]
    fn every_state_fits_on_a_screen() {
        let shared = Shared::new(Release::default());
        for state in [
            State::Starting,
            State::Repairing,
            State::Install,
            State::SetUp,
            State::Locked,
            State::Serving,
            State::Degraded,
            State::ReadOnly,
            State::Stopping,
        ] {
            for (trial, pin) in [(None, false), (Some(std::time::Instant::now()), true)] {
                {
                    let mut status = shared.status.lock();
                    status.state = state;
                    status.addresses = vec!["10.0.0.1 (eth0)".to_owned(); 20];
                    status.notices = vec!["x".to_owned(); 20];
                    status.network = Some("x".to_owned());
                    status.health = Some(Health::Locked {
                        why: "word ".repeat(100),
                        pin,
                    });
                    status.trial = trial;
                    status.time = Some("x".to_owned());
                    status.work = Some("the log is read".to_owned());
                }
                let lines = super::lines(&shared);
                assert!(lines.len() <= LINES_MAX, "{state:?}: {}", lines.len());
                assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:#?}");
                let status = shared.status.lock().clone();
                let items = items(&status);
                let keys: std::collections::HashSet<char> = items.iter().map(|item| item.key).collect();
                assert_eq!(keys.len(), items.len(), "every key once");
                let all = lines.join("\n");
                for item in items {
                    assert!(all.contains(item.label), "{}: {all}", item.label);
                }
                let why = lines.iter().filter(|line| line.contains("word word")).count();
                assert!(state != State::Locked || why == KEYS_LINES, "{all}");
                assert_eq!(
                    all.contains("TPM PIN"),
                    state == State::Serving || (state == State::Locked && pin),
                    "{all}"
                );
                assert_eq!(all.contains("the log is read"), state == State::Repairing, "{all}");
            }
        }
    }
}
