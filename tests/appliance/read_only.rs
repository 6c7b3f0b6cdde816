//! A file system that turns out to be damaged: the box writes nothing more, says so, and gives out everything that it has.

use crate::opening::good_box;
use crate::restart::send;
use crate::set_up::{set_up, shut_down};
use crate::stick::UsbStick;
use crate::update::start_with;
use crate::usb::{choose, done, here};
use crate::virtual_machine::{Disk, VirtualMachine};
use lamchat_machine::gpt;
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Where the first groups' bitmaps of blocks are in the image's file system, which has its descriptors in each group
/// (`meta_bg`) and the bitmaps of sixteen groups in a row (`flex_bg`): behind superblock and descriptors.
const BITMAPS: std::ops::Range<u64> = 2 * 4096..4 * 4096;

/// Damages which blocks are free: the next file that is written finds it out.
fn damage(disk: &Disk) {
    let partitions = gpt::read(disk.path()).unwrap();
    let data = partitions
        .iter()
        .find(|partition| partition.label == "lamchat-data")
        .unwrap();
    let file = File::options().write(true).open(disk.path()).unwrap();
    let noise = vec![0xA5; usize::try_from(BITMAPS.end - BITMAPS.start).unwrap()];
    file.write_all_at(&noise, data.offset + BITMAPS.start).unwrap();
}

/// Saves the data onto the stick, and answers what a restore of them finds.
fn saved(machine: &mut VirtualMachine, stick: &UsbStick, key: &str) -> Value {
    choose(machine, "Backup onto the stick", "2");
    let said = done(machine);
    assert!(said.contains("lamchat-backup-"), "{said}");
    println!("saved after {:?}", machine.age());
    stick.check();
    let folder = tempfile::tempdir().unwrap();
    let backup = stick.take("lamchat-backup-", folder.path());
    let restore = ["restore", backup.to_str().unwrap(), "--data-dir", "restored"];
    let found = here(folder.path(), &restore, &format!("{key}\n"));
    std::fs::remove_dir_all(&backup).unwrap();
    found
}

#[test]
fn data_with_errors_are_only_read_and_saved_onto_a_stick() {
    let (disk, board) = good_box();
    let stick = UsbStick::new(false);
    let (mut machine, clients, _) = start_with(&disk, &board, &stick.arguments());
    let key = set_up(&mut machine, "dhcp");
    send(clients);
    choose(&mut machine, "Backup onto the stick", "2");
    done(&mut machine);
    machine.command("system_powerdown");
    machine.wait_off();
    let folder = tempfile::tempdir().unwrap();
    let backup = stick.take("lamchat-backup-", folder.path());
    let verify = ["backup", "verify", backup.to_str().unwrap()];
    let rows = |found: &Value| found.get("rows").and_then(Value::as_u64).unwrap();
    let before = rows(&here(folder.path(), &verify, &format!("{key}\n")));

    damage(&disk);
    let stick = UsbStick::new(false);
    let (mut machine, _, _) = start_with(&disk, &board, &stick.arguments());
    machine.expect("had errors");
    println!("noticed after {:?}", machine.age());
    machine.type_text("\r");
    let found = saved(&mut machine, &stick, &key);
    assert!(rows(&found) >= before, "{found}, and {before} before");
    let screen = machine.expect("Shut down");
    assert!(screen.contains("READ-ONLY"), "{screen}");
    machine.command("system_powerdown");
    machine.wait_off();

    // The file system says itself that it had errors. Nothing is served, and whoever saves the data needs the PIN.
    let stick = UsbStick::new(false);
    let (mut machine, _, _) = start_with(&disk, &board, &stick.arguments());
    let screen = machine.expect("READ-ONLY");
    assert!(screen.contains("chat.example.org"), "{screen}");
    assert!(!screen.contains("New administrator"), "{screen}");
    machine.choose("USB stick", "u", None);
    machine.choose("Backup onto the stick", "2", Some("000000"));
    let shown = machine.answer("Press Enter", "");
    assert!(shown.contains("neither the PIN nor the recovery key"), "{shown}");
    let again = saved(&mut machine, &stick, &key);
    assert_eq!(rows(&again), rows(&found));
    shut_down(&mut machine);
}
