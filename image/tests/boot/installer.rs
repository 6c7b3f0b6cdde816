//! From a blank disk and a stick to a box that belongs to its operator.

use crate::emulated::flash::Flash;
use crate::machine::Machine;
use crate::{RUNS, measured, release};

/// Bytes of the disk that is installed on, and of one that is too small.
const LARGE: u64 = 16 << 30;
const SMALL: u64 = 1 << 30;

/// The question below the list of disks.
const DISKS: &str = "(Enter looks again, Esc goes back): ";

/// The number before a disk on the screen.
fn number(screen: &str, name: &str) -> String {
    let line = screen.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
    let line = line.unwrap_or_else(|| panic!("no {name}: {screen}"));
    line.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn the_installer_makes_a_blank_machine_the_operators() {
    let mut machine = Machine::new(&Flash::blank());
    let stick = machine.copy(&release::stick()).on_usb();
    let large = machine.blank(LARGE);
    let small = machine.blank(SMALL);
    // Its card brings a driver of its own.
    machine.start_with(
        &[&stick, &large, &small],
        &["-nic", "user,restrict=on,model=virtio-net-pci"],
    );

    machine.choose("Install on a disk", "1");
    let screen = machine.expect(DISKS);
    assert!(screen.contains("in set-up mode"), "{screen}");
    machine.type_line("99");
    machine.expect("no disk of that number");
    machine.answer(DISKS, &number(&screen, "sda"));
    machine.expect("it is this installer's stick.");
    machine.answer(DISKS, &number(&screen, "vdb"));
    machine.expect("too small");
    machine.answer(DISKS, &number(&screen, "vda"));
    machine.answer("Type vda to go on: ", "vdb");
    machine.expect("nothing was written");
    machine.answer("Press Enter", "");
    assert!(large.is_blank(), "something was written");

    machine.choose("Install on a disk", "1");
    machine.answer(DISKS, &number(&screen, "vda"));
    println!("{screen}");
    let shown = machine.answer("Type vda to go on: ", "vda");
    println!("{shown}");
    let drivers = machine.expect("Trust these very drivers as well?");
    assert!(drivers.contains("PCI "), "{drivers}");
    machine.type_line("yes");
    let said = machine.answer("then press Enter", "");
    println!("{drivers}{said}");
    assert!(
        said.contains("The firmware is yours") && said.contains("drivers of cards: 1."),
        "{said}"
    );
    machine.answer("Press Enter to go on", "");
    println!(
        "installed: {:.1?}, {:.1?} of a processor",
        machine.age(),
        machine.spent()
    );
    machine.wait_off();
    assert!(small.is_blank(), "the other disk was written");

    // Without the stick, with the same card: the firmware enforces the operator's keys.
    machine.start_with(&[&large], &["-nic", "user,restrict=on,model=virtio-net-pci"]);
    machine.expect(RUNS);
    assert_eq!(measured(&mut machine), release::predicted());
    machine.stop();

    // The stick again, for which somebody has to tell the firmware so: it starts the box first since the installation. The
    // same keys are there, nobody is asked about drivers, and what to do for another card is said.
    machine.forget_boot_order();
    machine.start(&[&stick, &large]);
    machine.choose("Only the firmware's keys", "2");
    let said = machine.answer("Press Enter to go on", "");
    println!("{said}");
    assert!(
        said.contains("Has a card been added since") && !said.contains("Trust these"),
        "{said}"
    );
    assert!(said.contains("The firmware has your keys already"), "{said}");
    machine.choose("Install on a disk", "1");
    let screen = machine.expect(DISKS);
    assert!(screen.contains("has your keys already"), "{screen}");
    assert!(screen.contains("a LamChat with its data"), "{screen}");
    machine.stop();
}
