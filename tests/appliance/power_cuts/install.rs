//! An installation whose power is cut: the disk has no table, or all of the image.

use super::drive::{Drive, Trigger};
use crate::firmware::Board;
use crate::virtual_machine::{Disk, VirtualMachine, uki};
use lamchat_disk::simulation::Dice;
use lamchat_machine::gpt;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes of the disk that is installed on.
const DISK_BYTES: u64 = 16 << 30;
/// Flushes and writes of an installation, about; the writes are those between two of the flushes.
const FLUSHES: u64 = 3;
const WRITES: u64 = 400;
/// Behind the partition table: it is written last.
const TABLE_BYTES: u64 = 1 << 20;

/// Installs with so many cuts, then once to the end.
pub fn install_with_cuts(dice: &mut Dice, cuts: u64) {
    let release = uki().parent().unwrap().to_owned();
    let board = Board::owned(&release);
    let name = uki().file_stem().unwrap().to_string_lossy().into_owned();
    let stick = release.join(format!("{name}-installer.img"));
    let stick = format!("if=none,id=stick,format=raw,readonly=on,file={}", stick.display());
    let stick = [
        "-drive",
        &stick,
        "-device",
        "qemu-xhci",
        "-device",
        "usb-storage,drive=stick",
        "-nic",
        "none",
    ];
    let mut drive = Drive::new(Disk::empty(DISK_BYTES), dice.roll());
    let (mut left, mut uncut) = (cuts, 0);
    loop {
        if left > 0 {
            let flushes = dice.below(FLUSHES);
            let writes_max = if dice.below(2) == 0 { WRITES } else { 4 };
            let writes = dice.below(writes_max);
            drive.arm(Trigger { flushes, writes });
        }
        let mut machine = VirtualMachine::start_from(&board, &drive.plug(), &stick);
        let is_installed = install(&mut machine, &drive).is_some();
        machine.kill();
        println!("{}", drive.cut());
        let is_whole = check(&drive);
        if !is_installed {
            left -= 1;
            println!("cut of an installation; the disk has a table: {is_whole}");
            continue;
        }
        assert!(is_whole, "an installation that was acknowledged is not on the disk");
        if left == 0 {
            break;
        }
        // Nothing was cut, or what was cut was whole: the next one begins with an empty disk.
        uncut += 1;
        assert!(uncut <= 2 * cuts, "the power is cut too rarely");
        drive = Drive::new(Disk::empty(DISK_BYTES), dice.roll());
    }
    let mut machine = VirtualMachine::start_from(&board, &drive.plug(), &["-nic", "none"]);
    machine.expect("Set up this box");
}

/// `None`: the power was cut.
fn install(machine: &mut VirtualMachine, drive: &Drive) -> Option<()> {
    let cut = || drive.is_cut();
    match machine.expect_any(&["Install on a disk", "Set up this box"], &cut)? {
        0 => {}
        // The table was the last that was written.
        _ => return Some(()),
    }
    let before = machine.shown().len();
    machine.type_text("1");
    machine.expect_any(&["(Enter looks again, Esc goes back): "], &cut)?;
    let screen = machine.shown().get(before..).unwrap().to_owned();
    let mut lines = screen.lines();
    let line = lines.find(|line| line.split_whitespace().nth(1) == Some("vda"));
    let number = line.and_then(|line| line.split_whitespace().next()).unwrap();
    machine.type_text(&format!("{number}\r"));
    machine.expect_any(&["Type vda to go on: "], &cut)?;
    machine.type_text("vda\r");
    machine.expect_any(&["The disk is written"], &cut)?;
    drive.cut();
    Some(())
}

/// A disk with a table has the whole image behind it; whether it has one.
fn check(drive: &Drive) -> bool {
    if gpt::read(drive.disk().path()).is_err() {
        return false;
    }
    let (image, disk) = (uki().with_extension("img"), drive.disk().path());
    let (image, disk) = (File::open(image).unwrap(), File::open(disk).unwrap());
    let (mut wanted, mut found) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = TABLE_BYTES;
    while at < image.metadata().unwrap().len() {
        let length = image.read_at(&mut wanted, at).unwrap();
        disk.read_exact_at(found.get_mut(..length).unwrap(), at).unwrap();
        assert!(
            wanted.get(..length) == found.get(..length),
            "the disk differs near {at}"
        );
        at += length as u64;
    }
    true
}
