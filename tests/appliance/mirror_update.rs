//! Updates of a box of two disks, and its security floor: each disk has the releases, the counters and the marks of the
//! other, starts alone from them, and keeps the floor down as long as it has an image below it.

use crate::firmware::Board;
use crate::floor::{bundle, floor, refused};
use crate::mirror::{DISKS, add, expect_alarm, start_with};
use crate::opening::{Begun, begin};
use crate::restart::{is_there, send};
use crate::set_up::shut_down;
use crate::slots::{mark_good, names, remove};
use crate::update::{far, network};
use crate::virtual_machine::{Disk, VirtualMachine, uki};
use lamchat_slots::Slot;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How soon the other disk has what the first has.
const FOLLOWED_MAX: Duration = Duration::from_secs(300);

/// A machine, and its ports for clients and for administration.
fn start(board: &Board, disk: &Disk, other: Option<&Disk>) -> (VirtualMachine, u16, u16) {
    let (network, clients, administration) = network();
    (start_with(board, disk, other, &network), clients, administration)
}

/// Waits until both slots of a disk are these.
fn has(disk: &Disk, wanted: [&str; 2]) {
    let since = Instant::now();
    while names(disk) != wanted {
        assert!(since.elapsed() < FOLLOWED_MAX, "{wanted:?}: {:?}", names(disk));
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("{wanted:?} after {:?}", since.elapsed());
}

/// Which release answers.
fn running(port: u16, known: &(PathBuf, String)) -> String {
    let status = far(port, known, &["update", "status"]);
    status
        .get("running")
        .and_then(|version| version.as_str())
        .unwrap()
        .to_owned()
}

/// Sets the box up on both disks and installs 0.2.0; answers an event and a credential.
fn update(board: &Board, [first, second]: [&Disk; 2], folder: &Path) -> (String, (PathBuf, String)) {
    mark_good(first, Slot::A);
    mark_good(second, Slot::A);
    let (mut machine, clients, port) = start(board, first, Some(second));
    let Begun { event, known, .. } = begin(&mut machine, clients, folder);
    far(
        port,
        &known,
        &["update", "apply", &bundle("0.2.0"), "--yes", "--restart"],
    );
    machine.wait_off();
    println!("installed after {:?}", machine.age());
    (event, known)
}

#[test]
fn both_disks_of_a_mirror_are_updated_and_each_keeps_the_floor_down() {
    let release = uki().parent().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let ([first, second], board) = (DISKS.map(Disk::grown), Board::owned(&release));
    let (event, known) = update(&board, [&first, &second], folder.path());

    // The release, and what the boot loader counted on the disk that it started from.
    let (mut machine, clients, port) = start(&board, &first, Some(&second));
    machine.expect("New administrator");
    println!("the next release serves after {:?}", machine.age());
    is_there(clients, &event);
    assert_eq!(running(port, &known), "0.2.0");
    has(&second, ["lamchat-a.efi", "lamchat-b+2-1.efi"]);
    assert_eq!(names(&first), names(&second));
    let told = refused(port, &known, &["seal", "raise-floor", "2"]);
    assert!(told.contains("has security epoch 1"), "{told}");
    shut_down(&mut machine);

    // That it is good is marked on one disk. There nothing is below any more, but the other one still has the old image.
    mark_good(&first, Slot::B);
    remove(&first, "lamchat-a.efi");
    let (mut machine, clients, port) = start(&board, &first, Some(&second));
    machine.expect("New administrator");
    has(&second, ["lamchat-a.efi", "lamchat-b.efi"]);
    assert_eq!(names(&first), ["lamchat-b.efi"]);
    let told = refused(port, &known, &["seal", "raise-floor", "2"]);
    assert!(told.contains("has security epoch 1"), "{told}");
    assert_eq!(floor(&far(port, &known, &["seal", "status"])), 1);
    far(port, &known, &["update", "apply", &bundle("0.3.0"), "--yes"]);
    has(&second, ["lamchat-a+3.efi", "lamchat-b.efi"]);
    assert_eq!(names(&first), names(&second));
    let raised = far(port, &known, &["seal", "raise-floor", "2"]);
    assert_eq!(floor(&raised), 2, "{raised}");
    is_there(clients, &event);
    shut_down(&mut machine);

    // Each disk alone starts what was installed last, by itself.
    let (mut machine, clients, port) = start(&board, &second, None);
    expect_alarm(&mut machine, "the second alone");
    is_there(clients, &event);
    let later = send(clients);
    assert_eq!(running(port, &known), "0.3.0");
    assert_eq!(names(&second), ["lamchat-a+2-1.efi", "lamchat-b.efi"]);
    drop(machine);

    // The first one misses something and is filled again; what the other one's boot loader counted goes with it.
    mark_good(&second, Slot::A);
    let (mut machine, clients, port) = start(&board, &first, Some(&second));
    expect_alarm(&mut machine, "with a stale one");
    assert_eq!(running(port, &known), "0.3.0");
    is_there(clients, &later);
    has(&first, ["lamchat-a.efi", "lamchat-b.efi"]);
    add(&mut machine, "vda");
    shut_down(&mut machine);
    let (mut machine, clients, port) = start(&board, &first, None);
    expect_alarm(&mut machine, "the first alone");
    assert_eq!(running(port, &known), "0.3.0");
    is_there(clients, &event);
    is_there(clients, &later);
    assert_eq!(names(&first), ["lamchat-a.efi", "lamchat-b.efi"]);
    shut_down(&mut machine);
}
