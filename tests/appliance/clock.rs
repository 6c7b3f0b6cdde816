//! A box whose clock battery is dead: after a power cut it goes on at the time of what it took last.

use crate::client::{forwarded, get};
use crate::restart::{log_in, send};
use crate::set_up::{set_up, shut_down, unlock};
use crate::virtual_machine::{Disk, VirtualMachine};
use std::time::Duration;

/// What the clock says at every start: long before any release.
const DEAD: [&str; 2] = ["-rtc", "base=2001-01-01T00:00:00"];
/// Between what process 1 writes down once the box serves, and the last message.
const LATER: Duration = Duration::from_secs(90);

fn start(disk: &Disk, clock: &[&str]) -> (VirtualMachine, u16) {
    let (network, port) = forwarded(443);
    let arguments = [&["-nic", network.as_str()], clock].concat();
    (VirtualMachine::start(disk, &arguments), port)
}

/// When an event was sent, in milliseconds since 1970, by the box's clock.
fn time_of(port: u16, event: &str) -> u64 {
    let (status, found) = get(port, event, Some(&log_in(port))).unwrap();
    assert_eq!(status, 200, "{found}");
    found.get("origin_server_ts").unwrap().as_u64().unwrap()
}

#[test]
fn a_clock_that_forgets_goes_on_at_the_last_commit() {
    let disk = Disk::blank();
    let (mut machine, port) = start(&disk, &[]);
    let key = set_up(&mut machine, "dhcp");
    machine.expect("New administrator");
    std::thread::sleep(LATER);
    let before = time_of(port, &send(port));
    // The power goes without a word.
    drop(machine);

    let (mut machine, port) = start(&disk, &DEAD);
    unlock(&mut machine, &key);
    let after = time_of(port, &send(port));
    println!("sent at {before}, and after the restart at {after}");
    assert!(after >= before, "{before} was told before, {after} is told now");
    shut_down(&mut machine);
}
