//! Another PIN, the factory reset whole and cut off, and a disk whose record somebody has changed.

use crate::restart::has_bytes;
use crate::set_up::{PIN, set_up, shut_down};
use crate::virtual_machine::{Disk, VirtualMachine};
use lamchat_machine::two_copies::{self, RECORD};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// How a keyring's file begins: as long as it is on the disk, it opens by its recovery key.
const KEYRING: &[u8] = b"LAMKEYRG";
const NO_NETWORK: [&str; 2] = ["-nic", "none"];

/// Changes the record of the set-up on a disk that is in no machine.
fn change_record(disk: &Disk, change: impl FnOnce(String) -> String) {
    let file = File::options().read(true).write(true).open(disk.path()).unwrap();
    let partitions = lamchat_machine::gpt::read(disk.path()).unwrap();
    let keyring = partitions
        .iter()
        .find(|partition| partition.label == "lamchat-keyring")
        .unwrap();
    let mut bytes = vec![0; usize::try_from(keyring.length).unwrap()];
    file.read_exact_at(&mut bytes, keyring.offset).unwrap();
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(copy.path(), &bytes).unwrap();
    let partition = File::options().read(true).write(true).open(copy.path()).unwrap();
    let record = two_copies::read(&partition, &RECORD).unwrap().unwrap();
    let changed = change(String::from_utf8(record).unwrap());
    two_copies::write(&partition, &RECORD, changed.as_bytes()).unwrap();
    file.write_all_at(&std::fs::read(copy.path()).unwrap(), keyring.offset)
        .unwrap();
}

#[test]
fn a_box_that_is_set_back_has_no_keys_and_begins_anew() {
    let disk = Disk::blank();
    let mut machine = VirtualMachine::start(&disk, &NO_NETWORK);
    set_up(&mut machine, "none");
    assert!(has_bytes(&disk, KEYRING));

    let new_pin = "246802";
    machine.choose("Shut down", "p", Some(PIN));
    machine.answer("New PIN: ", new_pin);
    machine.answer("New PIN again: ", new_pin);
    machine.expect("is good on every console");
    machine.answer("Press Enter", "");
    machine.choose("Shut down", "x", Some(PIN));
    machine.expect("neither the PIN nor the recovery key");
    machine.answer("Press Enter", "");

    machine.choose("Shut down", "x", Some(new_pin));
    let shown = machine.answer("destroy its data: ", "another.example.org");
    assert!(shown.contains("The audit log"), "{shown}");
    machine.expect("Nothing was done");
    machine.answer("Press Enter", "");
    machine.choose("Shut down", "x", Some(new_pin));
    machine.answer("destroy its data: ", "chat.example.org");
    machine.expect("The keys are destroyed");
    machine.wait_off();
    assert!(!has_bytes(&disk, KEYRING), "a keyring is left");

    let mut machine = VirtualMachine::start(&disk, &NO_NETWORK);
    set_up(&mut machine, "none");
    shut_down(&mut machine);

    // The power went before anything but the decision was written.
    change_record(&disk, |record| record.replace("\"done\"", "\"erasing\""));
    let mut machine = VirtualMachine::start(&disk, &NO_NETWORK);
    machine.expect("Set up this box");
    assert!(!has_bytes(&disk, KEYRING), "a keyring is left");
    machine.type_text("x");
    machine.expect("not set up yet");
}

#[test]
fn a_changed_record_opens_nothing_before_somebody_accepts_it() {
    let disk = Disk::blank();
    let mut machine = VirtualMachine::start(&disk, &NO_NETWORK);
    let key = set_up(&mut machine, "none");
    shut_down(&mut machine);

    // As a release before this one wrote it: inside of the encryption the box knows better.
    change_record(&disk, |record| {
        let (before, after) = record.split_once("\"mac\":\"").unwrap();
        format!("{before}\"was\":\"{after}")
    });
    let mut machine = VirtualMachine::start(&disk, &NO_NETWORK);
    machine.choose("Unlock with the recovery key", "1", None);
    machine.answer("Recovery key: ", &key);
    machine.answer("type yes", "no");
    machine.expect("somebody has changed the record");
    machine.choose("Accept this disk", "1", None);
    machine.answer("Recovery key: ", &key);
    machine.expect("Accepted");
    machine.wait_off();

    let mut machine = VirtualMachine::start(&disk, &NO_NETWORK);
    machine.choose("Unlock with the recovery key", "1", None);
    machine.answer("Recovery key: ", &key);
    machine.answer("type yes", "no");
    machine.expect("New administrator");
    shut_down(&mut machine);
}
