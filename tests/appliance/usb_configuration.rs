//! The box's configuration by a USB stick: it goes out, comes back changed and is effective; a file that is not right is
//! refused with its line; a network that cuts the operator off goes back by itself.

use crate::set_up::{PIN, set_up, shut_down, unlock};
use crate::stick::UsbStick;
use crate::update::{credential, far};
use crate::usb::{choose, done, refused, start};
use crate::virtual_machine::{Disk, VirtualMachine, flat};
use lamchat_appliance::site::{Editable, parse_network};
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const FILE: &str = "site.toml";
/// More than a file may have.
const TOO_LARGE: usize = (64 << 10) + 1;

/// The configuration as whoever is far away sees it.
fn seen(port: u16, known: &(PathBuf, String)) -> Editable {
    let shown = far(port, known, &["box", "show"]);
    serde_json::from_value(shown.get("site").unwrap().clone()).unwrap()
}

/// Takes a configuration over from the stick; what was shown to change.
fn take_over(machine: &mut VirtualMachine, stick: &UsbStick, site: &Editable) -> String {
    stick.write(FILE, toml::to_string(site).unwrap().as_bytes());
    choose(machine, "Configuration from the stick", "7");
    machine.expect("What changes");
    let shown = flat(&machine.answer("Press Enter", ""));
    machine.answer("Take it over? (type yes): ", "yes");
    shown
}

fn audited(port: u16, known: &(PathBuf, String)) -> usize {
    let log = far(port, known, &["audit", "show"]);
    let entries = log.get("entries").and_then(Value::as_array).unwrap();
    let imports = entries
        .iter()
        .filter(|entry| entry.get("act") == Some(&"box.usb-configuration".into()));
    imports.count()
}

fn is_refused(machine: &mut VirtualMachine, stick: &UsbStick, content: &str, reason: &str) {
    stick.write(FILE, content.as_bytes());
    choose(machine, "Configuration from the stick", "7");
    let why = refused(machine);
    println!("refused: {why}");
    assert!(why.contains(reason), "{reason}: {why}");
}

#[test]
fn a_configuration_by_stick_is_effective_and_one_that_cuts_the_operator_off_goes_back() {
    let (disk, stick) = (Disk::blank(), UsbStick::new(false));
    let (mut machine, port) = start(&disk, &stick, 8449);
    let key = set_up(&mut machine, "dhcp");
    let folder = tempfile::tempdir().unwrap();
    let known = credential(&mut machine, folder.path());
    choose(&mut machine, "Configuration onto the stick", "6");
    let said = flat(&done(&mut machine));
    assert!(said.contains("site.toml was written and read back right"), "{said}");
    let written = stick.take("lamchat-configuration-", folder.path());
    let text = std::fs::read_to_string(written.join(FILE)).unwrap();
    let exported: Editable = toml::from_str(&text).unwrap();
    assert_eq!(exported, seen(port, &known));
    assert!(!text.contains("pin"), "{text}");

    // What is wrong changes nothing.
    let lines = text.lines().count();
    let unknown = format!("{}\n[door]\nopen = true\n", text.trim_end());
    is_refused(
        &mut machine,
        &stick,
        &unknown,
        &format!("site.toml, line {}: unknown field `door`", lines + 1),
    );
    let name = format!("server_name = \"other.example.org\"\n{text}");
    is_refused(
        &mut machine,
        &stick,
        &name,
        "site.toml, line 1: unknown field `server_name`",
    );
    let torn = text.replace("mode = \"dhcp\"", "mode = \"dhc");
    is_refused(&mut machine, &stick, &torn, "site.toml, line ");
    let large = format!("{text}#{}\n", "x".repeat(TOO_LARGE));
    is_refused(&mut machine, &stick, &large, "site.toml on the stick is too large");
    let mut older = exported.clone();
    older.version = 7;
    let older = toml::to_string(&older).unwrap();
    is_refused(
        &mut machine,
        &stick,
        &older,
        "the configuration is at version 1 meanwhile, not 7",
    );
    stick.write(FILE, text.as_bytes());
    choose(&mut machine, "Configuration from the stick", "7");
    let said = done(&mut machine);
    assert!(said.contains("what is already so"), "{said}");
    assert_eq!(seen(port, &known), exported);

    // A change counts, is noted, and works: the firewall lets questions for the time out, and nobody answers them.
    let before = audited(port, &known);
    let mut timed = exported.clone();
    timed.time.servers = vec!["10.0.2.77".parse().unwrap()];
    let shown = take_over(&mut machine, &stick, &timed);
    assert!(shown.contains("+ [time] servers = [\"10.0.2.77\"]"), "{shown}");
    machine.expect("no time server tells the time");
    timed.version += 1;
    assert_eq!(seen(port, &known), timed);
    assert_eq!(audited(port, &known), before + 1);

    cut_off(&mut machine, &stick, &timed, port, &known);
    let mut kept = timed;
    kept.network = parse_network("10.0.2.15/24 10.0.2.2").unwrap();
    take_over(&mut machine, &stick, &kept);
    machine.expect("else it goes back");
    machine.choose("Keep the new network", "6", Some(PIN));
    machine.expect("Shut down");
    std::thread::sleep(Duration::from_secs(3));
    kept.version += 1;
    assert_eq!(seen(port, &known), kept);
    shut_down(&mut machine);

    let (mut machine, port) = start(&disk, &stick, 8449);
    unlock(&mut machine, &key);
    assert_eq!(seen(port, &known), kept);
    shut_down(&mut machine);
}

/// A wrong network from the stick: nobody confirms it, and everything is as before.
fn cut_off(machine: &mut VirtualMachine, stick: &UsbStick, now: &Editable, port: u16, known: &(PathBuf, String)) {
    let mut wrong = now.clone();
    wrong.network = parse_network("10.9.9.9/24").unwrap();
    let shown = take_over(machine, stick, &wrong);
    let changed = Instant::now();
    assert!(shown.contains("- [network] mode = \"dhcp\""), "{shown}");
    machine.expect("10.9.9.9 ");
    machine.expect("else it goes back");
    let health = || crate::client::get(port, "/_lamchat/admin/v1/health", None);
    assert!(health().is_err(), "the old address answers");
    machine.expect("10.0.2.15");
    let back = changed.elapsed();
    println!("the old network is back after {back:?}");
    assert!(
        (Duration::from_secs(100)..Duration::from_secs(180)).contains(&back),
        "{back:?}"
    );
    while health().is_err() {
        assert!(changed.elapsed() < Duration::from_secs(240), "nobody answers");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(seen(port, known), *now);
}
