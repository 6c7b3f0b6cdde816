//! A factory reset whose power is cut, in the midst of it and again in the starts that go on with it.

use super::drive::{Drive, Trigger};
use super::life::{On, switch_on};
use crate::firmware::Board;
use crate::opening::good_box;
use crate::restart::{has_bytes, is_there, send};
use crate::set_up::{PIN, set_up};
use crate::virtual_machine::Disk;
use lamchat_disk::simulation::Dice;
use lamchat_machine::gpt;
use lamchat_machine::two_copies::{self, KEYRING, RECORD};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Flushes of a reset from the decision on, about: the copies of the record, what the box writes meanwhile, the copies of the
/// keyring, and of the record again.
const FLUSHES: u64 = 12;
/// How long a reset may take.
const RESET_MAX: Duration = Duration::from_secs(120);
/// How a keyring's file begins.
const KEYRING_BEGINS: &[u8] = b"LAMKEYRG";

/// What a disk says of itself, without the box.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    /// The word of the record, empty without one.
    state: String,
    /// Whether something is left that opens with a recovery key.
    keyring: bool,
}

/// Reads it from what the disk has for good. A copy may be torn, but never both.
fn left(disk: &Disk) -> Left {
    let file = File::open(disk.path()).unwrap();
    let partitions = gpt::read(disk.path()).unwrap();
    let keyring = partitions.iter().find(|one| one.label == "lamchat-keyring").unwrap();
    let mut bytes = vec![0; usize::try_from(keyring.length).unwrap()];
    file.read_exact_at(&mut bytes, keyring.offset).unwrap();
    let copy = tempfile::tempfile().unwrap();
    copy.write_all_at(&bytes, 0).unwrap();
    let record = two_copies::read(&copy, &RECORD).unwrap().unwrap_or_default();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap_or_default();
    let state = record.get("state").and_then(serde_json::Value::as_str);
    let kept = two_copies::read(&copy, &KEYRING).unwrap();
    Left {
        state: state.unwrap_or_default().to_owned(),
        keyring: kept.is_some_and(|kept| kept.windows(8).any(|bytes| bytes == KEYRING_BEGINS)),
    }
}

/// Resets boxes and cuts their power, until there were so many cuts; each reset ends with a box that can be set up.
pub fn reset_with_cuts(dice: &mut Dice, most: u64) {
    // The boot loader then writes nothing.
    let (disk, board) = good_box();
    let drive = Drive::new(disk, dice.roll());
    let mut on = switch_on(&drive, &board);
    let (mut cuts, mut tries) = (0, dice.below(FLUSHES));
    while cuts < most {
        set_up(&mut on.machine, "dhcp");
        let event = send(on.clients);
        let mut here = 0;
        on = loop {
            tries += 1;
            reset(&mut on, &drive, trigger(dice, tries));
            let was_cut = power_off(on, &drive);
            here += u64::from(was_cut);
            let (next, cut) = start(dice, &drive, &board, &event);
            here += cut;
            match next {
                Next::New(on) => break on,
                // The decision was not on the disk: it is taken again.
                Next::Whole(again) => on = again,
            }
        };
        println!("a reset with {here} cuts is done");
        cuts += here;
    }
    // Nothing of all that is in the way of a life after it.
    set_up(&mut on.machine, "dhcp");
    let event = send(on.clients);
    is_there(on.clients, &event);
}

/// Each of the flushes in turn, so that a run misses none: as the flush comes, or some writes behind the one before.
fn trigger(dice: &mut Dice, tries: u64) -> Trigger {
    let writes = [u64::MAX, dice.below(4)];
    Trigger {
        flushes: tries % FLUSHES,
        writes: *writes.get(usize::from(dice.below(2) == 0)).unwrap(),
    }
}

/// Decides for the reset at the console, and waits for its end or the cut.
fn reset(on: &mut On, drive: &Drive, trigger: Trigger) {
    let cut = || drive.is_cut();
    // Draws the status anew, so that what is expected was not there before.
    on.machine.type_text("x");
    for (question, answer) in [("PIN: ", PIN), ("destroy its data: ", "chat.example.org")] {
        if on.machine.expect_any(&[question], &cut).is_none() {
            return;
        }
        if answer != PIN {
            // What the audit log writes before it is another test's.
            println!("to be cut at {trigger:?}");
            drive.arm(trigger);
        }
        on.machine.type_text(&format!("{answer}\r"));
    }
    let since = Instant::now();
    while !cut() && !on.machine.is_off() {
        assert!(since.elapsed() < RESET_MAX, "{}", on.machine.shown());
        on.machine.read();
    }
}

/// Takes the power away, if the box has not ended by itself; whether it had to lose something.
fn power_off(mut on: On, drive: &Drive) -> bool {
    let was_cut = drive.is_cut();
    if was_cut {
        println!("cut in a reset: {}", drive.cut());
    }
    on.machine.kill();
    was_cut
}

/// What a start came to.
enum Next {
    /// A box to set up, without keys.
    New(On),
    /// A box that serves, with everything there.
    Whole(On),
}

/// Starts until the box is there; how often the power was cut meanwhile.
fn start(dice: &mut Dice, drive: &Drive, board: &Board, event: &str) -> (Next, u64) {
    let mut cuts = 0;
    loop {
        let before = left(drive.disk());
        println!("on the disk: {before:?}");
        // Of starts two are cut at most, so that a run comes to its end.
        if cuts < 2 && dice.below(2) == 0 {
            let flushes = dice.below(FLUSHES);
            drive.arm(trigger(dice, flushes));
        }
        let mut on = switch_on(drive, board);
        let states = ["Set up this box", "New administrator", "Unlock with the recovery key"];
        match on.machine.expect_any(&states, &|| drive.is_cut()) {
            None => {
                assert!(drive.is_cut(), "off by itself:\n{}", on.machine.shown());
                println!("cut in a start: {}", drive.cut());
                on.machine.kill();
                cuts += 1;
            }
            Some(0) => {
                assert_ne!(before.state, "done", "the box forgot itself without a decision");
                assert!(!has_bytes(drive.disk(), KEYRING_BEGINS), "a keyring is left");
                // What a trigger still waits for is not of this reset.
                drive.disarm();
                if drive.is_cut() {
                    println!("cut once all was done: {}", drive.cut());
                    on.machine.kill();
                    cuts += 1;
                    continue;
                }
                // Draws the screen anew.
                on.machine.type_text("z");
                return (Next::New(on), cuts);
            }
            Some(1) => {
                assert_eq!(before.state, "done", "a decided reset was forgotten");
                drive.disarm();
                if drive.is_cut() {
                    println!("cut once it served: {}", drive.cut());
                    on.machine.kill();
                    cuts += 1;
                    continue;
                }
                is_there(on.clients, event);
                return (Next::Whole(on), cuts);
            }
            Some(_) => panic!("locked, with {before:?} on the disk:\n{}", on.machine.shown()),
        }
    }
}
