//! Two disks that hold the same: each is pulled, with the power off and on, and comes back.

use crate::client::forwarded;
use crate::firmware::Board;
use crate::restart::{is_there, send};
use crate::set_up::{PIN, set_up, shut_down};
use crate::told::Administrator;
use crate::update::network;
use crate::virtual_machine::{Disk, VirtualMachine, uki};
use std::time::{Duration, Instant};

/// How soon a failure has to be told.
const ALARM_MAX: Duration = Duration::from_secs(60);

/// Bytes of the disks: what is filled takes its time here. The second one is larger, and no more of it is used.
pub const DISKS: [u64; 2] = [1_400 << 20, 1_464 << 20];

/// A machine with firmware and a TPM, a disk, perhaps another one, and a port that leads to its TLS. Either disk can be
/// pulled: `booted` and `pulled`.
fn start(board: &Board, disk: &Disk, other: Option<&Disk>) -> (VirtualMachine, u16) {
    let (network, port) = forwarded(443);
    (start_with(board, disk, other, &network), port)
}

/// The same with this network.
pub fn start_with(board: &Board, disk: &Disk, other: Option<&Disk>, network: &str) -> VirtualMachine {
    start_beside(board, disk, other, &["-nic".to_owned(), network.to_owned()])
}

/// The same with these arguments of QEMU's, its network among them.
pub fn start_beside(board: &Board, disk: &Disk, other: Option<&Disk>, beside: &[String]) -> VirtualMachine {
    // In an order, so that the firmware does not wait for networks when a disk is not where it was.
    let main = format!("file={},if=none,id=main,format=raw", disk.path().display());
    // Behind a port of its own: PCI Express takes a device away from nowhere else.
    let port = "pcie-root-port,id=first,chassis=1,slot=1";
    let device = "virtio-blk-pci,drive=main,id=booted,bus=first,bootindex=0";
    let mut arguments = ["-device", port, "-device", device].map(str::to_owned).to_vec();
    arguments.extend_from_slice(beside);
    if let Some(other) = other {
        let drive = format!("file={},if=none,id=other,format=raw", other.path().display());
        let port = "pcie-root-port,id=bay,chassis=2,slot=2";
        let device = "virtio-blk-pci,drive=other,id=pulled,bus=bay,bootindex=1";
        arguments.extend(["-device", port, "-drive", &drive, "-device", device].map(str::to_owned));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    VirtualMachine::start_from(board, &main, &arguments)
}

/// Waits until a machine serves by itself and says that a disk is missing.
pub fn expect_alarm(machine: &mut VirtualMachine, what: &str) {
    // It may be told before the exchange answers.
    let before = machine.expect("New administrator");
    let since = Instant::now();
    if !before.contains("MIRROR DEGRADED") {
        machine.expect("MIRROR DEGRADED");
    }
    println!(
        "{what}: serving after {:?}, alarm {:?} later",
        machine.age(),
        since.elapsed()
    );
    assert!(since.elapsed() < ALARM_MAX, "{what}");
}

/// Adds the disk that the kernel calls so, and waits until it has everything.
pub fn add(machine: &mut VirtualMachine, name: &str) {
    machine.choose("Mirror", "m", Some(PIN));
    machine.answer("name of the disk to add", name);
    machine.expect("is being filled");
    machine.answer("Press Enter", "");
    let since = Instant::now();
    while !log(machine).contains("the mirror is whole") {
        assert!(since.elapsed() < Duration::from_secs(240), "{name} is not filled");
        std::thread::sleep(Duration::from_secs(5));
    }
    println!("{name} filled after {:?}", since.elapsed());
}

/// The last lines of the box's log.
fn log(machine: &mut VirtualMachine) -> String {
    machine.choose("Shut down", "7", Some(PIN));
    machine.answer("Press Enter", "")
}

#[test]
fn each_disk_of_a_mirror_may_be_pulled_and_comes_back() {
    let release = uki().parent().unwrap().to_owned();
    let ([first, second], board) = (DISKS.map(Disk::grown), Board::owned(&release));
    let (mut machine, port) = start(&board, &first, Some(&second));
    set_up(&mut machine, "dhcp");
    let one = send(port);
    shut_down(&mut machine);

    // Pulled while the power is off.
    let (mut machine, port) = start(&board, &second, None);
    expect_alarm(&mut machine, "without the first");
    is_there(port, &one);
    let two = send(port);
    // The power goes without a word.
    drop(machine);

    // It comes back, and misses something: the other one counts, also where it is found first.
    let (mut machine, port) = start(&board, &first, Some(&second));
    expect_alarm(&mut machine, "with a stale one");
    is_there(port, &two);
    add(&mut machine, "vda");
    shut_down(&mut machine);

    let (mut machine, port) = start(&board, &first, None);
    expect_alarm(&mut machine, "without the second");
    is_there(port, &one);
    is_there(port, &two);
    shut_down(&mut machine);

    // Filled again, and pulled while the box runs.
    let (mut machine, port) = start(&board, &first, Some(&second));
    machine.expect("New administrator");
    add(&mut machine, "vdb");
    machine.command("device_del pulled");
    let since = Instant::now();
    machine.expect("MIRROR DEGRADED");
    println!("pulled: alarm after {:?}", since.elapsed());
    assert!(since.elapsed() < ALARM_MAX);
    is_there(port, &two);
    let three = send(port);
    drop(machine);

    let (mut machine, port) = start(&board, &first, Some(&second));
    expect_alarm(&mut machine, "after the pull");
    for event in [&one, &two, &three] {
        is_there(port, event);
    }
    shut_down(&mut machine);

    // The other one alone has less than the TPM knows of.
    let (mut machine, _) = start(&board, &second, None);
    machine.expect("Unlock with the recovery key");
    machine.command("system_powerdown");
    machine.wait_off();
    // Each was started alone: nobody may choose for the operator.
    let (mut machine, _) = start(&board, &first, Some(&second));
    machine.expect("both halves went on alone");
}

/// The disk that the firmware, the kernel and the program came from goes while the box runs: nothing is read from it any
/// more, and everybody who should know does.
#[test]
fn the_disk_that_was_started_from_may_be_pulled_while_the_box_runs() {
    let release = uki().parent().unwrap().to_owned();
    let ([first, second], board) = (DISKS.map(Disk::grown), Board::owned(&release));
    let (network, clients, administration) = network();
    let mut machine = start_with(&board, &first, Some(&second), &network);
    set_up(&mut machine, "dhcp");
    let one = send(clients);
    let mut administrator = Administrator::new(&mut machine, clients, administration);
    machine.command("device_del booted");
    let since = Instant::now();
    machine.expect("MIRROR DEGRADED");
    println!("pulled: alarm at the console after {:?}", since.elapsed());
    assert!(since.elapsed() < ALARM_MAX);
    administrator.is_told(since, "hardware/mirror/");
    is_there(clients, &one);
    let two = send(clients);
    // The power goes without a word.
    drop(machine);

    let (mut machine, port) = start(&board, &second, None);
    expect_alarm(&mut machine, "without the disk that was pulled");
    is_there(port, &one);
    is_there(port, &two);
    shut_down(&mut machine);
}
