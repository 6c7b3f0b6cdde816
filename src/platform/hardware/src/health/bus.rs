//! Errors of PCI Express: `aer_dev_*` (Linux, Documentation/ABI/testing/sysfs-bus-pci-devices-aer).

use super::reading::{Part, Reading, State, Unit};
use super::root::Root;

/// Where the kernel has devices.
pub const FOLDER: &str = "bus/pci/devices";
/// The most devices that are looked at.
const DEVICES_MAX: usize = 512;

/// A reading for each device that counted an error, and one for all others.
pub fn read(sys: &Root) -> Vec<Reading> {
    let devices = sys.folders(FOLDER).into_iter().take(DEVICES_MAX);
    let counted: Vec<(String, Counts)> = devices
        .filter_map(|device| Some((device.name(), counts(&device)?)))
        .collect();
    if counted.is_empty() {
        return Vec::new();
    }
    let devices = counted.len();
    let mut readings: Vec<Reading> = counted
        .into_iter()
        .filter_map(|(name, counts)| one(&name, &counts))
        .collect();
    readings.push(Reading::new(
        Part::Bus,
        "PCI Express",
        format!("{devices} devices count errors, {} have some", readings.len()),
    ));
    readings
}

#[derive(Default)]
struct Counts {
    corrected: u64,
    nonfatal: u64,
    fatal: u64,
}

/// `None`: the device does not count.
fn counts(device: &Root) -> Option<Counts> {
    Some(Counts {
        corrected: total(&device.all("aer_dev_correctable")?),
        nonfatal: total(&device.all("aer_dev_nonfatal").unwrap_or_default()),
        fatal: total(&device.all("aer_dev_fatal").unwrap_or_default()),
    })
}

/// Lines of a name and a number; the one that begins with TOTAL_ERR_ is their sum.
fn total(text: &str) -> u64 {
    let total = text.lines().find_map(|line| line.strip_prefix("TOTAL_ERR_"));
    let number = total.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn one(name: &str, counts: &Counts) -> Option<Reading> {
    let Counts {
        corrected,
        nonfatal,
        fatal,
    } = counts;
    let all = corrected.saturating_add(*nonfatal).saturating_add(*fatal);
    if all == 0 {
        return None;
    }
    let reading = Reading::new(
        Part::Bus,
        format!("PCI {name}"),
        "errors since the start, all corrected",
    );
    let mut reading = reading.value(all as f64, Unit::Count);
    if *fatal > 0 {
        reading = reading.worse(State::Failed, format!("{fatal} fatal errors since the start"));
    }
    if *nonfatal > 0 {
        reading = reading.worse(State::Warning, format!("{nonfatal} uncorrected errors since the start"));
    }
    Some(reading)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{State, read, total};
    use crate::health::testing::tree;

    #[test]
    fn totals_are_read() {
        assert_eq!(total("RxErr 2\nTOTAL_ERR_COR 7\n"), 7);
        assert_eq!(total("RxErr 2\n"), 0);
        assert_eq!(total("TOTAL_ERR_COR x\nTOTAL_ERR_COR 1"), 0);
        assert_eq!(total(""), 0);
    }

    #[test]
    fn devices_with_errors_are_named() {
        let device = |number: u32, file: &str| format!("bus/pci/devices/0000:0{number}:00.0/aer_dev_{file}");
        let folder = tree(&[
            (&device(1, "correctable"), "TOTAL_ERR_COR 0"),
            (&device(2, "correctable"), "TOTAL_ERR_COR 5"),
            (&device(3, "correctable"), "TOTAL_ERR_COR 0"),
            (&device(3, "nonfatal"), "TOTAL_ERR_NONFATAL 1"),
            (&device(4, "correctable"), "TOTAL_ERR_COR 0"),
            (&device(4, "fatal"), "TOTAL_ERR_FATAL 1"),
            ("bus/pci/devices/0000:05:00.0/vendor", "0x8086"),
        ]);
        let said: Vec<_> = read(&folder.root).iter().map(|reading| reading.state).collect();
        assert_eq!(said, [State::Well, State::Warning, State::Failed, State::Well]);
        assert!(read(&folder.root).last().unwrap().sentence.starts_with("4 devices"));
        assert!(read(&tree(&[]).root).is_empty());
    }
}
