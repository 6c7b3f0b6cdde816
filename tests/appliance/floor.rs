//! The security floor of a running box: it goes up only once every image that the box may start meets it, and then those
//! of before open the keys no more.

use crate::opening::{Begun, begin, good_box};
use crate::restart::is_there;
use crate::slots::{esp, mark_good, put_back};
use crate::update::{far, slot, start, tpm_slot, try_far};
use lamchat_slots::Slot;
use serde_json::Value;
use std::path::PathBuf;

/// The bundle of a release with security epoch 2; the image that is set up has 1.
pub fn bundle(version: &str) -> String {
    let folder = PathBuf::from(std::env::var_os("LAMCHAT_RAISED_BUNDLES").unwrap());
    folder
        .join(format!("{version}/lamchat-{version}.bundle"))
        .display()
        .to_string()
}

pub fn refused(port: u16, known: &(PathBuf, String), arguments: &[&str]) -> String {
    let output = try_far(port, known, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the `tpm` slot admits.
pub fn floor(status: &Value) -> u64 {
    tpm_slot(status).pointer("/seal/floor").and_then(Value::as_u64).unwrap()
}

#[test]
fn the_floor_goes_up_when_every_slot_meets_it_and_an_older_image_opens_nothing_then() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, board) = good_box();
    let before = esp(&disk);
    let (mut machine, clients, port) = start(&disk, &board);
    let Begun { event, known, .. } = begin(&mut machine, clients, folder.path());
    let sealed = far(port, &known, &["seal", "status"]);
    assert_eq!(floor(&sealed), 1, "{sealed}");
    // The set-up has the recovery key typed back, so a box federates.
    assert_eq!(sealed.pointer("/federation/on"), Some(&Value::Bool(true)), "{sealed}");
    let next = bundle("0.2.0");
    far(port, &known, &["update", "apply", &next, "--yes", "--restart"]);
    machine.wait_off();

    // Slot a is still what was set up: nobody's word helps.
    mark_good(&disk, Slot::B);
    let (mut machine, clients, port) = start(&disk, &board);
    machine.expect("New administrator");
    is_there(clients, &event);
    let status = far(port, &known, &["update", "status"]);
    let epoch = |status: &Value, name: &str| slot(status, name).get("epoch").and_then(Value::as_u64);
    assert_eq!(
        (epoch(&status, "a"), epoch(&status, "b")),
        (Some(1), Some(2)),
        "{status}"
    );
    let told = refused(port, &known, &["seal", "raise-floor", "2"]);
    assert!(
        told.contains("has security epoch 1") && told.contains("replace it first"),
        "{told}"
    );
    let told = refused(port, &known, &["seal", "raise-floor", "2", "--bootable", "2"]);
    assert!(told.contains("looks itself"), "{told}");
    assert_eq!(floor(&far(port, &known, &["seal", "status"])), 1);

    // Once it is replaced, the floor goes up; the slot that is taken away and made anew does not bring it down.
    far(port, &known, &["update", "apply", &bundle("0.3.0"), "--yes"]);
    let raised = far(port, &known, &["seal", "raise-floor", "2"]);
    assert_eq!(floor(&raised), 2, "{raised}");
    let told = refused(port, &known, &["seal", "raise-floor", "2"]);
    assert!(told.contains("is 2 or higher already"), "{told}");
    let sealed = tpm_slot(&raised);
    far(
        port,
        &known,
        &["seal", "remove", &sealed.get("id").unwrap().to_string()],
    );
    assert_eq!(floor(&far(port, &known, &["seal", "init"])), 2);
    let log = far(port, &known, &["audit", "show", "--limit", "100"]).to_string();
    assert!(log.contains("keyring.raise-floor"), "{log}");
    machine.command("system_powerdown");
    machine.wait_off();

    // The withdrawn image, as somebody would put it back who has the disk.
    put_back(&disk, &before);
    let (mut machine, _, _) = start(&disk, &board);
    let shown = machine.expect("Unlock with the recovery key");
    // Not because of anything else than the image.
    assert!(shown.contains("LOCKED") && !shown.contains("PCR 7 changed"), "{shown}");
}
