//! A release with one more migration of the database: on trial it leaves the database as the release before reads it, so
//! that a fall back loses nothing that was acknowledged; once it is marked good, the migration comes.
//!
//! `LAMCHAT_SCHEMA_BUNDLE` names its update: this source with the feature `next-schema`.

use crate::good::until_good;
use crate::opening::{Begun, begin, good_box};
use crate::restart::{is_there, send};
use crate::update::{far, start, try_far};
use serde_json::Value;
use std::path::PathBuf;

/// Starts of a release before it is left.
const STARTS: usize = 3;
/// The schema of this source, and of the update.
const SCHEMA: u64 = 4;
const NEXT: u64 = 5;

/// What runs, and how the database is.
fn expect(port: u16, known: &(PathBuf, String), release: &str, on_trial: bool, schema: u64) {
    let status = far(port, known, &["update", "status"]);
    assert_eq!(status.get("running"), Some(&release.into()), "{status}");
    // The command fails where something has: after the fall back, a release that was left.
    let health = try_far(port, known, &["health"]).stdout;
    let health: Value = serde_json::from_slice(&health).unwrap();
    assert_eq!(
        health.pointer("/release/on_trial"),
        Some(&Value::Bool(on_trial)),
        "{health}"
    );
    assert_eq!(health.get("schema"), Some(&schema.into()), "{health}");
}

#[test]
fn a_migration_waits_until_its_release_is_marked_good_and_a_fall_back_loses_nothing() {
    let bundle = PathBuf::from(std::env::var_os("LAMCHAT_SCHEMA_BUNDLE").unwrap());
    let install = ["update", "apply", bundle.to_str().unwrap(), "--yes", "--restart"];
    let folder = tempfile::tempdir().unwrap();
    let (disk, board) = good_box();
    let (mut machine, clients, port) = start(&disk, &board);
    let Begun { event, known, .. } = begin(&mut machine, clients, folder.path());
    let mut sent = vec![event];
    expect(port, &known, "0.1.0", false, SCHEMA);
    far(port, &known, &install);
    machine.wait_off();

    for _ in 0..STARTS {
        // Each start ends with the power, as soon as the message is acknowledged.
        let (mut machine, clients, port) = start(&disk, &board);
        machine.expect("New administrator");
        expect(port, &known, "0.2.0", true, SCHEMA);
        sent.push(send(clients));
    }

    let (mut machine, clients, port) = start(&disk, &board);
    machine.expect("New administrator");
    expect(port, &known, "0.1.0", false, SCHEMA);
    sent.iter().for_each(|event| is_there(clients, event));
    println!("{} messages are there after the fall back", sent.len());
    sent.push(send(clients));

    far(port, &known, &install);
    machine.wait_off();
    let (mut machine, clients, port) = start(&disk, &board);
    machine.expect("New administrator");
    expect(port, &known, "0.2.0", true, SCHEMA);
    until_good(&mut machine, port, &known, "b");
    // The database that is open stays as it is; the next start migrates it.
    expect(port, &known, "0.2.0", false, SCHEMA);
    sent.push(send(clients));
    drop(machine);

    let (mut machine, clients, port) = start(&disk, &board);
    machine.expect("New administrator");
    expect(port, &known, "0.2.0", false, NEXT);
    sent.iter().for_each(|event| is_there(clients, event));
}
