//! Whoever has a box start again from a distance is told before whether its next start waits for somebody at the console.

use crate::harness::{CONFIG, Site, text};
use crate::tpm::{Swtpm, slot};
use crate::update::{Machine, bundle, release};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

const PIN: &str = "its next start waits for the TPM PIN";
const RECOVERY: &str = "its next start waits for the recovery key";

/// What a program reads of it: whether it waits, and for what.
fn next_start(answer: &Value) -> (Value, Value) {
    let next = &answer["next_start"];
    assert_eq!(next["sentence"].is_null(), next["waits"] == false, "{answer}");
    (next["waits"].clone(), next["for"].clone())
}

/// Takes the slot out that opens the keys by itself.
fn remove_file_slot(site: &Site, typed: &str) {
    let status = site.command_json(&["seal", "status"], "");
    let removed = site.command(&["seal", "remove", &slot(&status, "file")], typed);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
}

#[test]
fn an_update_says_that_the_box_will_wait_for_its_pin() {
    let tpm = Swtpm::new();
    let sealed = format!("{}pin = true\n\n[admin]\nupdates = \"update.sock\"\n", tpm.config());
    let machine = Machine::with(&sealed);
    let (site, server) = (&machine.site, machine.site.start());
    let file = |name: &str, version| {
        let bytes = bundle(&machine.key, version, "lamchat", &release(2, 30_000));
        std::fs::write(site.path(name), bytes).unwrap();
    };
    file("two", [0, 2, 0]);
    // As long as something opens the keys by itself, there is nothing to say.
    let checked = site.command_json(&["update", "check", "two"], "");
    assert_eq!(next_start(&checked), (json!(false), json!(null)));
    let shown = text(&site.command(&["update", "show"], "").stdout);
    assert!(shown.contains("Release 0.2.0") && !shown.contains("waits"), "{shown}");

    let key = site.command_json(&["seal", "add-recovery"], "")["recovery_key"]
        .as_str()
        .unwrap()
        .to_owned();
    let made = site.command(&["seal", "init", "--force"], "a pin\n");
    assert!(made.status.success(), "{}", text(&made.stderr));
    remove_file_slot(site, &format!("{key}\na pin\n"));

    let waits = (json!(true), json!("tpm-pin"));
    for arguments in [
        &["update", "check", "two"][..],
        &["update", "show"],
        &["update", "status"],
    ] {
        assert_eq!(next_start(&site.command_json(arguments, "")), waits, "{arguments:?}");
        let shown = text(&site.command(arguments, "").stdout);
        assert!(shown.contains(PIN), "{arguments:?}: {shown}");
    }
    assert_eq!(next_start(&site.command_json(&["health"], "")), waits);
    // Before it is done: whoever does not say yes has been told.
    let asked = site.command(&["update", "apply"], "no\n");
    assert!(text(&asked.stdout).contains(PIN) && !asked.status.success());
    assert_eq!(machine.slots().len(), 1, "nothing is installed");
    let applied = site.command(&["update", "apply", "--yes", "--json"], "");
    assert!(
        applied.status.success() && text(&applied.stderr).contains(PIN),
        "{}",
        text(&applied.stderr)
    );
    let answer: Value = serde_json::from_slice(&applied.stdout).unwrap();
    assert_eq!(next_start(&answer), waits);
    server.stop();
}

#[test]
fn a_restart_says_that_the_box_will_wait_for_the_recovery_key() {
    let site = Site::new();
    let socket = site.path("box.sock");
    site.configure(&format!("{CONFIG}\n[admin]\nbox_socket = {socket:?}\n"));
    let listener = UnixListener::bind(&socket).unwrap();
    // Process 1, which is asked for the end twice.
    let process_1 = std::thread::spawn(move || {
        let asked = (0..2).map(|_| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(b"{}").unwrap();
            serde_json::from_str(&line).unwrap()
        });
        asked.collect::<Vec<Value>>()
    });
    let server = site.start();
    let asked = site.command(&["box", "restart"], "no\n");
    assert!(!text(&asked.stderr).contains("waits"), "{}", text(&asked.stderr));

    let key = site.command_json(&["seal", "add-recovery"], "")["recovery_key"]
        .as_str()
        .unwrap()
        .to_owned();
    remove_file_slot(&site, &format!("{key}\n"));
    for arguments in [["box", "restart"], ["box", "power-off"]] {
        let asked = site.command(&arguments, "no\n");
        let said = text(&asked.stderr);
        assert!(said.contains(RECOVERY) && said.contains("nothing was done"), "{said}");
        let ended = site.command(&[&arguments[..], &["--yes", "--json"]].concat(), "");
        assert!(text(&ended.stderr).contains(RECOVERY), "{}", text(&ended.stderr));
        let answer: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(next_start(&answer), (json!(true), json!("recovery-key")));
    }
    let asked = process_1.join().unwrap();
    assert_eq!(asked[0], json!({"act": "end", "restart": true}));
    assert_eq!(asked[1], json!({"act": "end", "restart": false}));
    server.stop();
}
