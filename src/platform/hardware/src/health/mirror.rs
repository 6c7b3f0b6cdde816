//! Disks that stand in for each other: Linux's md (Documentation/admin-guide/md.rst).

use super::reading::{Part, Reading, State, Unit};
use super::root::Root;

/// The most arrays.
const ARRAYS_MAX: usize = 64;

/// A reading for each array with redundancy.
pub fn read(sys: &Root) -> Vec<Reading> {
    let arrays = sys
        .folders("class/block")
        .into_iter()
        .filter(|disk| disk.has("md/level"));
    arrays.take(ARRAYS_MAX).filter_map(|array| one(&array)).collect()
}

fn one(array: &Root) -> Option<Reading> {
    let level = array.text("md/level")?;
    let array_state = array.text("md/array_state")?;
    let disks = array.number::<u64>("md/raid_disks").unwrap_or(0);
    let reading = Reading::new(
        Part::Mirror,
        array.name(),
        format!("{level} of {disks} disks, {array_state}"),
    );
    // "degraded": the number of devices by which the array is short. Levels without redundancy have no such file.
    let missing = array.number::<u64>("md/degraded").unwrap_or(0);
    let action = array.text("md/sync_action").unwrap_or_default();
    let mut reading = reading.value(missing as f64, Unit::Count);
    if matches!(array_state.as_str(), "inactive" | "clear" | "broken" | "suspended") {
        reading = reading.worse(State::Failed, format!("{level}: the array is {array_state}"));
    }
    let repairing = matches!(action.as_str(), "recover" | "resync" | "reshape");
    if missing > 0 && repairing {
        let done = progress(&array.text("md/sync_completed").unwrap_or_default());
        reading = reading.worse(
            State::Warning,
            format!("{level}: {missing} disks are being filled{done}"),
        );
    } else if missing > 0 {
        reading = reading.worse(
            State::Failed,
            format!("{level}: {missing} of {disks} disks are missing; a further failure loses everything"),
        );
    }
    Some(reading)
}

/// `123 / 456`, in sectors.
fn progress(text: &str) -> String {
    let parts = text.split_once('/');
    let parts = parts.and_then(|(done, all)| Some((done.trim().parse::<u64>().ok()?, all.trim().parse::<u64>().ok()?)));
    match parts {
        Some((done, all)) if all > 0 => format!(", {} %", done.saturating_mul(100) / all),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{State, progress, read};
    use crate::health::testing::tree;

    #[test]
    fn a_mirror_loses_a_disk_and_gets_another() {
        let file = |name: &str| format!("class/block/md0/md/{name}");
        let folder = tree(&[
            (&file("level"), "raid1\n"),
            (&file("array_state"), "clean\n"),
            (&file("raid_disks"), "2\n"),
            (&file("degraded"), "0\n"),
            (&file("sync_action"), "idle\n"),
            ("class/block/sda/size", "1000"),
        ]);
        let said = || read(&folder.root).pop().unwrap();
        assert_eq!((said().state, read(&folder.root).len()), (State::Well, 1));
        folder.write(&file("degraded"), "1");
        assert_eq!(said().state, State::Failed);
        assert!(said().sentence.contains("1 of 2 disks"), "{}", said());
        folder.write(&file("sync_action"), "recover");
        folder.write(&file("sync_completed"), "250 / 1000");
        assert_eq!(said().state, State::Warning);
        assert!(said().sentence.ends_with("25 %"), "{}", said());
        folder.write(&file("array_state"), "inactive");
        assert_eq!(said().state, State::Failed);
    }

    #[test]
    fn progress_is_a_fraction_or_nothing() {
        assert_eq!(progress("1 / 3"), ", 33 %");
        assert_eq!(progress("none"), "");
        assert_eq!(progress("1 / 0"), "");
        assert_eq!(progress("18446744073709551615 / 2"), format!(", {} %", u64::MAX / 2));
    }
}
