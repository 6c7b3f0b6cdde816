//! The whole way of somebody who has bought a server: a stick, a blank disk, a firmware that belongs to nobody; five
//! questions without any network; then a network, and people who talk over it with a client that trusts this box alone.

use crate::authority::{at_console, fetch};
use crate::client::{free_port, get};
use crate::firmware::Board;
use crate::network::{captured, nothing_left_but};
use crate::nio::Nio;
use crate::set_up::{PASSWORD, PIN, make_bob, set_up, shut_down};
use crate::virtual_machine::{Disk, VirtualMachine, uki};
use crate::wire::is_of_firmware;
use serde_json::json;
use std::time::{Duration, Instant};

/// Bytes of a disk: what the installer asks for, and something.
const DISK_BYTES: u64 = 9 << 30;
/// The question below the list of disks.
const DISKS: &str = "(Enter looks again, Esc goes back): ";
/// How long a new network may take until somebody comes in.
const ANSWERS: Duration = Duration::from_secs(120);
/// How long the box is heard after the last that somebody asked of it.
const QUIET: Duration = Duration::from_secs(60);
const BOBS_PASSWORD: &str = "bread and butter and jam";

/// A machine with these disks and these further arguments of QEMU's. What it starts from is the firmware's choice.
fn start(board: &Board, disks: &[&Disk], arguments: &[String]) -> VirtualMachine {
    start_as(board, disks, arguments, |_| String::new())
}

/// The same, in an order that is told to the firmware: it wakes no network card then, whose driver would speak.
fn start_in_order(board: &Board, disks: &[&Disk], arguments: &[String]) -> VirtualMachine {
    start_as(board, disks, arguments, |number| format!(",bootindex={number}"))
}

