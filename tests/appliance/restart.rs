//! What is there after a restart, and what a disk tells whoever takes it out.

use crate::client::{forwarded, get, request};
use crate::firmware::Board;
use crate::set_up::{PASSWORD, PIN, set_up, shut_down, unlock};
use crate::virtual_machine::{Disk, VirtualMachine, uki};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

const MESSAGE: &str = "written-before-the-restart";

/// A machine with a network and a port of this one's that leads to its TLS; `board`: with firmware and a TPM.
fn start(disk: &Disk, board: Option<&Board>) -> (VirtualMachine, u16) {
    let (network, port) = forwarded(443);
    let arguments = ["-nic", &network];
    let machine = match board {
        Some(board) => VirtualMachine::start_on(board, disk, &arguments),
        None => VirtualMachine::start(disk, &arguments),
    };
    (machine, port)
}

pub fn text(answer: &Value, key: &str) -> String {
    answer.get(key).and_then(Value::as_str).unwrap().to_owned()
}

/// Waits until the box answers, and logs in.
pub fn log_in(port: u16) -> String {
    let body = json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": PASSWORD,
    });
    let since = Instant::now();
    loop {
        match request(port, "POST", "/_matrix/client/v3/login", None, Some(&body)) {
            Ok((200, answer)) => return text(&answer, "access_token"),
            other => assert!(since.elapsed() < Duration::from_secs(180), "{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Sends the message; answers where it is.
pub fn send(port: u16) -> String {
    let token = log_in(port);
    let room = json!({"preset": "private_chat"});
    let (_, room) = request(port, "POST", "/_matrix/client/v3/createRoom", Some(&token), Some(&room)).unwrap();
    let room = text(&room, "room_id");
    let target = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1");
    let message = json!({"msgtype": "m.text", "body": MESSAGE});
    let (status, sent) = request(port, "PUT", &target, Some(&token), Some(&message)).unwrap();
    assert_eq!(status, 200, "{sent}");
    format!("/_matrix/client/v3/rooms/{room}/event/{}", text(&sent, "event_id"))
}

pub fn is_there(port: u16, event: &str) {
    let (status, found) = get(port, event, Some(&log_in(port))).unwrap();
    assert_eq!(status, 200, "{found}");
    assert!(found.to_string().contains(MESSAGE), "{found}");
}

/// Whether any of the bytes of a disk are these.
pub fn has_bytes(disk: &Disk, wanted: &[u8]) -> bool {
    let mut file = File::open(disk.path()).unwrap();
    let mut window = Vec::new();
    let mut part = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut part).unwrap();
        if length == 0 {
            return false;
        }
        // A hole has nothing, and most of the disk is one.
        if part.iter().all(|byte| *byte == 0) {
            window.clear();
            continue;
        }
        window.extend_from_slice(part.get(..length).unwrap());
        if window.windows(wanted.len()).any(|bytes| bytes == wanted) {
            return true;
        }
        let keep = window.len().saturating_sub(wanted.len());
        window.drain(..keep);
    }
}

#[test]
fn without_a_tpm_the_recovery_key_opens_what_was_there() {
    let disk = Disk::blank();
    let (mut machine, port) = start(&disk, None);
    let key = set_up(&mut machine, "dhcp");
    println!("set up after {:?}", machine.age());
    let event = send(port);
    // The power goes without a word.
    drop(machine);

    let (mut machine, port) = start(&disk, None);
    let screen = machine.expect("Unlock with the recovery key");
    println!("locked after {:?}", machine.age());
    assert!(screen.contains("LOCKED"), "{screen}");
    assert!(
        !screen.contains("chat.example.org"),
        "the name of a locked box: {screen}"
    );
    machine.type_text("1");
    machine.answer(
        "Recovery key: ",
        "000012 005157 010293 015432 020572 025710 030853 035993",
    );
    machine.answer("Press Enter", "");
    // A wrong key costs a second.
    std::thread::sleep(Duration::from_secs(2));
    machine.choose("Unlock with the recovery key", "1", None);
    machine.answer("Recovery key: ", &key);
    machine.answer("type yes", "yes");
    let shown = machine.answer("Press Enter", "");
    assert!(shown.contains("typed at every start"), "{shown}");
    machine.expect("New administrator");
    println!("serving after {:?}", machine.age());
    is_there(port, &event);

    // Twice is not by chance: what was written after the first unlocking is there as well.
    let second = send(port);
    machine.command("system_powerdown");
    machine.wait_off();
    let (mut machine, port) = start(&disk, None);
    unlock(&mut machine, &key);
    is_there(port, &event);
    is_there(port, &second);
    machine.choose("Shut down", "7", Some(PIN));
    machine.answer("Press Enter", "");
    shut_down(&mut machine);

    // Neither names nor messages are on the disk in the clear, and it was grown.
    for secret in ["chat.example.org", MESSAGE, "lamchat.toml"] {
        assert!(!has_bytes(&disk, secret.as_bytes()), "{secret} is on the disk");
    }
    assert!(has_bytes(&disk, b"LAMKEYRG"), "the search finds what is there");
}

#[test]
fn a_tpm_opens_what_it_sealed_and_another_ones_box_is_locked() {
    let release = uki().parent().unwrap().to_owned();
    let (disk, board) = (Disk::blank(), Board::owned(&release));
    let (mut machine, port) = start(&disk, Some(&board));
    let key = set_up(&mut machine, "dhcp");
    println!("set up after {:?}", machine.age());
    let event = send(port);
    drop(machine);

    let (mut machine, port) = start(&disk, Some(&board));
    machine.expect("New administrator");
    println!("serving by itself after {:?}", machine.age());
    is_there(port, &event);
    shut_down(&mut machine);

    // The disk in another machine.
    board.exchange_tpm();
    let (mut machine, port) = start(&disk, Some(&board));
    let screen = machine.expect("Unlock with the recovery key");
    assert!(screen.contains("LOCKED") && screen.contains("TPM"), "{screen}");
    machine.type_text("1");
    machine.answer("Recovery key: ", &key);
    machine.answer("type yes", "yes");
    let shown = machine.answer("Press Enter", "");
    assert!(shown.contains("it starts by itself"), "{shown}");
    machine.expect("New administrator");
    is_there(port, &event);
    let second = send(port);
    shut_down(&mut machine);

    let (mut machine, port) = start(&disk, Some(&board));
    machine.expect("New administrator");
    is_there(port, &event);
    is_there(port, &second);
    shut_down(&mut machine);
}
