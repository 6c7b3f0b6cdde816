//! A set-up whose power is cut.

use super::drive::Drive;
use super::life::{On, switch_on, trigger};
use crate::client::request;
use crate::opening::good_box;
use crate::set_up::{PASSWORD, PIN, recovery_key};
use lamchat_disk::simulation::Dice;
use serde_json::json;
use std::time::{Duration, Instant};

/// Flushes from the first start to a while after the set-up, about.
const FLUSHES: u64 = 180;
/// Those until the partitions and the keyring are there, about.
const FLUSHES_OF_DISK: u64 = 20;
/// How long the box goes on after its set-up before the power is cut.
const AFTER_MAX: Duration = Duration::from_secs(15);
/// How long a client is let to log in.
const LOGIN_MAX: Duration = Duration::from_secs(120);

/// How far the console came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Asked,
    /// The recovery key was typed back.
    Known,
    /// "This box is set up".
    Done,
}

/// Sets a blank box up and cuts its power, again and again until it is set up or had so many cuts; how many it had.
pub fn set_up_with_cuts(dice: &mut Dice, most: u64) -> u64 {
    // The firmware's part of a start is another test's.
    let (disk, board) = good_box();
    let drive = Drive::new(disk, dice.roll());
    let mut cuts = 0;
    let mut reached = Reached::Asked;
    loop {
        if cuts < most && reached < Reached::Done {
            // The disk becomes the box's own in the first of them.
            let flushes = if dice.below(3) == 0 { FLUSHES_OF_DISK } else { FLUSHES };
            drive.arm(trigger(dice, flushes));
        }
        let mut on = switch_on(&drive, &board);
        let states = ["Set up this box", "New administrator", "Unlock with the recovery key"];
        match on.machine.expect_any(&states, &|| drive.is_cut()) {
            Some(0) => {
                assert!(reached < Reached::Done, "a box that was set up asks to be set up");
                let (now, key) = set_up(&mut on, &drive);
                reached = reached.max(now);
                println!(
                    "reached {now:?} after {:?} {:?}, key {}",
                    on.machine.age(),
                    drive.counts(),
                    key.is_some()
                );
            }
            // With a TPM it opens by itself from the moment on that it is set up.
            Some(1) => {
                drive.disarm();
                // The cut may have come just before.
                if !drive.is_cut() {
                    println!("set up by a cut-off set-up that had reached {reached:?}");
                    serves(&mut on, reached);
                    return cuts;
                }
            }
            None => {}
            Some(_) => panic!("locked:\n{}", on.machine.shown()),
        }
        if cuts == most && reached == Reached::Done {
            serves(&mut on, reached);
            return cuts;
        }
        let until = Instant::now() + AFTER_MAX;
        while !drive.is_cut() && Instant::now() < until {
            on.machine.read();
        }
        println!("{}", drive.cut());
        on.machine.kill();
        cuts += 1;
        println!("cut of a set-up, {reached:?}");
    }
}

/// Answers everything until the power is cut.
fn set_up(on: &mut On, drive: &Drive) -> (Reached, Option<String>) {
    let mut reached = Reached::Asked;
    let mut key = None;
    let answer = |on: &mut On, question: &str, answer: &str| {
        on.machine.expect_any(&[question], &|| drive.is_cut())?;
        on.machine.type_text(&format!("{answer}\r"));
        Some(())
    };
    let mut all = || {
        on.machine.type_text("1");
        answer(on, "1/5", "chat.example.org")?;
        answer(on, "2/5", "dhcp")?;
        answer(on, "3/5", "alice")?;
        for (question, text) in [("4/5", PASSWORD), ("again: ", PASSWORD), ("5/5", PIN), ("again: ", PIN)] {
            answer(on, question, text)?;
        }
        let before = on.machine.shown().len();
        answer(on, "Press Enter", "")?;
        let shown = recovery_key(on.machine.shown().get(before..).unwrap());
        answer(on, "Recovery key: ", &shown)?;
        key = Some(shown);
        answer(on, "Press Enter", "")?;
        reached = Reached::Known;
        on.machine.expect_any(&["This box is set up"], &|| drive.is_cut())?;
        reached = Reached::Done;
        answer(on, "Press Enter", "")
    };
    let _ = all();
    (reached, key)
}

/// The box serves; the administrator is there, or can be made if the set-up did not come to that.
fn serves(on: &mut On, reached: Reached) {
    let body = json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": PASSWORD,
    });
    let mut is_made = reached == Reached::Done;
    let since = Instant::now();
    loop {
        match request(on.clients, "POST", "/_matrix/client/v3/login", None, Some(&body)) {
            Ok((200, _)) => return,
            Ok((403, _)) if !is_made => {
                on.machine.type_text("2");
                on.machine.answer("PIN: ", PIN);
                on.machine.answer("Name: ", "alice");
                on.machine.answer("Password: ", PASSWORD);
                on.machine.answer("again: ", PASSWORD);
                on.machine.expect("was made");
                on.machine.answer("Press Enter", "");
                is_made = true;
            }
            other => assert!(since.elapsed() < LOGIN_MAX, "{other:?}\n{}", on.machine.shown()),
        }
        on.machine.read();
    }
}
