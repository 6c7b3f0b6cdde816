//! A machine whose firmware is set otherwise: the box is locked and says why, such starts do not count, and the recovery
//! key binds it to the machine as it is.

use crate::firmware::Board;
use crate::floor::refused;
use crate::restart::{is_there, send};
use crate::set_up::{set_up, shut_down};
use crate::settings::{revoke, switch_secure_boot, trust_program, trust_signer};
use crate::slots::names;
use crate::update::{self, credential, far, tpm_slot};
use crate::virtual_machine::{Disk, PATIENCE, VirtualMachine, flat, uki};
use lamchat_image::Keys;
use std::time::{Duration, Instant};

/// Why the keys of a box are not sealed without Secure Boot.
const NEVER: &str = "a box is never sealed without it";

fn start(disk: &Disk, board: &Board) -> (VirtualMachine, u16) {
    let (machine, clients, _) = update::start(disk, board);
    (machine, clients)
}

/// Starts it; it is locked because of PCR 7, and gets its attempts back.
fn is_locked(disk: &Disk, board: &Board) -> (VirtualMachine, u16, String) {
    let (mut machine, clients, _) = update::start(disk, board);
    let screen = stays_locked(&mut machine, disk);
    (machine, clients, screen)
}

fn stays_locked(machine: &mut VirtualMachine, disk: &Disk) -> String {
    let screen = flat(&machine.expect("Unlock with the recovery key"));
    assert!(screen.contains("LOCKED"), "{screen}");
    assert!(screen.contains("PCR 7 changed"), "{screen}");
    println!("locked after {:?}", machine.age());
    let since = Instant::now();
    // The boot loader has counted this start before.
    while names(disk) != ["lamchat-a+3.efi"] {
        assert!(since.elapsed() < PATIENCE, "{:?}", names(disk));
        std::thread::sleep(Duration::from_millis(500));
    }
    screen
}

/// Sets a box up whose starts are counted; its recovery key, and an event that was acknowledged.
fn set_up_on_trial(disk: &Disk, board: &Board) -> (String, String) {
    let (mut machine, port) = start(disk, board);
    let key = set_up(&mut machine, "dhcp");
    let event = send(port);
    shut_down(&mut machine);
    assert_eq!(names(disk), ["lamchat-a+2-1.efi"]);
    (key, event)
}

#[test]
fn other_settings_of_the_firmware_lock_the_box_and_are_not_counted() {
    let (disk, board) = (Disk::blank(), Board::owned(uki().parent().unwrap()));
    let (key, event) = set_up_on_trial(&disk, &board);

    board.set(|flash| switch_secure_boot(flash, false));
    for _ in 0..2 {
        let (_machine, _, screen) = is_locked(&disk, &board);
        assert!(screen.contains("Secure Boot is OFF"), "{screen}");
    }
    opens_and_is_not_sealed(&disk, &board, &key, &event);
    // As before: nothing was lost, nobody has to type anything.
    board.set(|flash| switch_secure_boot(flash, true));
    let (mut machine, port) = start(&disk, &board);
    machine.expect("New administrator");
    is_there(port, &event);
    shut_down(&mut machine);

    // Secure Boot stays on, and one more program is revoked.
    board.set(|flash| revoke(flash, [7; 32]));
    let (machine, _, screen) = is_locked(&disk, &board);
    assert!(!screen.contains("Secure Boot is OFF"), "{screen}");
    drop(machine);
    binds_anew(&disk, &board, &key, &event);
}

/// Secure Boot is off. The recovery key opens the keys, and nobody seals them to a machine that starts anything: neither
/// who is at its console nor an administrator.
fn opens_and_is_not_sealed(disk: &Disk, board: &Board, key: &str, event: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (mut machine, clients, port) = update::start(disk, board);
    stays_locked(&mut machine, disk);
    machine.type_text("1");
    machine.answer("Recovery key: ", key);
    machine.answer("type yes", "yes");
    let shown = flat(&machine.answer("Press Enter", ""));
    assert!(shown.contains(NEVER), "{shown}");
    machine.expect("New administrator");
    is_there(clients, event);
    let known = credential(&mut machine, folder.path());
    let status = far(port, &known, &["seal", "status"]);
    let slot = tpm_slot(&status).get("id").unwrap().to_string();
    for act in [
        &["seal", "rebind", &slot][..],
        &["seal", "raise-floor", "1"],
        &["seal", "init"],
    ] {
        for force in [&[][..], &["--force"]] {
            let told = refused(port, &known, &[act, force].concat());
            assert!(told.contains(NEVER), "{act:?} {told}");
        }
    }
    shut_down(&mut machine);
}

/// Locked and not counted; the recovery key binds it to the machine as it is, and the next start is by itself.
fn binds_anew(disk: &Disk, board: &Board, key: &str, event: &str) {
    let (mut machine, port, _) = is_locked(disk, board);
    machine.type_text("1");
    machine.answer("Recovery key: ", key);
    machine.answer("type yes", "yes");
    let shown = machine.answer("Press Enter", "");
    assert!(shown.contains("it starts by itself"), "{shown}");
    machine.expect("New administrator");
    is_there(port, event);
    let second = send(port);
    shut_down(&mut machine);

    let (mut machine, port) = start(disk, board);
    machine.expect("New administrator");
    is_there(port, event);
    is_there(port, &second);
    shut_down(&mut machine);
}

#[test]
fn what_is_added_to_db_locks_the_box_until_the_recovery_key_binds_it_anew() {
    let (disk, board) = (Disk::blank(), Board::owned(uki().parent().unwrap()));
    let (key, event) = set_up_on_trial(&disk, &board);
    let folder = tempfile::tempdir().unwrap();
    Keys::make(folder.path()).unwrap();
    let stranger = Keys::read(folder.path()).unwrap().db;
    board.set(|flash| trust_signer(flash, stranger.certificate()));
    let (machine, _, screen) = is_locked(&disk, &board);
    assert!(screen.contains("added to db"), "{screen}");
    assert!(!screen.contains("Secure Boot is OFF"), "{screen}");
    drop(machine);
    binds_anew(&disk, &board, &key, &event);

    // The driver of a card that came later.
    board.set(|flash| trust_program(flash, [9; 32]));
    binds_anew(&disk, &board, &key, &event);
}