fn start_as(board: &Board, disks: &[&Disk], arguments: &[String], order: impl Fn(usize) -> String) -> VirtualMachine {
    let drive =
        |number: usize, disk: &Disk| format!("if=none,id=disk{number},format=raw,file={}", disk.path().display());
    let mut words = Vec::new();
    for (number, disk) in disks.iter().enumerate() {
        if number > 0 {
            words.extend(["-drive".to_owned(), drive(number, disk)]);
        }
        let device = format!("virtio-blk-pci,drive=disk{number}{}", order(number));
        words.extend(["-device".to_owned(), device]);
    }
    words.extend(arguments.iter().cloned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    VirtualMachine::start_from(board, &drive(0, disks.first().unwrap()), &words)
}

fn no_network() -> Vec<String> {
    ["-nic", "none"].map(str::to_owned).to_vec()
}

/// The release's stick, which somebody chooses in the firmware's menu.
fn stick() -> Vec<String> {
    let stick = format!("{}-installer.img", uki().with_extension("").display());
    let words = [
        "-drive".to_owned(),
        format!("if=none,id=stick,format=raw,readonly=on,file={stick}"),
        "-device".to_owned(),
        "qemu-xhci".to_owned(),
        "-device".to_owned(),
        "usb-storage,drive=stick,bootindex=0".to_owned(),
    ];
    words.to_vec()
}

/// Installs on disks with these names.
fn install(machine: &mut VirtualMachine, names: &[&str]) {
    machine.choose("Install on a disk", "1", None);
    let screen = machine.expect(DISKS);
    assert!(screen.contains("in set-up mode"), "{screen}");
    let number = |name: &&str| {
        let mut lines = screen.lines();
        let line = lines.find(|line| line.split_whitespace().nth(1) == Some(*name));
        let line = line.unwrap_or_else(|| panic!("no {name}: {screen}"));
        line.split_whitespace().next().unwrap().to_owned()
    };
    let numbers: Vec<String> = names.iter().map(number).collect();
    machine.type_text(&format!("{}\r", numbers.join(" ")));
    let names = names.join(" ");
    machine.answer(&format!("Type {names} to go on: "), &names);
    machine.expect("The firmware is yours");
    machine.answer("Press Enter to go on", "");
    machine.wait_off();
    println!("installed on {names} after {:?}", machine.age());
}

/// Waits until the firmware starts something: the entry that the box made, and neither a network nor what it found itself.
fn starts_by_own_entry(machine: &mut VirtualMachine) {
    machine.expect("BdsDxe: starting ");
    let entry = machine.expect(" from ");
    assert!(entry.contains("\"LamChat"), "{entry}");
}

/// Gives the box a network at its console, and confirms it.
fn connect(machine: &mut VirtualMachine, port: u16) {
    machine.choose("Shut down", "4", Some(PIN));
    machine.answer("ROUTER: ", "dhcp");
    let since = Instant::now();
    while let Err(error) = get(port, "/_matrix/client/versions", None) {
        assert!(since.elapsed() < ANSWERS, "{error}");
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("in the network after {:?}", since.elapsed());
    machine.choose("Keep the new network", "6", Some(PIN));
}

/// Alice and Bob, over TLS, end-to-end encrypted; they trust what the console showed and nobody else.
fn talk(port: u16, console: &str) {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("lamchat-ca.pem");
    std::fs::write(&authority, fetch(port, console)).unwrap();
    let (mut alice, mut bob) = (Nio::start(port, &authority), Nio::start(port, &authority));
    alice.log_in("alice", PASSWORD);
    let invited = bob.log_in("bob", BOBS_PASSWORD);
    let room = alice.act("create_room", json!({"invite": [invited]}));
    let room = room.get("room_id").unwrap();
    bob.act("join", json!({"room_id": room}));
    alice.act("members", json!({"room_id": room, "joined": 2}));
    alice.tell(&mut bob, room, "do you read me?");
    bob.tell(&mut alice, room, "every word");
}

/// From the stick to people who talk; what the status screen showed with the network is answered.
fn tell(board: &Board, disks: &[&Disk], names: &[&str]) {
    let mut machine = start(board, disks, &[stick(), no_network()].concat());
    install(&mut machine, names);

    // Without any network.
    let mut machine = start(board, disks, &no_network());
    starts_by_own_entry(&mut machine);
    set_up(&mut machine, "none");
    println!("set up after {:?}", machine.age());
    machine.choose("Check: two accounts", "3", Some(PIN));
    machine.expect("The exchange works");
    machine.answer("Press Enter", "");
    make_bob(&mut machine, BOBS_PASSWORD);
    machine.expect("was made");
    machine.answer("Press Enter", "");
    shut_down(&mut machine);

    // The same box gets a card, and a network at its console.
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let capture = folder.path().join("capture");
    let rules = format!(",hostfwd=tcp:127.0.0.1:{port}-:443");
    // Without a driver of its own, so that the firmware has nothing to refuse.
    let mut machine = start_in_order(board, disks, &captured(&rules, &capture, ",romfile="));
    machine.expect("New administrator");
    println!("serving by itself after {:?}", machine.age());
    connect(&mut machine, port);
    let console = at_console(&mut machine);
    talk(port, &console);
    std::thread::sleep(QUIET);
    assert!(!machine.shown().contains("DEGRADED"), "{}", machine.shown());
    shut_down(&mut machine);
    nothing_left_but(&capture, is_of_firmware);
}

#[test]
fn from_a_blank_disk_to_two_people_who_talk() {
    let disk = Disk::empty(DISK_BYTES);
    tell(&Board::new(), &[&disk], &["vda"]);
}

#[test]
fn from_two_blank_disks_to_two_people_who_talk_on_a_mirror() {
    let ([first, second], board) = ([DISK_BYTES, DISK_BYTES + (64 << 20)].map(Disk::empty), Board::new());
    tell(&board, &[&first, &second], &["vda", "vdb"]);
    // Either disk has everything.
    let port = free_port();
    let network = format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:443");
    let card = "virtio-net-pci,netdev=net,romfile=";
    let network = ["-netdev", &network, "-device", card].map(str::to_owned);
    // By whichever entry: the order that QEMU told the firmware before is what it has kept.
    let mut machine = start(&board, &[&second], &network);
    crate::mirror::expect_alarm(&mut machine, "installed on two disks, without the first");
    let token = crate::restart::log_in(port);
    let (status, joined) = get(port, "/_matrix/client/v3/joined_rooms", Some(&token)).unwrap();
    assert_eq!(status, 200, "{joined}");
    let rooms = joined.get("joined_rooms").and_then(serde_json::Value::as_array);
    assert!(rooms.is_some_and(|rooms| !rooms.is_empty()), "{joined}");
    shut_down(&mut machine);
}
