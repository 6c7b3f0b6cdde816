//! Database, media, keyring and sealed secrets on one simulated disk, whose power goes in the middle of everything:
//! what was acknowledged is there, in order, once, and nothing is half-written. `faults` lets the disk refuse instead.
//!
//! Rounds: `LAMCHAT_POWER_CUT_ROUNDS` (default 60). The seed is printed; `LAMCHAT_SEED` repeats the moments and the
//! sectors, as far as the threads of the writers allow.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a panic is the report"
)]

mod check;
mod faults;
mod house;
mod load;

use house::{House, Known};
use lamchat_disk::simulation::{Dice, SimulatedDisk};

/// Syncs that are left out, to see whether anybody notices.
#[derive(Debug, Clone, Copy, Default)]
struct Removed {
    /// Of files whose path contains this.
    files: Option<&'static str>,
    /// Of folders whose path ends in this.
    folder: Option<&'static str>,
}

/// A number from the environment, or `otherwise`.
fn setting(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = setting("LAMCHAT_SEED", now.unwrap().as_nanos() as u64);
    println!("LAMCHAT_SEED={seed}");
    seed
}

/// What all rounds together acknowledged and checked.
#[derive(Debug, Default)]
struct Total {
    events: u64,
    files: u64,
    changes_of_keys: u64,
}

/// Loads, cuts, restarts and checks. The first loss ends it.
fn rounds(seed: u64, rounds: u64, removed: Removed) -> Result<Total, String> {
    let mut dice = Dice::new(seed);
    let (mut disk, mut known, mut total) = (SimulatedDisk::new(seed), Known::default(), Total::default());
    for round in 0..rounds {
        if round % 12 == 0 {
            // From an empty disk now and then: the first start has its own ways to break.
            (disk, known) = (SimulatedDisk::new(dice.roll()), Known::default());
        }
        disk.ignore_syncs(removed.files);
        disk.ignore_dir_syncs(removed.folder);
        let span = if dice.below(3) == 0 { 120 } else { 3_000 };
        disk.cut_power_after(dice.below(span));
        let failed = |error: String| format!("round {round}: {error}");
        match House::open(&disk, &mut known) {
            Ok(house) => {
                let checked = check::all(&house, &mut known);
                checked.or_else(|error| if disk.is_off() { Ok(()) } else { Err(failed(error)) })?;
                load::until_the_power_goes(&house, &mut known, dice.roll(), &mut total).map_err(failed)?;
            }
            // The power went during the start.
            Err(_) if disk.is_off() => {}
            Err(error) => return Err(failed(error)),
        }
        disk = disk.power_on();
        let house = House::open(&disk, &mut known).map_err(failed)?;
        check::all(&house, &mut known).map_err(failed)?;
        if dice.below(2) == 0 {
            // Half of the next rounds start from a log, half from a store that was closed.
            disk.cut_power();
        }
        drop(house);
        disk = disk.power_on();
    }
    Ok(total)
}

#[test]
fn nothing_acknowledged_is_lost() {
    let count = setting("LAMCHAT_POWER_CUT_ROUNDS", 60);
    println!("LAMCHAT_POWER_CUT_ROUNDS={count}");
    let total = rounds(seed(), count, Removed::default()).unwrap();
    println!("{count} power cuts: {total:?} acknowledged, all there");
    if count >= 20 {
        assert!(
            total.events > 0 && total.files > 0 && total.changes_of_keys > 0,
            "{total:?}"
        );
    }
}

#[test]
fn every_missing_sync_is_noticed() {
    let seed = seed();
    let files = [
        "/wal/",
        "db.redb",
        "/media/files/",
        "/media/packs/",
        "/data/keyring",
        "/data/secrets/",
    ];
    let folders = ["store/wal", "store", "media/files", "media/packs", "data", "secrets"];
    let removed_files = files.map(|part| Removed {
        files: Some(part),
        folder: None,
    });
    let removed_folders = folders.map(|part| Removed {
        files: None,
        folder: Some(part),
    });
    for removed in removed_files.into_iter().chain(removed_folders) {
        let lost = rounds(seed, 400, removed);
        println!("{removed:?}: {lost:?}");
        assert!(lost.is_err(), "nobody missed it: {removed:?}");
    }
}
