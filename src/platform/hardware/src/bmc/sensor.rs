//! What a sensor tells now, and what of it is bad.

use super::ask::{self, Bmc, BmcError, SENSOR};
use super::record::{Conversion, Sensor};
use crate::health::{Part, Reading, State, Unit};

/// Table 42-1: the states are thresholds that were passed.
const BY_THRESHOLD: u8 = 0x01;
/// Table 42-1: the states mean what the kind of the sensor says.
const BY_KIND: u8 = 0x6f;
/// Table 42-2: the states are about redundancy.
const REDUNDANCY: u8 = 0x0b;

/// Asks each of them. One that cannot be read is left out: boards list sensors of parts that are not there.
pub(super) fn read(bmc: &mut Bmc<'_>, controller: &str, sensors: &[Sensor]) -> Vec<Reading> {
    let mut readings = Vec::new();
    for sensor in sensors {
        match ask(bmc, sensor.number) {
            Ok(Some(answer)) => readings.extend(reading(controller, sensor, answer)),
            Ok(None) | Err(BmcError::Refused(_)) => {}
            // The controller is gone in the middle: the rest would take as long as each time limit again.
            Err(error) => {
                let sentence = format!("they could not be read: {error}");
                let trouble = Reading::new(Part::Controller, format!("{controller} sensors"), "");
                readings.push(trouble.worse(State::Warning, sentence));
                break;
            }
        }
    }
    readings
}

/// A raw value and the states: one bit each.
#[derive(Debug, Clone, Copy)]
struct Answer {
    raw: u8,
    states: u16,
}

/// "Get Sensor Reading" (35.14); `None` when there is no reading, or nobody scans.
fn ask(bmc: &mut Bmc<'_>, number: u8) -> Result<Option<Answer>, BmcError> {
    let answer = bmc.ask(SENSOR, 0x2d, &[number])?;
    let [raw, flags] = *ask::first::<2>(&answer)?;
    let is_scanned = flags & 0x40 != 0;
    let is_unavailable = flags & 0x20 != 0;
    let state = |place: usize| answer.get(place).copied().unwrap_or_default();
    Ok((is_scanned && !is_unavailable).then(|| Answer {
        raw,
        states: u16::from_le_bytes([state(2), state(3) & 0x7f]),
    }))
}

fn reading(controller: &str, sensor: &Sensor, answer: Answer) -> Option<Reading> {
    let part = part(sensor.kind)?;
    let name = match sensor.name.as_str() {
        "" => format!("{controller} sensor {}", sensor.number),
        name => format!("{controller} {name}"),
    };
    let mut reading = Reading::new(part, name, "");
    let has_state = |bit: u8| answer.states & 1 << bit != 0;
    match sensor.event_type {
        BY_THRESHOLD => {
            let number = |raw: u8| {
                sensor
                    .conversion
                    .as_ref()
                    .and_then(|conversion| measured(conversion, raw))
            };
            if let Some((value, unit)) = number(answer.raw) {
                reading = reading.value(value, unit);
            }
            let limits = sensor.thresholds;
            let is_low = answer.states & 0b111 != 0;
            let limit = match (is_low, answer.states & 0b11_0110 != 0) {
                (true, true) => limits.lower_critical,
                (true, false) => limits.lower_warning,
                (false, true) => limits.upper_critical,
                (false, false) => limits.upper_warning.or(limits.upper_critical),
            };
            reading.limit = limit.and_then(number).map(|(limit, _)| limit);
            // Table 35-16: lower non-critical, critical, non-recoverable; upper the same.
            let side = if is_low { "below" } else { "above" };
            if has_state(0) || has_state(3) {
                reading = reading.worse(State::Warning, format!("{side} its limit"));
            }
            if answer.states & 0b11_0110 != 0 {
                reading = reading.worse(State::Failed, format!("{side} its critical limit"));
            }
            Some(reading)
        }
        BY_KIND | REDUNDANCY => {
            for (kind, bit, state, sentence) in MEANINGS {
                let is_meant = match sensor.event_type {
                    BY_KIND => *kind == sensor.kind,
                    _ => *kind == ANY_REDUNDANCY,
                };
                if is_meant && has_state(*bit) {
                    reading = reading.worse(*state, *sentence);
                }
            }
            Some(reading)
        }
        // What its states mean is the maker's secret, or says nothing of health.
        _ => None,
    }
}

