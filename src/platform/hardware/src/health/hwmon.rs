//! Temperatures, fans, voltages, currents, power and intrusion: `/sys/class/hwmon`.
//!
//! Linux, Documentation/hwmon/sysfs-interface.rst: values are integers in thousandths (power: millionths) of their unit.
//! "Alarms are direct indications read from the chips"; limits are what the chip compares with.

use super::reading::{Part, Reading, State, Unit};
use super::root::Root;

/// The most channels of one kind.
const CHANNELS_MAX: usize = 128;

struct Kind {
    /// How attributes begin.
    prefix: &'static str,
    part: Part,
    unit: Unit,
    /// What the kernel's numbers are divided by.
    scale: f64,
    /// The range in which a limit can be meant. Chips that were never told limits have 0, 127 °C or the end of a register.
    believed: std::ops::Range<f64>,
}

const KINDS: &[Kind] = &[
    Kind {
        prefix: "temp",
        part: Part::Temperature,
        unit: Unit::Celsius,
        scale: 1000.0,
        believed: 1.0..126.0,
    },
    Kind {
        prefix: "fan",
        part: Part::Fan,
        unit: Unit::Rpm,
        scale: 1.0,
        believed: 1.0..100_000.0,
    },
    Kind {
        prefix: "in",
        part: Part::Voltage,
        unit: Unit::Volt,
        scale: 1000.0,
        believed: 0.001..1000.0,
    },
    Kind {
        prefix: "curr",
        part: Part::Voltage,
        unit: Unit::Ampere,
        scale: 1000.0,
        believed: 0.001..1000.0,
    },
    Kind {
        prefix: "power",
        part: Part::Power,
        unit: Unit::Watt,
        scale: 1_000_000.0,
        believed: 0.001..100_000.0,
    },
];

/// All readings of one chip.
pub fn read(chip: &Root) -> Vec<Reading> {
    let chip_name = chip.text("name").unwrap_or_else(|| chip.name());
    // The device's own name tells two chips of one kind apart.
    let device = chip.target("device").map(|device| format!("{chip_name} {device}"));
    let chip_name = device.unwrap_or(chip_name);
    let names = chip.entries("");
    let mut readings = Vec::new();
    for kind in KINDS {
        let channels = names.iter().filter_map(|name| channel(name, kind.prefix, "_input"));
        for channel in channels.take(CHANNELS_MAX) {
            readings.extend(one(chip, &chip_name, kind, &channel));
        }
    }
    let lids = names.iter().filter_map(|name| channel(name, "intrusion", "_alarm"));
    for lid in lids.take(CHANNELS_MAX) {
        readings.extend(intrusion(chip, &chip_name, &lid));
    }
    readings
}

/// `temp1` of `temp1_input`.
fn channel(name: &str, prefix: &str, suffix: &str) -> Option<String> {
    let number = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("{prefix}{number}"))
}

fn one(chip: &Root, chip_name: &str, kind: &Kind, channel: &str) -> Option<Reading> {
    let attribute = |suffix: &str| format!("{channel}_{suffix}");
    let scaled = |suffix: &str| chip.number::<f64>(&attribute(suffix)).map(|value| value / kind.scale);
    if chip.flag(&attribute("enable")) == Some(false) {
        return None;
    }
    let label = chip.text(&attribute("label")).unwrap_or_else(|| channel.to_owned());
    let reading = Reading::new(kind.part, format!("{chip_name} {label}"), "");
    if chip.flag(&attribute("fault")) == Some(true) {
        return Some(reading.worse(State::Failed, "the sensor or what it measures is faulty"));
    }
    // A channel that nothing is connected to often cannot be read: then there is nothing to tell.
    let value = scaled("input").filter(|value| value.is_finite())?;
    let limit = |suffix: &str| scaled(suffix).filter(|limit| kind.believed.contains(limit));
    let (low, high) = (limit("min"), limit("max"));
    let critical = limit("emergency").into_iter().chain(limit("crit")).reduce(f64::min);
    let lowest = limit("lcrit");
    // Limits the wrong way round were never set.
    let ordered = low.zip(high).is_none_or(|(low, high)| low < high);
    let (low, high) = (low.filter(|_| ordered), high.filter(|_| ordered));
    let mut reading = reading.value(value, kind.unit);
    reading.limit = high.or(critical).or(low).or(lowest);
    let has_limit = reading.limit.is_some();

    let alarm = |suffix: &str| chip.flag(&attribute(suffix)) == Some(true);
    let mut judge = |passed: bool, limit: Option<f64>, state: State, sentence: &str| {
        if passed && state > reading.state {
            reading.limit = limit.or(reading.limit);
            reading = reading.clone().worse(state, sentence);
        }
    };
    let critical_alarm = (alarm("crit_alarm") && critical.is_some()) || alarm("emergency_alarm");
    judge(
        critical_alarm || critical.is_some_and(|limit| value >= limit),
        critical,
        State::Failed,
        "at its critical limit",
    );
    judge(
        (alarm("lcrit_alarm") && lowest.is_some()) || lowest.is_some_and(|limit| value <= limit),
        lowest,
        State::Failed,
        "at its lowest critical limit",
    );
    judge(
        kind.part == Part::Fan && value == 0.0 && low.is_some(),
        low,
        State::Failed,
        "it stands still",
    );
    judge(
        high.is_some_and(|limit| value > limit),
        high,
        State::Warning,
        "above its limit",
    );
    judge(
        low.is_some_and(|limit| value < limit),
        low,
        State::Warning,
        "below its limit",
    );
    // An alarm counts where there is a limit that it can be about.
    let any_alarm = alarm("alarm") || alarm("max_alarm") || alarm("min_alarm") || alarm("cap_alarm");
    judge(any_alarm && has_limit, None, State::Warning, "its chip raises an alarm");
    Some(reading)
}

