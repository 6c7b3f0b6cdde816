//! The system event log (31): how full it is, and the last entry that tells of something bad.

use super::ask::{self, Bmc, BmcError, STORAGE};
use super::record::Sensor;
use super::sensor;
use crate::health::{Part, Reading, State, Unit};

/// Bytes of one entry (32.1).
const ENTRY_BYTES: u16 = 16;
/// Entries that are read at one look, each by a slow command; the next look goes on behind them.
const ENTRIES_MAX: usize = 500;
/// The first entry, and behind the last one (31.5).
const FIRST: u16 = 0;
const END: u16 = 0xffff;
/// "System event record" (32.1).
const EVENT: u8 = 0x02;
/// Up to here, times count from the controller's own start (37).
const SINCE_START_MAX: u32 = 0x2000_0000;
/// So many seconds an event is news.
const NEWS: u32 = 86_400;

/// The log as far as it was read.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    /// When it was added to and erased last, as far as it was read whole.
    version: Option<[u8; 8]>,
    /// The last entry that was read.
    last: Option<u16>,
    bad: Option<Bad>,
}

/// An event that is not well.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bad {
    /// By the controller's clock, in seconds since 1970, if it had one.
    time: Option<u32>,
    sensor: u8,
    sentence: &'static str,
}

impl EventLog {
    /// Reads what is new. `sensors` give the events' sources their names.
    pub(super) fn read(
        &mut self,
        bmc: &mut Bmc<'_>,
        controller: &str,
        sensors: &[Sensor],
    ) -> Result<Reading, BmcError> {
        // "Get SEL Info" (31.2).
        let answer = bmc.ask(STORAGE, 0x40, &[])?;
        let [_, low, high, free_low, free_high, version @ .., support] = *ask::first::<14>(&answer)?;
        let entries = u16::from_le_bytes([low, high]);
        let free = u16::from_le_bytes([free_low, free_high]);
        if entries > 0 && self.version != Some(version) {
            self.go_on(bmc, version)?;
        } else if entries == 0 {
            *self = Self::default();
        }
        let mut reading = Reading::new(Part::Controller, format!("{controller} event log"), "entries")
            .value(f64::from(entries), Unit::Count);
        let has_overflowed = support & 0x80 != 0;
        if has_overflowed || free < ENTRY_BYTES {
            let sentence = "it is full, so new events are lost: read it and clear it in the controller's own pages";
            return Ok(reading.worse(State::Warning, sentence));
        }
        if let Some(bad) = &self.bad {
            let age = bad.time.zip(now(bmc)?).map(|(then, now)| now.saturating_sub(then));
            let told = format!("the last bad one, {}: {}", ago(age), bad.describe(sensors));
            if age.is_some_and(|age| age < NEWS) {
                return Ok(reading.worse(State::Warning, told));
            }
            reading.sentence = format!("entries; {told}");
        }
        Ok(reading)
    }

    /// Reads entries behind the last one that was read, or all of them where that is gone.
    fn go_on(&mut self, bmc: &mut Bmc<'_>, version: [u8; 8]) -> Result<(), BmcError> {
        let mut id = self.last.unwrap_or(FIRST);
        for _ in 0..ENTRIES_MAX {
            // "Get SEL Entry" (31.5): whole entries need no reservation.
            let [low, high] = id.to_le_bytes();
            let answer = match bmc.ask(STORAGE, 0x43, &[0, 0, low, high, 0, 0xff]) {
                Ok(answer) => answer,
                // It was erased meanwhile: the next look begins anew.
                Err(BmcError::Refused(_)) => {
                    *self = Self::default();
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let [next_low, next_high, entry @ ..] = *ask::first::<18>(&answer)?;
            if let Some(bad) = Bad::of(&entry) {
                self.bad = Some(bad);
            }
            self.last = Some(u16::from_le_bytes([entry[0], entry[1]]));
            id = u16::from_le_bytes([next_low, next_high]);
            if id == END {
                self.version = Some(version);
                break;
            }
        }
        Ok(())
    }
}

impl Bad {
    /// What an entry (32.1) tells, if that is bad. What goes again is not.
    fn of(entry: &[u8; 16]) -> Option<Self> {
        let [_, _, record, time @ .., _, _, _, kind, sensor, event, data, _, _] = *entry;
        let is_over = event & 0x80 != 0;
        if record != EVENT || is_over {
            return None;
        }
        let (_, sentence) = sensor::meaning(event & 0x7f, kind, data & 0x0f)?;
        let time = u32::from_le_bytes(time);
        Some(Self {
            time: (time > SINCE_START_MAX && time != u32::MAX).then_some(time),
            sensor,
            sentence,
        })
    }

    fn describe(&self, sensors: &[Sensor]) -> String {
        let known = sensors.iter().find(|sensor| sensor.number == self.sensor);
        match known.map(|sensor| sensor.name.as_str()).filter(|name| !name.is_empty()) {
            Some(name) => format!("{name}: {}", self.sentence),
            None => format!("sensor {}: {}", self.sensor, self.sentence),
        }
    }
}

/// "Get SEL Time" (31.10): the clock by which entries are written. Some controllers have none.
fn now(bmc: &mut Bmc<'_>) -> Result<Option<u32>, BmcError> {
    match bmc.ask(STORAGE, 0x48, &[]) {
        Ok(answer) => Ok(Some(u32::from_le_bytes(*ask::first::<4>(&answer)?)).filter(|now| *now > SINCE_START_MAX)),
        Err(BmcError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Seconds, for people: what is news stays the same sentence for as long as it is.
fn ago(age: Option<u32>) -> String {
    match age {
        None => "at a time that the controller did not know".to_owned(),
        Some(age) if age < NEWS => "within a day".to_owned(),
        Some(age) if age < 2 * NEWS => "a day ago".to_owned(),
        Some(age) => format!("{} days ago", age / NEWS),
    }
}