/// What an event of the log says, if that is bad: by its type (table 42-1), the sensor's kind and the state.
pub(super) fn meaning(event_type: u8, kind: u8, bit: u8) -> Option<(State, &'static str)> {
    match event_type {
        // Table 42-2: lower limits going low, upper ones going high.
        BY_THRESHOLD => Some(match bit {
            0 => (State::Warning, "below its limit"),
            2 | 4 => (State::Failed, "below its critical limit"),
            7 => (State::Warning, "above its limit"),
            9 | 11 => (State::Failed, "above its critical limit"),
            _ => return None,
        }),
        BY_KIND | REDUNDANCY => {
            let wanted = if event_type == BY_KIND { kind } else { ANY_REDUNDANCY };
            let mut found = MEANINGS.iter().filter(|(kind, at, ..)| *kind == wanted && *at == bit);
            found.next().map(|(_, _, state, sentence)| (*state, *sentence))
        }
        _ => None,
    }
}

/// Stands for the states of table 42-2, event type 0Bh, in [`MEANINGS`].
const ANY_REDUNDANCY: u8 = 0xff;

/// Table 42-3 (sensor type, offset) and table 42-2 (redundancy): the states that are not well.
const MEANINGS: &[(u8, u8, State, &str)] = &[
    (0x05, 0, State::Warning, "the chassis was opened"),
    (0x05, 1, State::Warning, "a drive bay was opened"),
    (0x05, 2, State::Warning, "the area of the cards was opened"),
    (0x05, 3, State::Warning, "the area of the processors was opened"),
    (0x05, 4, State::Warning, "the network cable was pulled"),
    (0x05, 6, State::Warning, "the area of the fans was opened"),
    (0x07, 0, State::Failed, "the processor reports an internal error"),
    (0x07, 1, State::Failed, "the processor was too hot and stopped"),
    (
        0x07,
        5,
        State::Failed,
        "the processor does not fit the board's configuration",
    ),
    (0x07, 10, State::Warning, "the processor is slowed down"),
    (0x08, 1, State::Failed, "the power supply has failed"),
    (0x08, 2, State::Warning, "the power supply is about to fail"),
    (0x08, 3, State::Failed, "the power supply gets no power"),
    (0x08, 4, State::Failed, "the power supply gets no power, or not enough"),
    (0x08, 5, State::Warning, "the power supply's input is out of range"),
    (0x08, 6, State::Warning, "the power supply does not fit the others"),
    (0x0c, 0, State::Warning, "a memory error was corrected"),
    (0x0c, 1, State::Failed, "a memory error could not be corrected"),
    (0x0c, 2, State::Failed, "a memory parity error"),
    (
        0x0c,
        5,
        State::Failed,
        "so many memory errors were corrected that they are not counted any more",
    ),
    (
        0x0c,
        7,
        State::Failed,
        "the memory does not fit the board's configuration",
    ),
    (0x0d, 1, State::Failed, "the drive has failed"),
    (0x0d, 2, State::Warning, "the drive is about to fail"),
    (0x0d, 5, State::Warning, "the drive's array is critical"),
    (0x0d, 6, State::Failed, "the drive's array has failed"),
    (0x29, 0, State::Warning, "the battery is low"),
    (0x29, 1, State::Failed, "the battery has failed"),
    (ANY_REDUNDANCY, 1, State::Warning, "redundancy is lost"),
    (ANY_REDUNDANCY, 2, State::Warning, "redundancy is degraded"),
    (ANY_REDUNDANCY, 5, State::Failed, "there are fewer than it takes"),
];

/// Table 42-3. Kinds that say nothing of health are left out.
fn part(kind: u8) -> Option<Part> {
    Some(match kind {
        0x01 => Part::Temperature,
        0x02 | 0x03 => Part::Voltage,
        0x04 | 0x0a => Part::Fan,
        0x05 => Part::Intrusion,
        0x08 | 0x09 | 0x0b | 0x29 => Part::Power,
        0x0c => Part::Memory,
        0x0d => Part::Disk,
        0x07 | 0x28 => Part::Controller,
        _ => return None,
    })
}

/// Table 43-15, as far as people know these units.
fn measured(conversion: &Conversion, raw: u8) -> Option<(f64, Unit)> {
    let value = conversion.apply(raw)?;
    if conversion.is_percentage {
        return Some((value, Unit::Percent));
    }
    Some(match conversion.unit {
        1 => (value, Unit::Celsius),
        2 => ((value - 32.0) / 1.8, Unit::Celsius),
        3 => (value - 273.15, Unit::Celsius),
        4 => (value, Unit::Volt),
        5 => (value, Unit::Ampere),
        6 => (value, Unit::Watt),
        18 => (value, Unit::Rpm),
        _ => return None,
    })
}
