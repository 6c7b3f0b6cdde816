//! The security floor, raised while the power is cut: it is up or it is not, and the box opens by itself either way.

use super::checks;
use super::drive::Trigger;
use super::life::{Life, On};
use crate::floor::{bundle, floor};
use crate::set_up::shut_down;
use crate::slots::mark_good;
use crate::update::try_far;
use lamchat_disk::simulation::Dice;
use lamchat_slots::Slot;
use std::thread::scope;
use std::time::{Duration, Instant};

/// The floor that both releases meet.
const FLOOR: u64 = 2;
/// How long raising it may take.
const RAISE_MAX: Duration = Duration::from_secs(60);

/// Between two looks at that.
const LOOK: Duration = Duration::from_millis(20);

/// Has both slots hold releases of the floor's epoch, the second of them running.
fn update(life: &mut Life) {
    let on = life.start().unwrap();
    life.far(&on, &["update", "apply", &bundle("0.2.0"), "--yes", "--restart"])
        .unwrap();
    off(life, on);
    mark_good(life.drive.disk(), Slot::B);
    let mut on = life.start().unwrap();
    life.far(&on, &["update", "apply", &bundle("0.3.0"), "--yes"]).unwrap();
    shut_down(&mut on.machine);
    off(life, on);
    mark_good(life.drive.disk(), Slot::A);
}

/// Waits for a machine that goes off by itself.
fn off(life: &Life, mut on: On) {
    on.machine.wait_off();
    life.drive.settle();
}

fn raise(life: &Life, on: &On) -> bool {
    try_far(
        on.administration,
        &life.known,
        &["seal", "raise-floor", &FLOOR.to_string()],
    )
    .status
    .success()
}

/// Raises the floor and cuts the power at each of its flushes in turn, and a few times once it is up.
pub fn raise_with_cuts(dice: &mut Dice, most: u64) {
    let mut life = Life::begin(dice);
    update(&mut life);
    let (mut is_up, mut flushes) = (false, 0);
    while life.cuts < most {
        let mut on = life.start().unwrap();
        life.check(&mut on).unwrap();
        let now = floor(&life.far(&on, &["seal", "status"]).unwrap());
        assert!(
            now == FLOOR || (now == 1 && !is_up),
            "the floor is {now}, acknowledged: {is_up}"
        );
        println!("the floor is {now}, acknowledged: {is_up}");
        if now == FLOOR {
            // What could be cut is over.
            shut_down(&mut on.machine);
            break;
        }
        // As the flush comes, or close behind it.
        let writes = if dice.below(3) == 0 { dice.below(4) } else { u64::MAX };
        life.drive.arm(Trigger { flushes, writes });
        flushes += 1;
        let raised = scope(|scope| {
            let raising = scope.spawn(|| raise(&life, &on));
            let since = Instant::now();
            while !raising.is_finished() && !life.drive.is_cut() && since.elapsed() < RAISE_MAX {
                std::thread::sleep(LOOK);
            }
            let loss = life.drive.cut();
            println!("{loss}");
            raising.join().unwrap()
        });
        is_up |= raised;
        on.machine.kill();
        drop(on);
        life.after_cut(&format!(
            "the raising of the floor, at its flush {flushes}, acknowledged: {raised}"
        ));
    }
    let mut on = life.start().unwrap();
    life.check(&mut on).unwrap();
    if floor(&life.far(&on, &["seal", "status"]).unwrap()) == 1 {
        assert!(!is_up && raise(&life, &on), "the floor cannot be raised after the cuts");
    }
    assert_eq!(floor(&life.far(&on, &["seal", "status"]).unwrap()), FLOOR);
    checks::audit(&mut life, &on).unwrap();
    println!(
        "{} cuts while the floor was raised, in {} starts",
        life.cuts, life.starts
    );
}
