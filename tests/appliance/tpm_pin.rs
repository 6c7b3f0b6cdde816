//! A PIN beside the TPM: each start waits for it at the console, updates keep it, and a start that waits is none of a
//! release's failures.

use crate::opening::{Begun, begin, good_box};
use crate::restart::is_there;
use crate::set_up::{PIN, shut_down};
use crate::slots::{mark_good, names};
use crate::update::{far, start, tpm_slot};
use crate::virtual_machine::{Disk, VirtualMachine, flat};
use lamchat_slots::Slot;
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub const TPM_PIN: &str = "24681012";
const ANOTHER: &str = "11335577";

/// Types a new PIN twice.
pub fn new_pin(machine: &mut VirtualMachine, pin: &str) {
    machine.answer("New TPM PIN: ", pin);
    machine.answer("again: ", pin);
}

/// Waits until the box asks for its PIN; answers its screen.
pub fn waits(machine: &mut VirtualMachine) -> String {
    let screen = machine.expect("Unlock with the TPM PIN");
    println!("waits for its PIN after {:?}", machine.age());
    assert!(screen.contains("WAITING FOR ITS TPM PIN"), "{screen}");
    assert!(
        !screen.contains("chat.example.org"),
        "the name of a locked box: {screen}"
    );
    screen
}

/// Types a PIN that is wrong.
fn is_wrong(machine: &mut VirtualMachine, pin: &str) {
    machine.type_text("1");
    machine.answer("TPM PIN: ", pin);
    let told = flat(&machine.answer("Press Enter", ""));
    assert!(
        told.contains("the PIN is wrong") && told.contains("more wrong ones"),
        "{told}"
    );
}

/// Types the right one.
fn opens(machine: &mut VirtualMachine, pin: &str) {
    machine.choose("Unlock with the TPM PIN", "1", None);
    machine.answer("TPM PIN: ", pin);
    machine.expect("New administrator");
    println!("serves after {:?}", machine.age());
}

/// Waits until the file of the release on trial is called so.
fn is_called(machine: &mut VirtualMachine, disk: &Disk, wanted: &str) {
    let since = Instant::now();
    loop {
        let names = names(disk);
        if names.iter().any(|name| name == wanted) {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(120), "{names:?} and not {wanted}");
        machine.read();
    }
}

/// What the `tpm` slot says about a PIN, and whether the box can keep it.
fn asks(status: &Value) -> (bool, bool) {
    let slot = tpm_slot(status);
    let is = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap();
    let asks = is(slot.pointer("/seal/pin"));
    assert_eq!(is(status.pointer("/tpm/pin")), asks, "{status}");
    (asks, is(status.pointer("/tpm/pin_kept")))
}

fn rebind(port: u16, known: &(PathBuf, String)) -> Value {
    let status = far(port, known, &["seal", "status"]);
    let id = tpm_slot(&status).get("id").unwrap().to_string();
    far(port, known, &["seal", "rebind", &id])
}

#[test]
fn each_start_waits_for_the_pin_which_updates_keep_and_the_recovery_key_replaces() {
    let next = PathBuf::from(std::env::var_os("LAMCHAT_NEXT_BUNDLE").unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (disk, board) = good_box();
    let (mut machine, clients, port) = start(&disk, &board);
    let Begun { key, event, known } = begin(&mut machine, clients, folder.path());
    assert_eq!(asks(&far(port, &known, &["seal", "status"])), (false, false));
    machine.choose("TPM PIN at each start", "t", Some(PIN));
    machine.answer("Type on to have one: ", "on");
    machine.answer("New TPM PIN: ", "12345");
    machine.answer("again: ", "12345");
    machine.expect("6 to 32 digits");
    new_pin(&mut machine, TPM_PIN);
    machine.expect("Each start asks for this PIN");
    machine.answer("Press Enter", "");
    // From a distance nobody types one, and nobody is rid of it.
    assert_eq!(asks(&far(port, &known, &["seal", "status"])), (true, true));
    assert_eq!(asks(&rebind(port, &known)), (true, true));
    let log = far(port, &known, &["audit", "show", "--limit", "100"]).to_string();
    assert!(log.contains("box.tpm-pin") && !log.contains(TPM_PIN), "{log}");
    far(
        port,
        &known,
        &["update", "apply", next.to_str().unwrap(), "--yes", "--restart"],
    );
    machine.wait_off();

    // A release on trial has all of its attempts as long as nobody comes.
    let (mut machine, _, _) = start(&disk, &board);
    waits(&mut machine);
    is_called(&mut machine, &disk, "lamchat-b+3.efi");
    drop(machine);
    let (mut machine, clients, port) = start(&disk, &board);
    waits(&mut machine);
    is_called(&mut machine, &disk, "lamchat-b+3.efi");
    is_wrong(&mut machine, "99999999");
    opens(&mut machine, TPM_PIN);
    is_there(clients, &event);
    is_called(&mut machine, &disk, "lamchat-b+2-1.efi");
    let status = far(port, &known, &["update", "status"]);
    assert_eq!(status.get("running"), Some(&Value::from("0.2.0")), "{status}");
    assert_eq!(asks(&rebind(port, &known)), (true, true));
    shut_down(&mut machine);
    mark_good(&disk, Slot::B);

    // The recovery key opens it without, and what is sealed then has another PIN.
    let (mut machine, clients, port) = start(&disk, &board);
    waits(&mut machine);
    machine.choose("Unlock with the recovery key", "2", None);
    machine.answer("Recovery key: ", &key);
    machine.answer("type yes", "yes");
    new_pin(&mut machine, ANOTHER);
    let told = flat(&machine.answer("Press Enter", ""));
    assert!(told.contains("asks for the PIN at each start"), "{told}");
    machine.expect("New administrator");
    is_there(clients, &event);
    assert_eq!(asks(&far(port, &known, &["seal", "status"])), (true, true));
    shut_down(&mut machine);

    let (mut machine, clients, port) = start(&disk, &board);
    waits(&mut machine);
    is_wrong(&mut machine, TPM_PIN);
    opens(&mut machine, ANOTHER);
    machine.choose("TPM PIN at each start", "t", Some(PIN));
    machine.answer("off for none: ", "off");
    machine.expect("No start asks for a PIN any more");
    machine.answer("Press Enter", "");
    is_there(clients, &event);
    assert_eq!(asks(&far(port, &known, &["seal", "status"])), (false, false));
    shut_down(&mut machine);

    let (mut machine, clients, _) = start(&disk, &board);
    machine.expect("New administrator");
    println!("serves by itself after {:?}", machine.age());
    is_there(clients, &event);
    shut_down(&mut machine);
}
