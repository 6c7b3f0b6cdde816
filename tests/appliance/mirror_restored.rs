//! A backup taken back onto two disks, and a PIN beside the TPM that one of them alone asks for.

use crate::client::forwarded;
use crate::mirror::{DISKS, expect_alarm, start_beside};
use crate::opening::good_box;
use crate::restart::{is_there, send};
use crate::restored::{LINE, NEW_PIN, answer};
use crate::set_up::{set_up, shut_down};
use crate::slots::mark_good;
use crate::stick::UsbStick;
use crate::tpm_pin::{TPM_PIN, new_pin, waits};
use crate::update::start_with;
use crate::usb::{choose, done};
use crate::virtual_machine::{Disk, flat};
use lamchat_slots::Slot;

#[test]
fn a_backup_is_taken_back_onto_two_disks_and_the_second_alone_asks_for_the_pin() {
    let ((disk, board), stick) = (good_box(), UsbStick::new(true));
    let (mut machine, clients, _) = start_with(&disk, &board, &stick.arguments());
    let key = set_up(&mut machine, "dhcp");
    let event = send(clients);
    choose(&mut machine, "Backup onto the stick", "2");
    done(&mut machine);
    shut_down(&mut machine);
    drop(disk);

    let [first, second] = DISKS.map(Disk::grown);
    for disk in [&first, &second] {
        mark_good(disk, Slot::A);
    }
    let (network, clients) = forwarded(443);
    let beside = [vec!["-nic".to_owned(), network], stick.arguments()].concat();
    let mut machine = start_beside(&board, &first, Some(&second), &beside);
    machine.choose(LINE, "2", None);
    let asked = flat(&machine.expect("come from it."));
    assert!(asked.contains("vda") && asked.contains("vdb"), "which disks: {asked}");
    answer(&mut machine, &key);
    machine.expect("This box is set up");
    machine.answer("Press Enter", "");
    println!("restored onto both after {:?}", machine.age());
    is_there(clients, &event);
    let another = send(clients);
    machine.choose("TPM PIN at each start", "t", Some(NEW_PIN));
    machine.answer("Type on to have one: ", "on");
    new_pin(&mut machine, TPM_PIN);
    machine.expect("Each start asks for this PIN");
    machine.answer("Press Enter", "");
    // By its button: the console's PIN is another one than that of other tests.
    machine.command("system_powerdown");
    machine.wait_off();

    // The first one fails.
    let (network, clients) = forwarded(443);
    let mut machine = start_beside(&board, &second, None, &["-nic".to_owned(), network]);
    waits(&mut machine);
    machine.choose("Unlock with the TPM PIN", "1", None);
    machine.answer("TPM PIN: ", TPM_PIN);
    expect_alarm(&mut machine, "without the first");
    is_there(clients, &event);
    is_there(clients, &another);
}
