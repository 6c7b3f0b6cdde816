//! The image as firmware sees it: OVMF with Secure Boot starts what the operator signed and nothing else, measures it as
//! predicted, and becomes the operator's by the installer.
//!
//! `tests/run boot` runs the short form, `tests/run appliance` all. `LAMCHAT_IMAGE_RELEASE` names the folder of a release
//! and `LAMCHAT_IMAGE_KEYS` its keys. Needs QEMU, OVMF and swtpm. Nothing is accelerated: a start takes 25 s of a processor.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../../tests/emulated/emulated.rs"]
mod emulated;
mod installer;
mod machine;
mod release;
mod tamper;

use emulated::flash::Flash;
use machine::{Disk, Machine};

/// What the boot loader says when the firmware does not start the image, and the firmware when it does not start the boot
/// loader. `UEFI 2.10, 7.4.1: EFI_ACCESS_DENIED, EFI_SECURITY_VIOLATION`.
const REFUSED: [&str; 3] = ["Access denied", "Access Denied", "Security Violation"];
/// The line of the console's menu in a box that runs.
const RUNS: &str = "Set up this box";

/// A machine that belongs to the release's operator, and a disk with the release's image.
fn owned() -> (Machine, Disk) {
    let mut machine = Machine::new(&Flash::owned(&release::folder()));
    let disk = machine.copy(&release::image());
    (machine, disk)
}

/// What the console's log says the image was measured as: PCR 11 and 12.
fn measured(machine: &mut Machine) -> [String; 2] {
    machine.choose("Kernel log", "7");
    let log = machine.expect("Press Enter");
    assert!(log.contains("Secure Boot is on"), "{log}");
    ["pcr11: ", "pcr12: "].map(|name| {
        let (_, after) = log.split_once(name).unwrap();
        after.split_whitespace().next().unwrap().to_owned()
    })
}

#[test]
fn the_signed_image_starts_and_is_measured_as_predicted() {
    let (mut machine, disk) = owned();
    machine.start(&[&disk]);
    machine.expect(RUNS);
    let (wall, processor) = (machine.age(), machine.spent());
    println!("from power on to the menu: {wall:.1?}, {processor:.1?} of a processor");
    assert_eq!(measured(&mut machine), release::predicted());
    machine.stop();
    assert_eq!(
        tamper::slots(disk.path()),
        ["lamchat-a+2-1.efi"],
        "the boot loader counts the attempt"
    );
}

#[test]
fn an_image_without_a_signature_is_refused() {
    refused(tamper::remove_signature);
}

#[test]
fn another_command_line_is_refused() {
    refused(tamper::change_command_line);
}

#[test]
fn another_initrd_is_refused() {
    refused(tamper::change_initrd);
}

#[test]
fn another_approval_is_refused() {
    refused(tamper::change_approval);
}

#[test]
fn an_image_that_somebody_else_signed_is_refused() {
    refused(|image| *image = release::signed_by_a_stranger(image));
}

fn refused(change: fn(&mut Vec<u8>)) {
    let (mut machine, disk) = owned();
    tamper::change(disk.path(), tamper::SLOT, change);
    machine.start(&[&disk]);
    let shown = machine.shows_any(&[&REFUSED[..], &[RUNS]].concat());
    println!("refused: {}", machine.last_line(&shown));
    assert_ne!(shown, RUNS, "it was started");
}

#[test]
fn another_boot_loader_is_refused_by_the_firmware_itself() {
    let (mut machine, disk) = owned();
    tamper::change(disk.path(), tamper::LOADER, tamper::remove_signature);
    machine.start(&[&disk]);
    let shown = machine.shows_any(&[&REFUSED[..], &[RUNS]].concat());
    println!("refused: {}", machine.last_line(&shown));
    assert_ne!(shown, RUNS, "it was started");
}

/// The firmware cannot tell it from a release; the TPM can: nobody approved what it is measured as.
#[test]
fn another_image_of_the_operators_starts_and_is_measured_otherwise() {
    let (mut machine, disk) = owned();
    tamper::change(disk.path(), tamper::SLOT, |image| {
        tamper::change_log_level(image);
        *image = release::signed_again(image);
    });
    machine.start(&[&disk]);
    machine.expect(RUNS);
    let measured = measured(&mut machine);
    for (found, predicted) in measured.iter().zip(&release::predicted()) {
        assert_ne!(found, predicted, "another command line, in PCR 11 and 12");
    }
}
