//! A release that has answered for ten minutes is marked good, by the box itself: then nothing counts its starts any more,
//! and the one before it gives way to the next.

use crate::opening::{Begun, begin, good_box};
use crate::restart::is_there;
use crate::slots;
use crate::update::{far, slot, start, try_far};
use crate::virtual_machine::VirtualMachine;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How long a release answers before it is marked good, and how much longer the machine may take for that.
const ANSWERS_FOR: Duration = Duration::from_secs(10 * 60);
const AND_THEN: Duration = Duration::from_secs(5 * 60);
/// Between two questions.
const LOOK: Duration = Duration::from_secs(10);

/// Waits until the release in this slot is marked good, which is not before its time. The machine has just come to answer.
pub fn until_good(machine: &mut VirtualMachine, port: u16, known: &(PathBuf, String), name: &str) {
    let since = machine.age();
    loop {
        let looked = machine.age();
        while machine.age() - looked < LOOK {
            machine.read();
        }
        let status = far(port, known, &["update", "status"]);
        let waited = machine.age() - since;
        if slot(&status, name).get("good") == Some(&Value::Bool(true)) {
            assert!(waited + LOOK > ANSWERS_FOR, "after {waited:?}");
            println!("marked good after {waited:?}");
            return;
        }
        assert!(waited < ANSWERS_FOR + AND_THEN, "not marked good: {status}");
    }
}

#[test]
fn a_release_that_answers_is_marked_good_and_stays() {
    let next = PathBuf::from(std::env::var_os("LAMCHAT_NEXT_BUNDLE").unwrap());
    let next = next.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (disk, board) = good_box();
    let (mut machine, clients, port) = start(&disk, &board);
    let Begun { event, known, .. } = begin(&mut machine, clients, folder.path());
    // The first update of a box, and what it changes is known: nothing, for it is the same program.
    let checked = far(port, &known, &["update", "check", next]);
    assert_eq!(checked.get("components_known"), Some(&Value::Bool(true)), "{checked}");
    assert_eq!(checked.get("components"), Some(&Value::Array(Vec::new())), "{checked}");
    far(port, &known, &["update", "apply", next, "--yes", "--restart"]);
    machine.wait_off();

    let (mut machine, clients, port) = start(&disk, &board);
    machine.expect("New administrator");
    is_there(clients, &event);
    // What there is to fall back to is not touched on trial.
    let refused = try_far(port, &known, &["update", "apply", next, "--yes"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("not marked good yet"),
        "{said}"
    );
    until_good(&mut machine, port, &known, "b");
    let health = far(port, &known, &["health"]);
    assert_eq!(
        health.pointer("/release/on_trial"),
        Some(&Value::Bool(false)),
        "{health}"
    );
    assert_eq!(slots::names(&disk), ["lamchat-a.efi", "lamchat-b.efi"]);
    let log = far(port, &known, &["audit", "show"]);
    let marked = log.get("entries").and_then(Value::as_array).unwrap().iter();
    let marked = marked.filter(|entry| entry.get("act").unwrap() == "update.good");
    let states: Vec<_> = marked
        .map(|entry| entry.pointer("/facts/state").unwrap().clone())
        .collect();
    assert_eq!(states, ["begun", "done"]);
    drop(machine);

    // The power was cut, and no start counts any more.
    let (mut machine, clients, port) = start(&disk, &board);
    machine.expect("New administrator");
    is_there(clients, &event);
    let status = far(port, &known, &["update", "status"]);
    assert_eq!(status.get("running"), Some(&"0.2.0".into()), "{status}");
    assert_eq!(slots::names(&disk), ["lamchat-a.efi", "lamchat-b.efi"]);
    // And the next one takes the place of the release before.
    let applied = far(port, &known, &["update", "apply", next, "--yes"]);
    assert_eq!(applied.get("file"), Some(&"lamchat-a+3.efi".into()), "{applied}");
    drop(machine);
    assert_eq!(slots::names(&disk), ["lamchat-a+3.efi", "lamchat-b.efi"]);
}
