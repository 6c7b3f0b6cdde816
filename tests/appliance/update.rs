//! A release on a running box: installed from a distance, started with everything there, and left again when it is not
//! marked good.

use crate::bundles;
use crate::client::free_port;
use crate::firmware::Board;
use crate::opening::{Begun, begin, good_box};
use crate::restart::is_there;
use crate::set_up::PIN;
use crate::virtual_machine::{Disk, VirtualMachine};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How often the boot loader tries a release.
const TRIES: u64 = 3;

/// A machine with ports of this one's that lead to its clients' TLS and to its administration.
pub fn start(disk: &Disk, board: &Board) -> (VirtualMachine, u16, u16) {
    start_with(disk, board, &[])
}

/// The same, with further arguments of QEMU's.
pub fn start_with(disk: &Disk, board: &Board, arguments: &[String]) -> (VirtualMachine, u16, u16) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (network, clients, administration) = network();
    (
        VirtualMachine::start_on(
            board,
            disk,
            &[&["-nic", network.as_str()], arguments.as_slice()].concat(),
        ),
        clients,
        administration,
    )
}

/// A network with these ports: QEMU's argument, the one for clients, the one for administration.
pub fn network() -> (String, u16, u16) {
    let (clients, administration) = (free_port(), free_port());
    let network = format!(
        "user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{clients}-:443,hostfwd=tcp:127.0.0.1:{administration}-:8449"
    );
    (network, clients, administration)
}

/// Makes a credential at the console; answers its file and the server's fingerprint.
pub fn credential(machine: &mut VirtualMachine, folder: &Path) -> (PathBuf, String) {
    machine.choose("Administration from a distance", "a", Some(PIN));
    machine.answer("alice-laptop: ", "operator");
    let shown = machine.answer("Press Enter", "");
    let word = |start: &str| {
        let mut words = shown.split_whitespace();
        words.rfind(|word| word.starts_with(start)).unwrap().to_owned()
    };
    let file = folder.join("credential");
    std::fs::write(&file, word("lca.")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    (file, word("sha256:"))
}

/// A command from outside the box, which must succeed.
pub fn far(port: u16, known: &(PathBuf, String), arguments: &[&str]) -> Value {
    let output = try_far(port, known, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A command from outside the box.
pub fn try_far(port: u16, (file, pin): &(PathBuf, String), arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lamchat"))
        .args([
            "--server",
            &format!("https://127.0.0.1:{port}"),
            "--pin",
            pin,
            "--credential",
        ])
        .arg(file)
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap()
}

/// The first slot of a keyring that the TPM opens, in what `seal status` and its like answer.
pub fn tpm_slot(status: &Value) -> &Value {
    let slots = status.get("slots").and_then(Value::as_array).unwrap();
    slots.iter().find(|slot| slot.get("kind").unwrap() == "tpm").unwrap()
}

pub fn slot<'a>(status: &'a Value, name: &str) -> &'a Value {
    let slots = status.get("slots").and_then(Value::as_array).unwrap();
    slots.iter().find(|slot| slot.get("slot").unwrap() == name).unwrap()
}

#[test]
fn an_update_starts_with_everything_there_and_one_that_is_not_marked_good_is_left_again() {
    let next = PathBuf::from(std::env::var_os("LAMCHAT_NEXT_BUNDLE").unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (disk, board) = good_box();
    let (mut machine, clients, port) = start(&disk, &board);
    let Begun { event, known, .. } = begin(&mut machine, clients, folder.path());
    let status = far(port, &known, &["update", "status"]);
    assert_eq!(slot(&status, "a").get("good"), Some(&Value::Bool(true)), "{status}");
    assert_eq!(slot(&status, "a").get("epoch"), Some(&1.into()), "{status}");

    bundles::are_refused(&disk, port, &known, &next, folder.path());
    let applied = far(
        port,
        &known,
        &["update", "apply", next.to_str().unwrap(), "--yes", "--restart"],
    );
    assert_eq!(applied.get("file"), Some(&"lamchat-b+3.efi".into()), "{applied}");
    machine.wait_off();
    println!("installed and restarted after {:?}", machine.age());

    for left in (0..TRIES).rev() {
        // Each start ends with the power: the release never serves long enough.
        let (mut machine, clients, port) = start(&disk, &board);
        machine.expect("New administrator");
        println!("the next release serves by itself after {:?}", machine.age());
        is_there(clients, &event);
        let status = far(port, &known, &["update", "status"]);
        assert_eq!(status.get("running"), Some(&"0.2.0".into()), "{status}");
        assert_eq!(slot(&status, "b").get("tries_left"), Some(&left.into()), "{status}");
    }
    let (mut machine, clients, port) = start(&disk, &board);
    machine.expect("New administrator");
    is_there(clients, &event);
    let status = far(port, &known, &["update", "status"]);
    assert_eq!(status.get("running"), Some(&"0.1.0".into()), "{status}");
}
