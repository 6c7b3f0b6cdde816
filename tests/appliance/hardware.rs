//! Hardware that fails while the box runs: its console says so within a minute.

mod supply;

use crate::set_up::{PIN, set_up};
use crate::told::Administrator;
use crate::update::network;
use crate::virtual_machine::{Disk, VirtualMachine};
use std::time::{Duration, Instant};
use supply::Supply;

/// What the operator was promised.
const ALARM: Duration = Duration::from_secs(60);

/// Waits until the row of the hardware says so.
fn told(machine: &mut VirtualMachine, wanted: &str) {
    let began = Instant::now();
    loop {
        // The screen is drawn again when the operator presses Enter.
        machine.type_text("\r");
        let shown = machine.expect("Hardware");
        let row = machine.expect("\n");
        if row.contains(wanted) {
            return;
        }
        assert!(
            began.elapsed() < ALARM,
            "the console never told {wanted:?}, but {row:?} after {shown:?}"
        );
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A management controller, an NVMe disk and a SATA disk are asked by commands; then the NVMe disk says that it has
/// become read-only.
#[test]
fn disks_and_the_management_controller_are_asked() {
    let folder = tempfile::tempdir().unwrap();
    let disk = |name: &str| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        format!("if=none,format=raw,id={name},file={}", path.display())
    };
    let blank = Disk::blank();
    let (network, clients, administration) = network();
    let mut machine = VirtualMachine::start(
        &blank,
        &[
            "-nic",
            &network,
            "-device",
            "ipmi-bmc-sim,id=bmc",
            "-device",
            "isa-ipmi-kcs,bmc=bmc",
            "-drive",
            &disk("flash"),
            "-device",
            "nvme,id=flash0,serial=1,drive=flash",
            "-drive",
            &disk("rust"),
            "-device",
            "ahci,id=sata",
            "-device",
            "ide-hd,bus=sata.0,drive=rust",
            "-device",
            "i6300esb",
        ],
    );
    set_up(&mut machine, "dhcp");
    told(&mut machine, "well");
    let mut administrator = Administrator::new(&mut machine, clients, administration);
    machine.command("qom-set /machine/peripheral/flash0 smart_critical_warning 8");
    let since = Instant::now();
    told(
        &mut machine,
        "nvme0 wear: 0 % (limit 100): it has made itself read-only",
    );
    administrator.is_told(since, "hardware/disk/nvme0 wear");
    machine.choose("Log", "7", Some(PIN));
    machine.expect("hardware: nvme0 wear");
    // What was found at the start may be on an older page.
    machine.type_text("bbbb");
    let began = Instant::now();
    while !machine
        .shown()
        .contains("hardware: ipmi0: a management controller, IPMI 2.0")
    {
        assert!(began.elapsed() < ALARM, "{}", machine.shown());
        machine.read();
    }
}

#[test]
fn a_supply_on_usb_says_that_the_power_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("supply");
    let (supply, blank) = (Supply::behind(&socket), Disk::blank());
    let socket = format!("socket,id=supply,path={}", socket.display());
    let (network, clients, administration) = network();
    let usb = [
        "-device",
        "piix3-usb-uhci",
        "-chardev",
        &socket,
        "-device",
        "usb-redir,chardev=supply",
        "-device",
        "i6300esb",
    ];
    let mut machine = VirtualMachine::start(&blank, &[&["-nic", network.as_str()], &usb[..]].concat());
    set_up(&mut machine, "dhcp");
    told(&mut machine, "well");
    let mut administrator = Administrator::new(&mut machine, clients, administration);
    supply.lose_power();
    let since = Instant::now();
    told(&mut machine, "the machine runs on its battery");
    administrator.is_told(since, "hardware/power/UPS ");
    machine.choose("Log", "7", Some(PIN));
    machine.expect("hardware: UPS CPS CP900EPFCLCD: 100 %: the machine runs on its battery");
}
