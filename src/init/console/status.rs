//! The status screen: what is, then what can be done. At most [`LINES_MAX`] lines, and no line loses its end: what is too
//! long goes on below, what matters least goes first, and what needs somebody is there in the order of how bad it is.

use super::layout::{ALWAYS, IMPORTANT, LITTLE, Row, SOME, Trouble, USUAL, fit, troubles};
use super::lines::{fold, width};
use super::menu::{Item, items};
use super::screen::{COLUMNS, rule};
use crate::init::state::{Health, Shared, State, Status};
use lamchat_notices::Level;

/// Lines of the screen: the cursor has the 25th.
const LINES_MAX: usize = 24;
/// Addresses that are shown.
const EACH_MAX: usize = 2;
/// Columns of a name that has the clock beside it.
const NAME_COLUMNS: usize = 57;
/// Where the second column of the menu begins.
const SECOND_COLUMN: usize = 40;
/// A menu of so many items has one column.
const ONE_COLUMN_MAX: usize = 6;

/// All lines.
pub fn lines(shared: &Shared) -> Vec<String> {
    let status = shared.status.lock().clone();
    let site = shared.site.lock().clone();
    let name = site.map_or_else(|| "LamChat".to_owned(), |site| site.server_name);
    let clock = crate::cli::output::time(lamchat_machine::time::now_ms());
    let minute: String = clock.chars().take(16).collect();
    screen(&status, &name, &minute)
}

/// The same of what was given.
fn screen(status: &Status, name: &str, minute: &str) -> Vec<String> {
    let mut lines = title(name, minute);
    let menu = menu(&items(status));
    // Two rules: the title's, the menu's.
    let room = LINES_MAX.saturating_sub(lines.len() + menu.len() + 2);
    let mut rows = rows(status);
    let needs_somebody = troubles(needs_somebody(status), &rows, room, status.is_open());
    // Below what is always there.
    let place = rows.iter().position(|row| row.weight < ALWAYS).unwrap_or(rows.len());
    rows.splice(place..place, needs_somebody);
    lines.push(rule());
    lines.extend(fit(rows, room).iter().flat_map(Row::lines));
    lines.push(rule());
    lines.extend(menu);
    lines
}

/// The box's name, and the time beside it.
fn title(name: &str, minute: &str) -> Vec<String> {
    let mut lines = fold(name, COLUMNS - 2);
    let last = lines.pop().unwrap_or_default();
    let (above, beside) = if width(&last) > NAME_COLUMNS {
        (Some(last), String::new())
    } else {
        (None, last)
    };
    lines.extend(above);
    let gap = " ".repeat(NAME_COLUMNS.saturating_sub(width(&beside)));
    lines.push(format!("{beside}{gap} {minute} UTC"));
    lines.into_iter().map(|line| format!(" {line}")).collect()
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

/// What is, but for what needs somebody. What is always there comes first.
fn rows(status: &Status) -> Vec<Row> {
    let mut rows = vec![Row::new(ALWAYS, "State", state(status))];
    let more = match &status.health {
        Some(Health::Running { more, .. }) => Some(more),
        _ => None,
    };
    let (keys, health) = match &status.health {
        // Its alarms tell more.
        Some(Health::Running { keys, more }) if !more.alarms.is_empty() => (keys.as_str(), None),
        Some(Health::Running { keys, .. }) => (keys.as_str(), Some("the exchange answers")),
        Some(Health::Locked { why, .. }) => (why.as_str(), Some("the exchange waits for its keys")),
        Some(Health::Silent(why)) => ("", Some(why.as_str())),
        None => ("", Some("not known yet")),
    };
    if let Some(work) = status.work.as_ref().filter(|_| status.state == State::Repairing) {
        rows.push(Row::new(ALWAYS, "Work", work));
    }
    if !matches!(status.state, State::Install | State::SetUp) {
        rows.extend(health.map(|health| Row::new(ALWAYS, "Health", health)));
        if !keys.is_empty() {
            // Why they are locked is the one thing that nobody may miss: all of it is shown.
            let is_locked = status.state == State::Locked;
            rows.push(Row::of_keys(keys, if is_locked { ALWAYS } else { SOME }));
        }
    }
    if status.trial.is_some() {
        rows.push(Row::new(
            ALWAYS,
            "NETWORK",
            "for two minutes; 6 keeps it, else it goes back",
        ));
    }
    if status.addresses.is_empty() {
        rows.push(Row::new(USUAL, "Addresses", "none"));
    }
    for (at, address) in status.addresses.iter().take(EACH_MAX).enumerate() {
        rows.push(Row::new(if at == 0 { IMPORTANT } else { LITTLE }, "Address", address));
    }
    if let Some(more) = more {
        rows.push(Row::new(USUAL, "Peers", &more.peers));
        rows.push(Row::new(SOME, "Certificate", &more.certificate));
        rows.push(Row::new(SOME, "Last backup", &more.backup));
    }
    let trial = more.filter(|more| more.on_trial).map_or("", |_| ", on trial");
    rows.push(Row::new(USUAL, "Release", &format!("{}{trial}", crate::cli::VERSION)));
    if let Some(time) = &status.time {
        rows.push(Row::new(USUAL, "Time", time));
    }
    let watchdog = status.watchdog.as_deref().unwrap_or("this machine shows none");
    rows.push(Row::new(LITTLE, "Watchdog", watchdog));
    match &status.hardware {
        None => rows.push(Row::new(SOME, "Hardware", "not asked yet")),
        Some(problems) if problems.is_empty() => rows.push(Row::new(SOME, "Hardware", "well")),
        Some(_) => {}
    }
    rows
}

/// What needs somebody, the worst first. What process 1 itself has to say is why the exchange does not answer, where it
/// does not: nothing is worse then. Else it comes before what is a warning.
fn needs_somebody(status: &Status) -> Vec<Trouble<'_>> {
    let alarms = match &status.health {
        Some(Health::Running { more, .. }) => Some(&more.alarms),
        _ => None,
    };
    let own = if alarms.is_some() {
        Level::Warning
    } else {
        Level::Failed
    };
    let mut all: Vec<Trouble<'_>> = Vec::new();
    all.extend(status.notices.iter().map(|notice| (own, "Notice", notice.as_str())));
    all.extend(status.network.iter().map(|why| (own, "Network", why.as_str())));
    let labelled = [("Health", alarms), ("Hardware", status.hardware.as_ref())];
    for (label, told) in labelled {
        let told = told.into_iter().flatten();
        all.extend(told.map(|trouble| (trouble.level, label, trouble.sentence.as_str())));
    }
    // What is as bad stays in this order.
    all.sort_by_key(|(level, ..)| std::cmp::Reverse(*level));
    all
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
#[path = "status_tests.rs"]
mod tests;
