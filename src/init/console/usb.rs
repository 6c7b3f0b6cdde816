//! The menu of USB sticks. What each line does has a file of its own in `usb/`.

mod backup;
mod certificate;
mod configuration;
mod enrolment;
mod export;
mod update;

use super::acts;
use super::menu::{Far, Gate, Item, is_open, item};
use super::screen::{Echo, Screen};
use crate::init::state::{Shared, State, Status};
use crate::init::stick;
use lamchat_machine::usb::UsbDisk;
use std::sync::Arc;
use std::time::Duration;

/// Who chooses nothing for so long has gone away.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);
/// Bytes between two signs of life.
const SIGN_BYTES: u64 = 16 << 20;
const GIGABYTE: u64 = 1_000_000_000;
pub(super) const MEGABYTE: u64 = 1_000_000;

fn serves(status: &Status) -> bool {
    status.state == State::Serving
}

/// Also where nothing else is left to be done.
fn saves(status: &Status) -> bool {
    serves(status) || status.is_read_only
}

fn runs(status: &Status) -> bool {
    !matches!(status.state, State::Install | State::SetUp | State::Stopping)
}

/// Every item, in the order of the screen.
#[rustfmt::skip]
pub(super) const MENU: &[Item] = &[
    item('1', "Update from the stick",           is_open, Gate::Noted("usb-update"),  Far::Command("update apply"),   update::run),
    item('2', "Backup onto the stick",           saves,  Gate::Noted("usb-backup"),  Far::Command("backup create"),  backup::run),
    item('3', "Evidence, audit log and logs",    runs,   Gate::Tried("usb-export"),  Far::Command("audit export"),   export::run),
    item('4', "TLS certificate: the request",    serves, Gate::Elsewhere,            Far::Command("certificate request"), certificate::request),
    item('5', "TLS certificate from the stick",  serves, Gate::Elsewhere,            Far::Command("certificate install"), certificate::install),
    item('6', "Configuration onto the stick",    is_open, Gate::Noted("usb-configuration-out"), Far::Command("box show"), configuration::write),
    item('7', "Configuration from the stick",    is_open, Gate::Noted("usb-configuration"), Far::Command("box set"),  configuration::read),
    item('8', "Enrolment by an auditor",         serves, Gate::Noted("usb-enrolment"), Far::Command("attest enrol request"), enrolment::run),
    item('9', "TPM certificates from the stick", serves, Gate::Elsewhere,            Far::Command("attest ek-certificates"), enrolment::certificates),
    item('w', "Audit log: a witness's signature", serves, Gate::Elsewhere,           Far::Command("audit add-witness"), enrolment::witnessed),
    item('a', "Certificate authority onto it",   serves, Gate::Noted("usb-authority"), Far::Command("certificate authority"), certificate::authority),
];

/// Shows the menu until something was chosen and done.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let status = shared.status.lock().clone();
    let items: Vec<&Item> = MENU.iter().filter(|item| (item.when)(&status)).collect();
    let mut lines = vec![" USB stick".to_owned(), super::screen::rule(), String::new()];
    let text = "A stick with FAT32 (or FAT16), with or without partitions. exFAT and NTFS are not supported: format the \
                stick with FAT32 on a computer first. Pull it only when this screen says so.";
    lines.extend(super::screen::wrap(text));
    lines.push(String::new());
    lines.extend(items.iter().map(|item| format!("  {}  {}", item.key, item.label)));
    lines.extend([String::new(), "  Esc goes back.".to_owned()]);
    screen.draw(&lines)?;
    let Some(key) = screen.key(IDLE_MAX)? else {
        return Ok(());
    };
    match items.iter().find(|item| Some(item.key) == key.letter()) {
        Some(item) => acts::run(screen, shared, item),
        None => Ok(()),
    }
}

/// The stick: the only one, or the one that is chosen. `None`: there is none, or none was chosen.
pub(super) fn choose(screen: &mut Screen) -> std::io::Result<Option<UsbDisk>> {
    let found = stick::find();
    if let [one] = found.as_slice() {
        return Ok(Some(one.clone()));
    }
    if found.is_empty() {
        screen.page("No stick", "Plug a USB stick in, wait some seconds, and choose again.")?;
        screen.pause()?;
        return Ok(None);
    }
    screen.page("Which stick?", "")?;
    let names: Vec<String> = found.iter().map(describe).collect();
    Ok(pick(screen, &names)?.and_then(|at| found.get(at).cloned()))
}

fn describe(disk: &UsbDisk) -> String {
    let size = if disk.bytes >= GIGABYTE {
        format!("{} GB", disk.bytes / GIGABYTE)
    } else {
        format!("{} MB", disk.bytes / MEGABYTE)
    };
    format!("{} ({size}, {})", disk.name, disk.device.display())
}

/// Shows a list and asks for a number in it; answers the place. A list of one needs no question.
pub(super) fn pick(screen: &mut Screen, names: &[String]) -> std::io::Result<Option<usize>> {
    if names.len() < 2 {
        return Ok(names.first().map(|_| 0));
    }
    for (number, name) in (1..).zip(names) {
        let name: String = name.chars().filter(|letter| !letter.is_control()).take(70).collect();
        screen.print(&format!("  {number}  {name}\r\n"))?;
    }
    let Some(typed) = screen.ask("Number", Echo::Shown)? else {
        return Ok(None);
    };
    let number = typed.trim().parse::<usize>().unwrap_or_default();
    Ok(number.checked_sub(1).filter(|at| *at < names.len()))
}

/// Tells how it ended.
pub(super) fn tell(screen: &mut Screen, result: Result<String, String>) -> std::io::Result<()> {
    match result {
        Ok(text) => screen.page("Done", &text)?,
        Err(error) => screen.page("Not done", &error)?,
    }
    screen.pause()
}

/// Shows that something goes on: a line that is written over. A terminal that takes nothing does not stop the work.
pub(super) struct Signs<'s> {
    screen: &'s mut Screen,
    what: &'static str,
    shown: u64,
}

impl<'s> Signs<'s> {
    pub(super) fn new(screen: &'s mut Screen, what: &'static str) -> Self {
        let mut signs = Self { screen, what, shown: 0 };
        signs.print(0);
        signs
    }

    /// Something else is done from here on.
    pub(super) fn now(&mut self, what: &'static str) {
        // Nobody needs to see it.
        drop(self.screen.print("\r\n"));
        self.what = what;
        self.print(0);
    }

    /// So many bytes were handled in all.
    pub(super) fn at(&mut self, bytes: u64) {
        if bytes >= self.shown + SIGN_BYTES {
            self.print(bytes);
        }
    }

    fn print(&mut self, bytes: u64) {
        self.shown = bytes;
        let line = format!("\r {}: {} MB ", self.what, bytes / MEGABYTE);
        // Nobody needs to see it.
        drop(self.screen.print(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::MENU;
    use crate::init::console::menu::LABEL_CHARS_MAX;

    #[test]
    fn labels_are_short_and_keys_are_there_once() {
        let keys: std::collections::HashSet<char> = MENU.iter().map(|item| item.key).collect();
        assert_eq!(keys.len(), MENU.len());
        for item in MENU {
            assert!(item.label.chars().count() <= LABEL_CHARS_MAX, "{}", item.label);
        }
    }
}
