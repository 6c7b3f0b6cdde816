//! Releases that fail: each is left by itself after three starts, and everything is there.
//!
//! `LAMCHAT_FAULTY_BUNDLES` names a folder with an update for each way to fail (`faulty.rs`).

use crate::firmware::Board;
use crate::restart::{is_there, send};
use crate::set_up::set_up;
use crate::slots;
use crate::update::{credential, far, network};
use crate::virtual_machine::{Disk, VirtualMachine, uki};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// What the firmware says when it hands over.
pub const HAND_OVER: &str = "BdsDxe: starting";
/// A watchdog in hardware.
const WATCHDOG: &[&str] = &["-device", "i6300esb", "-action", "watchdog=reset"];
/// Starts of a release before it is left.
const STARTS: usize = 3;

/// Updates a box to a release that fails in this way; no start of it may take longer than `patience`.
fn falls_back(way: &str, patience: Duration, watchdog: &[&str]) -> VirtualMachine {
    let bundles = PathBuf::from(std::env::var_os("LAMCHAT_FAULTY_BUNDLES").unwrap());
    let bundle = bundles.join(format!("{way}.bundle"));
    let folder = tempfile::tempdir().unwrap();
    let (disk, board) = (Disk::blank(), Board::owned(uki().parent().unwrap()));
    slots::mark_good(&disk, lamchat_slots::Slot::A);
    let (network, clients, port) = network();
    let mut machine = VirtualMachine::start_restarting(&board, &disk, &[&["-nic", &network], watchdog].concat());
    machine.expect(HAND_OVER);
    set_up(&mut machine, "dhcp");
    let event = send(clients);
    let known = credential(&mut machine, folder.path());
    let bundle = bundle.to_str().unwrap();
    far(port, &known, &["update", "apply", bundle, "--yes", "--restart"]);
    // Nobody touches the machine any more.
    for start in 1..=STARTS {
        machine.expect_within(HAND_OVER, patience);
        println!(
            "{way}: start {start} of the release that fails after {:?}",
            machine.age()
        );
    }
    machine.expect_within(HAND_OVER, patience);
    machine.expect("New administrator");
    println!("{way}: back after {:?}", machine.age());
    is_there(clients, &event);
    let status = far(port, &known, &["update", "status"]);
    assert_eq!(status.get("running"), Some(&Value::from("0.1.0")), "{status}");
    assert_eq!(slots::names(&disk), ["lamchat-a.efi", "lamchat-b+0-3.efi"]);
    machine
}

#[test]
fn a_release_that_panics_at_its_start_is_left() {
    let machine = falls_back("panic", Duration::from_secs(180), WATCHDOG);
    let shown = machine.shown();
    assert_eq!(shown.matches("Attempted to kill init").count(), STARTS, "{shown}");
}

/// Process 1 gives it three minutes, and the exchange time to end.
#[test]
fn a_release_whose_exchange_never_answers_is_left() {
    falls_back("silent", Duration::from_secs(600), WATCHDOG);
}

/// Only the watchdog is left.
#[test]
fn a_release_whose_first_process_hangs_is_left() {
    falls_back("frozen", Duration::from_secs(400), WATCHDOG);
}

/// On a machine that has none, the kernel's own is left, which the console names.
#[test]
fn a_release_whose_first_process_hangs_is_left_without_a_watchdog_in_hardware() {
    let mut machine = falls_back("frozen", Duration::from_secs(400), &[]);
    machine.expect("Software Watchdog");
}
