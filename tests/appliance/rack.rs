//! A machine as racks have them: no device of it is made for virtual machines.

use crate::client::free_port;
use crate::firmware::Board;
use crate::restart::{is_there, send};
use crate::set_up::set_up;
use crate::virtual_machine::{Disk, VirtualMachine, uki};

/// The system's disk on NVMe, an Intel network card: neither has a driver that the other tests use.
#[test]
fn an_nvme_disk_and_an_intel_card_carry_a_box() {
    let (disk, board) = (Disk::blank(), Board::owned(uki().parent().unwrap()));
    let drive = format!("file={},if=none,id=system,format=raw", disk.path().display());
    let port = free_port();
    let network = format!("user,model=e1000e,hostfwd=tcp:127.0.0.1:{port}-:443");
    let start = || {
        let arguments = ["-device", "nvme,serial=1,drive=system", "-nic", &network];
        VirtualMachine::start_from(&board, &drive, &arguments)
    };
    let mut machine = start();
    set_up(&mut machine, "dhcp");
    let event = send(port);
    machine.kill();
    // Its TPM goes with it.
    drop(machine);
    let mut machine = start();
    machine.expect("New administrator");
    is_there(port, &event);
}
