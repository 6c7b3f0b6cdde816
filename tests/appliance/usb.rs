//! What the console does with a USB stick, and what another computer makes of it.

use crate::client::forwarded;
use crate::opening::good_box;
use crate::restart::{is_there, send};
use crate::set_up::{PIN, set_up, shut_down};
use crate::stick::UsbStick;
use crate::update::{credential, far, start_with};
use crate::virtual_machine::{Disk, VirtualMachine, flat};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A machine without firmware into which a stick is plugged, and a port of this one's that leads to this one of the box's.
pub fn start(disk: &Disk, stick: &UsbStick, there: u16) -> (VirtualMachine, u16) {
    let (network, here) = forwarded(there);
    let stick = stick.arguments();
    let stick: Vec<&str> = stick.iter().map(String::as_str).collect();
    let machine = VirtualMachine::start(disk, &[&["-nic", &network], stick.as_slice()].concat());
    (machine, here)
}

/// Chooses a line of the stick's menu.
pub fn choose(machine: &mut VirtualMachine, label: &str, key: &str) {
    machine.choose("USB stick", "u", None);
    machine.choose(label, key, Some(PIN));
}

/// Waits for the end of an act, and goes back to the status screen; answers what it said.
pub fn done(machine: &mut VirtualMachine) -> String {
    machine.expect(" Done");
    machine.answer("Press Enter", "")
}

/// Waits for an act that is refused, and goes back; answers why, on one line.
pub fn refused(machine: &mut VirtualMachine) -> String {
    machine.expect(" Not done");
    flat(&machine.answer("Press Enter", ""))
}

/// Installs this release from the stick, which restarts the machine.
pub fn update(machine: &mut VirtualMachine, version: &str) {
    choose(machine, "Update from the stick", "1");
    let shown = machine.answer("Press Enter", "");
    assert!(shown.contains(&format!("Release {version}")), "{shown}");
    let pages = shown
        .rsplit_once("(1 of ")
        .and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
    for _ in 1..pages.unwrap_or(1) {
        machine.answer("Press Enter", "");
    }
    machine.answer("type yes", "yes");
    machine.wait_off();
}

/// A command on this computer.
pub fn here(folder: &Path, arguments: &[&str], typed: &str) -> Value {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lamchat"))
        .args(arguments)
        .arg("--json")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn of<'v>(value: &'v Value, key: &str) -> &'v Value {
    value.get(key).unwrap()
}

#[test]
fn a_backup_on_a_stick_is_restored_elsewhere_and_the_logs_are_verified() {
    let (disk, stick) = (Disk::blank(), UsbStick::new(false));
    let arguments = [vec!["-nic".to_owned(), "none".to_owned()], stick.arguments()].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut machine = VirtualMachine::start(&disk, &arguments);
    let key = set_up(&mut machine, "none");
    machine.choose("Check: two accounts", "3", Some(PIN));
    machine.expect("The exchange works");
    machine.answer("Press Enter", "");

    choose(&mut machine, "Backup onto the stick", "2");
    let said = done(&mut machine);
    assert!(said.contains("lamchat-backup-"), "{said}");
    choose(&mut machine, "Evidence, audit log", "3");
    machine.answer("Nonce, or nothing: ", "");
    let said = done(&mut machine);
    assert!(said.contains("audit.log") && said.contains("kernel.log"), "{said}");
    println!("backup and export after {:?}", machine.age());
    shut_down(&mut machine);

    stick.check();
    let folder = tempfile::tempdir().unwrap();
    let backup = stick.take("lamchat-backup-", folder.path());
    let backup = backup.to_str().unwrap();
    let verified = here(folder.path(), &["backup", "verify", backup], &format!("{key}\n"));
    assert_eq!(of(&verified, "server_name"), "chat.example.org");
    let restored = here(
        folder.path(),
        &["restore", backup, "--data-dir", "restored"],
        &format!("{key}\n"),
    );
    assert_eq!(of(&restored, "rows"), of(&verified, "rows"));

    let export = stick.take("lamchat-export-", folder.path());
    let log = export.join("audit.log");
    let verdict = here(
        folder.path(),
        &["audit", "verify", log.to_str().unwrap(), "--entries"],
        "",
    );
    let entries = of(&verdict, "entries").as_array().unwrap();
    for act in ["box.usb-backup", "backup.create", "box.usb-export"] {
        assert!(
            entries.iter().any(|entry| of(entry, "act") == act),
            "{act}: {entries:?}"
        );
    }
    for (name, text) in [("box.log", "an operator on"), ("kernel.log", "Linux version")] {
        let content = std::fs::read_to_string(export.join(name)).unwrap();
        assert!(content.contains(text), "{name}: {content}");
    }
}

#[test]
fn a_stick_brings_the_next_release_and_takes_evidence_along() {
    let next = PathBuf::from(std::env::var_os("LAMCHAT_NEXT_BUNDLE").unwrap());
    let (folder, nonce) = (tempfile::tempdir().unwrap(), "a5".repeat(16));
    let ((disk, board), stick) = (good_box(), UsbStick::new(true));
    std::fs::write(folder.path().join("nonce.txt"), format!("{nonce}\r\n")).unwrap();
    stick.put(&folder.path().join("nonce.txt"));
    stick.put(&next);

    let (mut machine, clients, _) = start_with(&disk, &board, &stick.arguments());
    set_up(&mut machine, "dhcp");
    let event = send(clients);
    choose(&mut machine, "Evidence, audit log", "3");
    let said = done(&mut machine);
    assert!(said.contains("evidence.json"), "{said}");

    update(&mut machine, "0.2.0");
    println!("installed from the stick and restarted after {:?}", machine.age());

    let export = stick.take("lamchat-export-", folder.path());
    let evidence: Value = serde_json::from_slice(&std::fs::read(export.join("evidence.json")).unwrap()).unwrap();
    assert!(evidence.to_string().contains(&nonce), "the evidence answers the nonce");
    // As the image starts it: nobody changes the kernel, and it takes no module that is not signed.
    for (name, text) in [
        ("kernel.log", "Kernel is locked down from"),
        ("kernel.log", "module.sig_enforce=1 lockdown=integrity"),
        (
            "box.log",
            "the kernel is locked down (integrity), and takes signed modules alone",
        ),
    ] {
        let content = std::fs::read_to_string(export.join(name)).unwrap();
        assert!(content.contains(text), "{name}: {content}");
    }
    let (mut machine, clients, port) = start_with(&disk, &board, &stick.arguments());
    let known = credential(&mut machine, folder.path());
    let status = far(port, &known, &["update", "status"]);
    assert_eq!(of(&status, "running"), "0.2.0", "{status}");
    is_there(clients, &event);
}
