//! Proof that these tests can fail: a disk that says that it has flushed, and has not.

use super::life::Life;
use lamchat_disk::simulation::Dice;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// How long such a disk keeps what it was asked to make durable. Some disks do so for as long.
const AGE: Duration = Duration::from_secs(5);
/// Cuts within which it has to be found out. One in ten leaves everything, as it may.
const CUTS_MAX: u64 = 8;
/// What the checks say of lost or damaged data: of messages, accounts, the keyring, the record, the slots, the box's log,
/// and of a start that does not come to serve.
const FOUND: [&str; 12] = [
    "acknowledged messages are gone",
    "says something else",
    "comes after number",
    "is gone",
    "/messages: 4",
    "/messages: 5",
    "does not serve",
    "Broken",
    "EXT4-fs error",
    "I/O error",
    "older than",
    "another one than",
];

/// What a check panicked with.
fn sentence(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or_default()
}

/// Lets a box live on such a disk until the checks find out.
pub fn live_on_a_lying_disk(dice: &mut Dice) {
    let mut life = Life::begin(dice);
    life.drive.lie(AGE);
    for cut in 1..=CUTS_MAX {
        let round = catch_unwind(AssertUnwindSafe(|| life.round_of_messages(dice)));
        let Err(panic) = round else { continue };
        let told = sentence(&*panic).to_owned();
        let Some(found) = FOUND.iter().find(|found| told.contains(**found)) else {
            // Something else has gone wrong.
            resume_unwind(panic);
        };
        println!("found out after cut {}, in round {cut}: {found}", life.cuts);
        return;
    }
    panic!("a disk that kept nothing of what it was asked to keep was not found out in {CUTS_MAX} cuts");
}
