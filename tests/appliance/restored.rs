//! A box that lost its disk is set up from its backup: on a new disk, with another TPM, from a stick.

use crate::client::request;
use crate::opening::{good_box, good_disk};
use crate::restart::{is_there, send};
use crate::set_up::{PASSWORD, PIN, make_bob, set_up, shut_down};
use crate::stick::UsbStick;
use crate::update::start_with;
use crate::usb::{choose, done, here};
use crate::virtual_machine::{VirtualMachine, flat};
use serde_json::{Value, json};
use std::path::Path;

/// The line of the menu.
pub const LINE: &str = "Restore a backup from a stick";
/// What asks for the key once more.
const AGAIN: &str = " Recovery key (or passphrase) of the backup: ";
/// The restored box's own.
pub const NEW_PIN: &str = "246802";
/// A recovery key of another box.
const WRONG: &str = "000012 005157 010293 015432 020572 025710 030853 035993";

/// Answers the three questions.
pub fn answer(machine: &mut VirtualMachine, key: &str) {
    machine.answer("1/3", key);
    machine.answer("2/3", "dhcp");
    for question in ["3/3", "again: "] {
        machine.answer(question, NEW_PIN);
    }
}

/// Chooses this backup of two.
fn begin(machine: &mut VirtualMachine, number: &str) -> String {
    machine.choose(LINE, "2", None);
    machine.answer("Number: ", number);
    machine.expect("come from it.")
}

fn entries(folder: &Path, stick: &UsbStick) -> Vec<String> {
    let export = stick.take("lamchat-export-", folder);
    let log = export.join("audit.log");
    let verdict = here(folder, &["audit", "verify", log.to_str().unwrap(), "--entries"], "");
    let entries = verdict.get("entries").and_then(Value::as_array).unwrap();
    let act = |entry: &Value| entry.get("act").and_then(Value::as_str).unwrap().to_owned();
    entries.iter().map(act).collect()
}

fn bob_logs_in(port: u16) -> bool {
    let body = json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "bob"},
        "password": PASSWORD,
    });
    matches!(
        request(port, "POST", "/_matrix/client/v3/login", None, Some(&body)),
        Ok((200, _))
    )
}

#[test]
fn a_new_disk_with_another_tpm_is_set_up_from_a_backup() {
    let ((disk, board), stick) = (good_box(), UsbStick::new(true));
    let (mut machine, clients, _) = start_with(&disk, &board, &stick.arguments());
    let key = set_up(&mut machine, "dhcp");
    make_bob(&mut machine, PASSWORD);
    done(&mut machine);
    let event = send(clients);
    choose(&mut machine, "Backup onto the stick", "2");
    done(&mut machine);
    shut_down(&mut machine);
    drop(disk);

    // A copy of which one byte is another one.
    let folder = tempfile::tempdir().unwrap();
    let backup = stick.take("lamchat-backup-", folder.path());
    for entry in std::fs::read_dir(&backup).unwrap() {
        let (path, mut content) = (
            entry.as_ref().unwrap().path(),
            std::fs::read(entry.unwrap().path()).unwrap(),
        );
        if path.ends_with("part-00001") {
            let middle = content.len() / 2;
            *content.get_mut(middle).unwrap() ^= 1;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        stick.write_into("lamchat-backup-damaged", name, &content);
    }

    let disk = good_disk();
    board.exchange_tpm();
    let (mut machine, _, _) = start_with(&disk, &board, &stick.arguments());
    let screen = begin(&mut machine, "1");
    assert!(flat(&screen).contains("lamchat-backup-damaged has"), "{screen}");
    answer(&mut machine, WRONG);
    let refused = machine.answer(AGAIN, &key);
    assert!(refused.contains("did not open"), "{refused}");
    machine.expect("Not set up");
    let refused = flat(&machine.answer("Press Enter", ""));
    assert!(refused.contains("damaged"), "{refused}");
    println!("a wrong key and a damaged copy are refused after {:?}", machine.age());

    // Nothing of that is in the way; the power goes in the middle of the right one.
    begin(&mut machine, "2");
    answer(&mut machine, &key);
    machine.expect("Restoring: ");
    drop(machine);
    let (mut machine, clients, _) = start_with(&disk, &board, &stick.arguments());
    begin(&mut machine, "2");
    answer(&mut machine, &key);
    machine.expect("This box is set up");
    let said = flat(&machine.answer("Press Enter", ""));
    assert!(
        said.contains("chat.example.org, as of") && said.contains("it starts by itself"),
        "{said}"
    );
    println!("restored after {:?}", machine.age());
    is_there(clients, &event);
    assert!(bob_logs_in(clients));
    let second = send(clients);

    // The audit log goes on, and the PIN is the new one.
    machine.choose("USB stick", "u", None);
    machine.choose("Evidence, audit log", "3", Some(PIN));
    machine.expect("neither the PIN nor the recovery key");
    machine.answer("Press Enter", "");
    machine.choose("USB stick", "u", None);
    machine.choose("Evidence, audit log", "3", Some(NEW_PIN));
    machine.answer("Nonce, or nothing: ", "");
    done(&mut machine);
    // The power goes, and the box starts by its new seal.
    drop(machine);
    let acts = entries(folder.path(), &stick);
    let at = |act: &str| acts.iter().position(|known| known == act);
    let order = [
        "box.set-up",
        "box.usb-backup",
        "backup.restored",
        "box.restore",
        "box.usb-export",
    ]
    .map(at);
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{acts:?}");
    let (mut machine, clients, _) = start_with(&disk, &board, &stick.arguments());
    machine.expect("New administrator");
    println!("serving by itself after {:?}", machine.age());
    is_there(clients, &event);
    is_there(clients, &second);
}