fn intrusion(chip: &Root, chip_name: &str, channel: &str) -> Option<Reading> {
    let open = chip.flag(&format!("{channel}_alarm"))?;
    let reading = Reading::new(Part::Intrusion, format!("{chip_name} {channel}"), "closed");
    Some(if open {
        reading.worse(
            State::Warning,
            "the box was opened; the alarm stays until 0 is written to it",
        )
    } else {
        reading
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{State, read};
    use crate::health::testing::tree;

    fn states(files: &[(&str, &str)]) -> Vec<(String, State)> {
        let folder = tree(files);
        folder_states(&folder.root)
    }

    fn folder_states(root: &super::Root) -> Vec<(String, State)> {
        read(root)
            .iter()
            .map(|reading| (reading.to_string(), reading.state))
            .collect()
    }

    #[test]
    fn a_warm_processor() {
        let folder = tree(&[
            ("name", "coretemp\n"),
            ("temp1_input", "45000\n"),
            ("temp1_label", "Package id 0\n"),
            ("temp1_max", "80000\n"),
            ("temp1_crit", "100000\n"),
            ("temp1_crit_alarm", "0\n"),
        ]);
        let said = |temperature: &str| {
            folder.write("temp1_input", temperature);
            folder_states(&folder.root).pop().unwrap()
        };
        assert_eq!(
            said("45000"),
            ("coretemp Package id 0: 45 °C (limit 80)".into(), State::Well)
        );
        assert_eq!(
            said("80500"),
            (
                "coretemp Package id 0: 80.5 °C (limit 80): above its limit".into(),
                State::Warning
            )
        );
        assert_eq!(
            said("100000"),
            (
                "coretemp Package id 0: 100 °C (limit 100): at its critical limit".into(),
                State::Failed
            )
        );
        folder.write("temp1_crit_alarm", "1");
        assert_eq!(said("45000").1, State::Failed);
        folder.write("temp1_fault", "1");
        assert_eq!(said("45000").1, State::Failed);
        folder.remove("temp1_fault");
        folder.write("temp1_enable", "0");
        assert!(read(&folder.root).is_empty());
    }

    #[test]
    fn limits_that_nobody_set_are_none() {
        // As a board leaves a chip that it did not set up: everything at its end, every alarm on.
        let never = states(&[
            ("name", "nct6779"),
            ("in0_input", "880"),
            ("in0_min", "0"),
            ("in0_max", "0"),
            ("in0_alarm", "1"),
            ("temp7_input", "38000"),
            ("temp7_max", "0"),
            ("temp7_crit", "127000"),
            ("temp7_alarm", "1"),
            ("fan2_input", "0"),
            ("fan2_min", "0"),
            ("fan2_alarm", "1"),
            ("in1_input", "1000"),
            ("in1_min", "2000"),
            ("in1_max", "1000"),
            ("in1_alarm", "1"),
        ]);
        assert_eq!(never.len(), 4);
        assert!(never.iter().all(|(_, state)| *state == State::Well), "{never:?}");
    }

    #[test]
    fn fans_voltages_power_and_the_lid() {
        let said = states(&[
            ("name", "pmbus"),
            ("fan1_input", "0"),
            ("fan1_min", "1200"),
            ("fan2_input", "900"),
            ("fan2_min", "1200"),
            ("fan3_input", "3000"),
            ("fan3_fault", "1"),
            ("in1_input", "10100"),
            ("in1_min", "11400"),
            ("in1_max", "12600"),
            ("curr1_input", "1500"),
            ("power1_input", "350000000"),
            ("power1_max", "300000000"),
            ("power1_max_alarm", "1"),
            ("power2_input", "garbage"),
            ("intrusion0_alarm", "1"),
            ("intrusion1_alarm", "0"),
            ("fan_input", "1"),
            ("fanx_input", "1"),
        ]);
        let expected = [
            ("pmbus fan1: 0 rpm (limit 1200): it stands still", State::Failed),
            ("pmbus fan2: 900 rpm (limit 1200): below its limit", State::Warning),
            ("pmbus fan3: the sensor or what it measures is faulty", State::Failed),
            ("pmbus in1: 10.1 V (limit 11.4): below its limit", State::Warning),
            ("pmbus curr1: 1.5 A", State::Well),
            ("pmbus power1: 350 W (limit 300): above its limit", State::Warning),
            (
                "pmbus intrusion0: the box was opened; the alarm stays until 0 is written to it",
                State::Warning,
            ),
            ("pmbus intrusion1: closed", State::Well),
        ];
        assert_eq!(said, expected.map(|(line, state)| (line.to_owned(), state)));
    }
}
