//! The power is cut beneath the box, and its disk loses what was not flushed: a server of ours is the disk, drops a part
//! of that in no order and cut into sectors, and the machine is killed. TPM and firmware keep what they had answered.
//!
//! A box lives through cut after cut: each start is the check of the cut before it. `LAMCHAT_BOX_CUTS` says how many
//! (default 100), `LAMCHAT_SEED` repeats a run's choices as far as the box's own timing lets it.

mod checks;
mod drive;
mod file_system;
mod first;
mod floor;
mod good;
mod install;
mod lies;
mod life;
mod nbd;
mod reset;
mod work;

use lamchat_disk::simulation::Dice;
use life::Life;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// How many cuts a test has.
fn cuts() -> u64 {
    number("LAMCHAT_BOX_CUTS", 100)
}

/// Printed, so that it can be repeated.
fn dice() -> Dice {
    let seed = number("LAMCHAT_SEED", u64::from(std::process::id()));
    println!("LAMCHAT_SEED={seed}");
    Dice::new(seed)
}

/// A box lives through its half of three quarters of the cuts: two boxes, so that two cores have something to do.
fn live(mut dice: Dice) {
    let mut life = Life::begin(&mut dice);
    while life.cuts < cuts() * 3 / 8 {
        life.round(&mut dice);
    }
    life.end();
}

#[test]
fn a_box_that_works_and_updates_survives_power_cuts() {
    live(dice());
}

#[test]
fn another_box_that_works_and_updates_survives_power_cuts() {
    let mut other = dice();
    live(Dice::new(other.roll()));
}

/// Two disks lose their power at the same moment, each its own part of what was not flushed.
#[test]
fn a_mirror_survives_power_cuts() {
    let mut dice = dice();
    let mut life = Life::begin_as_mirror(&mut dice);
    while life.cuts < (cuts() / 8).max(1) {
        life.round(&mut dice);
    }
    life.end_as_mirror();
}

/// If these tests could not fail, they would show nothing.
#[test]
fn a_disk_that_only_says_that_it_flushes_is_found_out() {
    lies::live_on_a_lying_disk(&mut dice());
}

#[test]
fn a_security_floor_whose_raising_is_cut_is_up_or_is_raised_again() {
    floor::raise_with_cuts(&mut dice(), (cuts() / 12).max(1));
}

/// Ten minutes go by before each cut.
#[test]
fn a_release_whose_marking_is_cut_is_good_or_is_marked_again() {
    good::mark_with_cuts(&mut dice(), (cuts() / 50).max(1));
}

#[test]
fn a_set_up_that_is_cut_begins_again_or_is_done() {
    let mut dice = dice();
    let mut left = (cuts() / 4).max(1);
    while left > 0 {
        left = left.saturating_sub(first::set_up_with_cuts(&mut dice, left));
    }
}

#[test]
fn an_installation_that_is_cut_begins_again() {
    install::install_with_cuts(&mut dice(), (cuts() / 12).max(1));
}

#[test]
fn a_factory_reset_that_is_cut_is_undone_or_goes_on() {
    reset::reset_with_cuts(&mut dice(), (cuts() / 8).max(1));
}
