//! What works from a distance on a booted box, and what its console offers: each once.

use crate::client::free_port;
use crate::set_up::{PIN, set_up};
use crate::update::{credential, far};
use crate::virtual_machine::{Disk, VirtualMachine};
use serde_json::Value;

/// Commands that ask a server, each with what it answers at least; what they need is there in this order.
const FAR: [(&[&str], &str); 21] = [
    (&["health"], "/state"),
    (&["user", "list"], "/users"),
    (&["token", "create", "--token", "door"], "/token"),
    (&["token", "list"], "/tokens"),
    (&["token", "revoke", "door"], ""),
    (&["media", "list"], "/uploads"),
    (&["report", "list"], "/reports"),
    (&["seal", "status"], "/hardware_sealed"),
    (&["audit", "show"], "/entries"),
    (&["admin-credential", "list"], "/credentials"),
    (&["signing-key", "show"], "/id"),
    (&["certificate", "show"], "/certificates"),
    (&["certificate", "request"], "/request"),
    (&["certificate", "remove"], "/certificates"),
    (&["user", "suspend", "alice"], ""),
    (&["user", "unsuspend", "alice"], ""),
    (&["user", "admin", "alice"], ""),
    (&["signing-key", "rotate"], "/id"),
    (&["box", "show"], "/site"),
    (&["box", "log"], "/lines"),
    (&["box", "log", "--of", "kernel"], "/lines"),
];

/// Items of the console that can be opened and left again.
const HERE: [(&str, &str); 6] = [
    ("2", "New administrator"),
    ("4", "The new network is tried"),
    ("5", "Time servers"),
    ("p", "New console PIN"),
    ("x", "FACTORY RESET"),
    ("k", "no crash is known"),
];

#[test]
fn commands_work_from_a_distance_and_the_console_offers_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let network = format!("user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:8449");
    let disk = Disk::blank();
    let mut machine = VirtualMachine::start(&disk, &["-nic", &network]);
    set_up(&mut machine, "dhcp");
    let known = credential(&mut machine, folder.path());
    for (arguments, place) in FAR {
        let answer = far(port, &known, arguments);
        assert!(answer.pointer(place).is_some(), "{arguments:?}: {answer}");
    }
    let health = far(port, &known, &["health"]);
    assert_eq!(health.pointer("/backup"), Some(&Value::Null), "{health}");
    assert_eq!(health.pointer("/peers/count"), Some(&0.into()), "{health}");

    let screen = machine.expect("Shut down");
    assert!(
        screen.contains("Certificate") && screen.contains("Last backup") && screen.contains("Peers"),
        "{screen}"
    );
    for (key, shown) in HERE {
        machine.type_text(key);
        machine.answer("PIN: ", PIN);
        machine.expect(shown);
        // Esc leaves whatever it asks.
        machine.type_text("\u{1b}");
        machine.expect("Shut down");
    }
    let audit = far(port, &known, &["audit", "show"]);
    for act in [
        "box.network",
        "box.time",
        "box.pin",
        "box.factory-reset",
        "box.crash-log",
    ] {
        assert!(audit.to_string().contains(act), "{act} is not in the audit log");
    }
    far(port, &known, &["box", "power-off", "--yes"]);
    machine.wait_off();
}
