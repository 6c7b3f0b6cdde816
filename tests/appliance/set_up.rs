//! The first set-up over the serial console of a machine without any network, and what the console does afterwards.

use crate::virtual_machine::{Disk, VirtualMachine};

pub const PIN: &str = "135790";
pub const PASSWORD: &str = "correct horse battery";

/// The eight blocks of a recovery key, as the screen shows them.
pub fn recovery_key(screen: &str) -> String {
    let words = screen.split(|letter: char| !letter.is_ascii_alphanumeric());
    let blocks: Vec<&str> = words
        .filter(|word| word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    assert!(blocks.len() >= 8, "no recovery key: {screen}");
    blocks.get(..8).unwrap().join(" ")
}

/// Answers the five questions, and types the recovery key back; the second time it is right.
pub fn set_up(machine: &mut VirtualMachine, network: &str) -> String {
    machine.choose("Set up this box", "1", None);
    machine.answer("1/5", "not a name!");
    machine.answer("1/5", "chat.example.org");
    machine.answer("2/5", network);
    machine.answer("3/5", "alice");
    for question in ["4/5", "again: "] {
        machine.answer(question, PASSWORD);
    }
    for question in ["5/5", "again: "] {
        machine.answer(question, PIN);
    }
    let key = recovery_key(&machine.answer("Press Enter", ""));
    machine.answer("Recovery key: ", "000000");
    machine.answer("Recovery key: ", &key);
    machine.answer("Press Enter", "");
    machine.expect("This box is set up");
    machine.answer("Press Enter", "");
    key
}

/// Opens the keys of a box that waits for it, and leaves them sealed as they are; then it serves.
pub fn unlock(machine: &mut VirtualMachine, key: &str) {
    machine.choose("Unlock with the recovery key", "1", None);
    machine.answer("Recovery key: ", key);
    machine.answer("type yes", "no");
    machine.expect("New administrator");
}

/// Makes a second account at the console, Bob's; what that says is left to be looked at.
pub fn make_bob(machine: &mut VirtualMachine, password: &str) {
    machine.choose("New administrator", "2", Some(PIN));
    machine.answer("Name: ", "bob");
    for question in ["Password: ", "again: "] {
        machine.answer(question, password);
    }
}

/// Shuts the machine down from the menu.
pub fn shut_down(machine: &mut VirtualMachine) {
    machine.choose("Shut down", "0", Some(PIN));
    machine.answer("type yes", "yes");
    machine.wait_off();
}

#[test]
fn without_a_network_two_accounts_exchange_a_message() {
    let disk = Disk::blank();
    let mut machine = VirtualMachine::start(&disk, &["-nic", "none", "-device", "i6300esb"]);
    let key = set_up(&mut machine, "none");
    println!("set up after {:?}", machine.age());

    machine.choose("Check: two accounts", "3", Some(PIN));
    machine.expect("The exchange works");
    machine.answer("Press Enter", "");

    // Neither a wrong PIN nor a wrong recovery key opens anything; the right key does as well as the PIN.
    machine.choose("Shut down", "7", Some("135791"));
    machine.expect("neither the PIN nor the recovery key");
    machine.answer("Press Enter", "");
    machine.choose("Shut down", "7", Some(&key));
    let log = machine.answer("Press Enter", "");
    assert!(log.contains("a wrong PIN or recovery key was typed"), "{log}");

    // A second time the two accounts are there already.
    machine.choose("Check: two accounts", "3", Some(PIN));
    machine.expect("The exchange works");
    machine.answer("Press Enter", "");

    shut_down(&mut machine);
}

#[test]
fn the_power_button_ends_the_run_and_the_watchdog_is_fed() {
    let disk = Disk::blank();
    let mut machine = VirtualMachine::start(&disk, &["-nic", "none", "-device", "i6300esb"]);
    let screen = machine.expect("Shut down");
    assert!(screen.contains("i6300ESB"), "the watchdog is not shown: {screen}");
    // Longer than the watchdog waits: QEMU would reset the machine, and `-no-reboot` end it.
    std::thread::sleep(std::time::Duration::from_secs(75));
    machine.type_text("x");
    machine.expect("not set up yet");
    machine.command("system_powerdown");
    // Nothing has to be ended first, so that the screen may not be drawn any more; this is the kernel's last word.
    machine.expect("reboot: Power down");
    machine.wait_off();
}
