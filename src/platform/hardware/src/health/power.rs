//! Power from the wall, from batteries and from uninterruptible supplies: `/sys/class/power_supply` (Linux,
//! Documentation/ABI/testing/sysfs-class-power). Server supplies on PMBus are in hwmon.

use super::reading::{Part, Reading, State, Unit};
use super::root::Root;

/// The most supplies.
const SUPPLIES_MAX: usize = 32;

/// A reading for each supply of this machine.
pub fn read(sys: &Root) -> Vec<Reading> {
    let supplies = sys.folders("class/power_supply").into_iter().take(SUPPLIES_MAX);
    supplies.filter_map(|supply| one(&supply)).collect()
}

fn one(supply: &Root) -> Option<Reading> {
    let kind = supply.text("type")?;
    // A mouse's battery.
    if supply.text("scope").as_deref() == Some("Device") {
        return None;
    }
    let reading = Reading::new(Part::Power, supply.name(), kind.clone());
    if kind == "Mains" {
        return Some(match supply.flag("online")? {
            true => reading,
            false => reading.worse(State::Warning, "it gives no power: is it plugged in?"),
        });
    }
    if kind != "UPS" && kind != "Battery" {
        return None;
    }
    let status = supply.text("status").unwrap_or_default();
    let mut reading = Reading {
        sentence: format!("{kind}: {status}"),
        ..reading
    };
    let capacity = supply.number::<f64>("capacity").filter(|value| value.is_finite());
    if let Some(capacity) = capacity {
        reading = reading.value(capacity, Unit::Percent);
    }
    // The supply's own limit, where it has one.
    reading.limit = supply.number("capacity_alert_min");
    let below = capacity.zip(reading.limit).is_some_and(|(value, limit)| value <= limit);
    let level = supply.text("capacity_level").unwrap_or_default();
    if level == "Critical" || below {
        reading = reading.worse(State::Failed, format!("{kind}: nearly empty, {status}"));
    }
    let health = supply.text("health").unwrap_or_default();
    match health.as_str() {
        "" | "Good" | "Unknown" => {}
        "Dead" | "Unspecified failure" => {
            reading = reading.worse(State::Failed, format!("{kind}: {health}: replace the battery"));
        }
        _ => reading = reading.worse(State::Warning, format!("{kind}: {health}")),
    }
    if status == "Discharging" {
        reading = reading.worse(State::Warning, format!("{kind}: the machine runs on it"));
    }
    Some(reading)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{State, read};
    use crate::health::testing::tree;

    #[test]
    fn power_fails() {
        let folder = tree(&[
            ("class/power_supply/AC/type", "Mains\n"),
            ("class/power_supply/AC/online", "1\n"),
            ("class/power_supply/hid-1/type", "UPS\n"),
            ("class/power_supply/hid-1/status", "Full\n"),
            ("class/power_supply/hid-1/capacity", "100\n"),
            ("class/power_supply/hid-1/health", "Good\n"),
            ("class/power_supply/mouse/type", "Battery\n"),
            ("class/power_supply/mouse/scope", "Device\n"),
            ("class/power_supply/mouse/capacity_level", "Critical\n"),
        ]);
        let said = || {
            let readings = read(&folder.root);
            readings.iter().map(|reading| reading.state).collect::<Vec<_>>()
        };
        assert_eq!(said(), [State::Well, State::Well]);
        folder.write("class/power_supply/AC/online", "0");
        folder.write("class/power_supply/hid-1/status", "Discharging");
        assert_eq!(said(), [State::Warning, State::Warning]);
        folder.write("class/power_supply/hid-1/capacity", "9");
        folder.write("class/power_supply/hid-1/capacity_alert_min", "10");
        assert_eq!(said(), [State::Warning, State::Failed]);
        folder.write("class/power_supply/hid-1/capacity", "90");
        folder.write("class/power_supply/hid-1/health", "Dead");
        assert_eq!(said(), [State::Warning, State::Failed]);
        assert!(read(&folder.root).pop().unwrap().sentence.contains("replace"));
    }
}
