//! A release that is being marked good when the power is cut: ten minutes after it began to serve.

use super::checks;
use super::drive::Trigger;
use super::life::{Life, On};
use crate::slots::names;
use lamchat_disk::simulation::Dice;
use serde_json::Value;
use std::time::{Duration, Instant};

/// The box waits so long (`init/good.rs`), and looks again from time to time.
const GOOD_AFTER: Duration = Duration::from_secs(10 * 60);
/// The console says that the box serves a little after it does, and the box looks at that every five seconds.
const BEFORE: Duration = Duration::from_secs(8);
/// Within which time it has been marked.
const MARKED_WITHIN: Duration = Duration::from_secs(60);
/// Flushes of it: noting that it begins, the file's new name, noting that it is done, the signed head.
const FLUSHES: u64 = 8;

/// Whether the release that runs is marked good on the disk.
fn is_marked(life: &Life) -> bool {
    names(life.drive.disk()).iter().any(|name| name == "lamchat-b.efi")
}

/// What the audit log has of it.
fn is_noted(life: &Life, on: &On) -> bool {
    let log = life.far(on, &["audit", "show", "--limit", "100"]).unwrap();
    let entries = log.get("entries").and_then(Value::as_array).unwrap();
    entries.iter().any(|entry| {
        entry.get("act").and_then(Value::as_str) == Some("update.good")
            && entry.pointer("/facts/state").and_then(Value::as_str) == Some("done")
    })
}

/// Lets a release serve until it is marked, and cuts the power meanwhile, so often.
pub fn mark_with_cuts(dice: &mut Dice, most: u64) {
    let mut life = Life::begin(dice);
    let mut on = life.start().unwrap();
    let next = std::env::var("LAMCHAT_NEXT_BUNDLE").unwrap();
    life.far(&on, &["update", "apply", &next, "--yes", "--restart"])
        .unwrap();
    on.machine.wait_off();
    drop(on);
    life.updated = true;
    // Each start takes one of the three tries of a release that is not marked yet.
    while life.cuts < most.min(2) && !is_marked(&life) {
        let mut on = life.start().unwrap();
        let since = Instant::now();
        let status = life.check(&mut on).unwrap();
        assert_eq!(status.get("running"), Some(&Value::from("0.2.0")), "{status}");
        while since.elapsed() + BEFORE < GOOD_AFTER {
            on.machine.read();
        }
        life.drive.arm(Trigger {
            flushes: dice.below(FLUSHES),
            writes: if dice.below(2) == 0 { u64::MAX } else { dice.below(3) },
        });
        life.drive.wait_cut(BEFORE + MARKED_WITHIN);
        println!("{}", life.drive.cut());
        on.machine.kill();
        drop(on);
        life.after_cut(&format!("the marking, which is on the disk: {}", is_marked(&life)));
    }
    let marked = is_marked(&life);
    let mut on = life.start().unwrap();
    let status = life.check(&mut on).unwrap();
    assert_eq!(status.get("running"), Some(&Value::from("0.2.0")), "{status}");
    // What says that it was done was written after it was.
    assert!(
        marked || !is_noted(&life, &on),
        "noted as done, and not on the disk: {:?}",
        names(life.drive.disk())
    );
    checks::audit(&mut life, &on).unwrap();
    println!("{} cuts while a release was marked good; marked: {marked}", life.cuts);
}
