//! The menu: a table with a line for each item. Whoever adds one adds a line, and a function that does it.

use super::{
    accept, acts, authority, change, check, firmware, install, mirror, pin, recovery, reset, restore, screen::Screen,
    setup, tpm_pin, usb,
};
use crate::init::state::{Shared, State, Status};
use std::sync::Arc;

/// What an item does; back on the status screen afterwards.
pub type Run = fn(&mut Screen, &Arc<Shared>) -> std::io::Result<()>;

/// Who has an item carried out, and who writes it into the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Everybody who stands there: there is no PIN yet, or none that could be read, or all of it is public. Nobody notes it.
    Open,
    /// Whoever types the PIN or the recovery key. Noted as `box.NAME` before it is done, or kept durably until the exchange
    /// can note it, and not done otherwise.
    Noted(&'static str),
    /// The same, but done even where it cannot be noted.
    Tried(&'static str),
    /// The same, and open to everybody where the configuration cannot be read: the power can be cut without us, and the logs
    /// say why it cannot be read.
    Always(&'static str),
    /// Whoever types the PIN or the recovery key; exchange or key holder note it themselves.
    Elsewhere,
}

/// How the same is done from a distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Far {
    /// By this command with `--server`.
    Command(&'static str),
    /// By these.
    Commands(&'static [&'static str]),
    /// It is not: why.
    Here(&'static str),
}

/// An item.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// The key that chooses it.
    pub key: char,
    /// What it says; at most [`LABEL_CHARS_MAX`] characters.
    pub label: &'static str,
    /// When it is there.
    pub when: fn(&Status) -> bool,
    /// Who may, and who notes it.
    pub gate: Gate,
    /// How it is done from a distance.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it with the commands"))]
    pub far: Far,
    /// What it does.
    pub run: Run,
}

/// Longest label: two of them stand beside each other.
#[cfg(test)]
pub const LABEL_CHARS_MAX: usize = 32;

/// An item of this or another menu.
pub const fn item(key: char, label: &'static str, when: fn(&Status) -> bool, gate: Gate, far: Far, run: Run) -> Item {
    Item {
        key,
        label,
        when,
        gate,
        far,
        run,
    }
}

fn installs(status: &Status) -> bool {
    status.state == State::Install
}

fn is_new(status: &Status) -> bool {
    status.state == State::SetUp
}

fn is_locked(status: &Status) -> bool {
    status.state == State::Locked && !status.is_foreign
}

fn asks_for_pin(status: &Status) -> bool {
    status.asks_for_pin() && is_locked(status)
}

/// Where the recovery key is all that helps.
fn needs_recovery(status: &Status) -> bool {
    is_locked(status) && !asks_for_pin(status)
}

fn serves(status: &Status) -> bool {
    status.state == State::Serving
}

/// Also where the exchange does not answer: what is done then may be what mends it.
pub fn is_open(status: &Status) -> bool {
    status.is_open()
}

fn has_stick(status: &Status) -> bool {
    status.is_open() || status.is_read_only
}

fn is_tried(status: &Status) -> bool {
    status.trial.is_some()
}

fn is_foreign(status: &Status) -> bool {
    status.is_foreign
}

fn is_mirror(status: &Status) -> bool {
    status.is_mirror && is_open(status)
}

fn runs(status: &Status) -> bool {
    status.state != State::Stopping
}

const NOTHING_YET: Far = Far::Here("before the set-up nobody has a credential");
const SECRET: Far = Far::Here("what is typed or shown must not pass through the exchange");

/// Every item, in the order of the screen.
#[rustfmt::skip]
const MENU: &[Item] = &[
    item('1', "Install on a disk",                installs,  Gate::Open,                     NOTHING_YET,                          install::run),
    item('2', "Only the firmware's keys",         installs,  Gate::Open,                     NOTHING_YET,                          firmware::alone),
    item('1', "Set up this box",                  is_new,    Gate::Open,                     NOTHING_YET,                          setup::run),
    item('2', "Restore a backup from a stick",    is_new,    Gate::Open,                     NOTHING_YET,                          restore::run),
    item('1', "Unlock with the TPM PIN",          asks_for_pin, Gate::Open,                  SECRET,                               tpm_pin::unlock),
    item('2', "Unlock with the recovery key",     asks_for_pin, Gate::Open,                  SECRET,                               recovery::unlock),
    item('1', "Unlock with the recovery key",     needs_recovery, Gate::Open,                SECRET,                               recovery::unlock),
    item('1', "New recovery key",                 serves,    Gate::Elsewhere,                SECRET,                               recovery::make),
    item('2', "New administrator",                serves,    Gate::Elsewhere,                Far::Command("user add"),             acts::administrator),
    item('3', "Check: two accounts, a message",   serves,    Gate::Noted("check"),           Far::Here("from there a client shows it"), check::run),
    item('4', "Network",                          is_open,   Gate::Noted("network"),         Far::Command("box set"),                 change::network),
    item('5', "Time",                             is_open,   Gate::Noted("time"),            Far::Commands(&["box set", "box set-clock"]), change::time),
    item('c', "Certificate authority",            serves,    Gate::Open,                     Far::Command("certificate authority"), authority::show),
    item('a', "Administration from a distance",   serves,    Gate::Elsewhere,                Far::Here("a stolen credential must not make others"), acts::credential),
    item('u', "USB stick",                        has_stick, Gate::Open,                     Far::Here("each of its lines says how"), usb::run),
    item('m', "Mirror",                           is_mirror, Gate::Noted("mirror"),          Far::Command("mirror add"),           mirror::run),
    item('p', "New console PIN",                  serves,    Gate::Noted("pin"),             Far::Here("whoever is far away does not stand at a console"), pin::run),
    item('t', "TPM PIN at each start",            serves,    Gate::Elsewhere,                SECRET,                               tpm_pin::run),
    item('x', "FACTORY RESET",                    serves,    Gate::Noted("factory-reset"),   Far::Here("a stolen credential must not destroy the box"), reset::run),
    item('1', "Accept this disk",                 is_foreign, Gate::Open,                    SECRET,                               accept::run),
    item('6', "Keep the new network",             is_tried,  Gate::Noted("network-confirm"), Far::Command("box confirm"),                 acts::confirm),
    item('7', "Log",                              runs,      Gate::Always("log"),            Far::Command("box log"),                 acts::log),
    item('8', "Kernel log",                       runs,      Gate::Always("kernel-log"),     Far::Command("box log"),                 acts::kernel_log),
    item('k', "Kernel log of the last crash",     serves,    Gate::Noted("crash-log"), Far::Command("box log"), acts::crash_log),
    item('9', "Restart",                          runs,      Gate::Always("restart"),        Far::Command("box restart"),                 acts::restart),
    item('0', "Shut down",                        runs,      Gate::Always("power-off"),      Far::Command("box power-off"),                 acts::power_off),
];

/// The items that are there now.
pub fn items(status: &Status) -> Vec<&'static Item> {
    MENU.iter().filter(|item| (item.when)(status)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_has_a_name_that_the_exchange_takes() {
        for item in MENU.iter().chain(usb::MENU) {
            if let Gate::Noted(name) | Gate::Always(name) = item.gate {
                assert!(lamchat_api_admin::audit::BOX_ACTS.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn labels_are_short() {
        for item in MENU {
            assert!(item.label.chars().count() <= LABEL_CHARS_MAX, "{}", item.label);
            assert!(item.key.is_ascii_digit() || item.key.is_ascii_lowercase());
        }
    }

    /// The box has no shell: what the console does is a command from a distance, or there is a reason.
    #[test]
    fn what_is_not_a_command_from_a_distance_says_why() {
        for item in MENU {
            match item.far {
                Far::Command(words) => assert!(crate::cli::works_far_away(words), "{words}"),
                Far::Commands(all) => assert!(all.iter().all(|words| crate::cli::works_far_away(words)), "{all:?}"),
                Far::Here(why) => assert!(!why.is_empty(), "{}", item.label),
            }
        }
    }
}
