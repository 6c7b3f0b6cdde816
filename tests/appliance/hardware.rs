//! Hardware that fails while the box runs: its console says so within a minute.

use crate::set_up::{PIN, set_up};
use crate::virtual_machine::{Disk, VirtualMachine};
use std::time::{Duration, Instant};

/// What the operator was promised.
const ALARM: Duration = Duration::from_secs(60);

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
    let mut machine = VirtualMachine::start(
        &blank,
        &[
            "-nic",
            "none",
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
        ],
    );
    set_up(&mut machine, "none");
    // The screen is drawn again when the operator presses Enter.
    let told = |machine: &mut VirtualMachine, wanted: &str| {
        let began = Instant::now();
        loop {
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
    };
    told(&mut machine, "well");
    machine.command("qom-set /machine/peripheral/flash0 smart_critical_warning 8");
    told(
        &mut machine,
        "nvme0 wear: 0 % (limit 100): it has made itself read-only",
    );
    machine.choose("Log", "7", Some(PIN));
    machine.expect("hardware: ipmi0: a management controller, IPMI 2.0");
    machine.expect("hardware: nvme0 wear");
}
