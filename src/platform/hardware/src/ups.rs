//! What an uninterruptible power supply tells by USB: "Usage Tables for HID Power Devices" 1.0 (pages 84h, Power Device, and
//! 85h, Battery System). Pure: whoever may ask the device hands in its reports.

mod descriptor;
#[cfg(test)]
mod tests;

use crate::health::{Part, Reading, State, Unit};
use descriptor::{Field, Layout};
use std::collections::BTreeMap;
use std::io::ErrorKind;

pub use descriptor::ReportKind;

/// The most reports that are asked for.
const REPORTS_MAX: usize = 16;
const INTERNAL_FAILURE: u32 = 0x0084_0062;
const OVERLOAD: u32 = 0x0084_0065;
const OVER_TEMPERATURE: u32 = 0x0084_0067;
const SHUTDOWN_IMMINENT: u32 = 0x0084_0069;
const COMMUNICATION_LOST: u32 = 0x0084_0073;
const REMAINING_CAPACITY_LIMIT: u32 = 0x0085_0029;
const CAPACITY_MODE: u32 = 0x0085_002c;
const BELOW_REMAINING_CAPACITY_LIMIT: u32 = 0x0085_0042;
const REMAINING_TIME_LIMIT_EXPIRED: u32 = 0x0085_0043;
const DISCHARGING: u32 = 0x0085_0045;
const FULLY_DISCHARGED: u32 = 0x0085_0047;
const NEED_REPLACEMENT: u32 = 0x0085_004b;
const REMAINING_CAPACITY: u32 = 0x0085_0066;
const FULL_CHARGE_CAPACITY: u32 = 0x0085_0067;
const RUN_TIME_TO_EMPTY: u32 = 0x0085_0068;
const AC_PRESENT: u32 = 0x0085_00d0;
const BATTERY_PRESENT: u32 = 0x0085_00d1;
/// CapacityMode: hundredths of the full charge.
const PERCENT: i64 = 2;
/// Seconds, in the unit system "SI Linear".
const SECONDS: u32 = 0x1001;

/// Gives the bytes of a report, without its number; the last argument says how many.
pub type AskReport<'a> = &'a mut dyn FnMut(ReportKind, u8, usize) -> std::io::Result<Vec<u8>>;

/// Whether a device with this report descriptor is an uninterruptible power supply.
pub fn is_ups(descriptor: &[u8]) -> bool {
    descriptor::parse(descriptor).is_some_and(|layout| layout.is_ups)
}

/// Asks a supply how it is. A report that it refuses (`BrokenPipe`, USB's stall) is one that it does not have; any other
/// error of `ask` ends it: whoever does not answer once is asked no more.
pub fn ups(name: &str, descriptor: &[u8], ask: AskReport<'_>) -> std::io::Result<Option<Reading>> {
    let Some(layout) = descriptor::parse(descriptor).filter(|layout| layout.is_ups) else {
        return Ok(None);
    };
    let mut told = Told {
        layout: &layout,
        reports: BTreeMap::new(),
        ask,
    };
    told.reading(name).map(Some)
}

struct Told<'l, 'a> {
    layout: &'l Layout,
    reports: BTreeMap<(ReportKind, u8), Vec<u8>>,
    ask: AskReport<'a>,
}

impl<'l> Told<'l, '_> {
    /// A value, and where it comes from; `None`: the device does not have it.
    fn value(&mut self, usage: u32) -> std::io::Result<Option<(i64, &'l Field)>> {
        let Some(field) = self.layout.find(usage) else {
            return Ok(None);
        };
        let key = (field.kind, field.report);
        if !self.reports.contains_key(&key) {
            if self.reports.len() == REPORTS_MAX {
                return Ok(None);
            }
            let asked = (self.ask)(key.0, key.1, self.layout.report_bytes(key.0, key.1));
            let bytes = match asked {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Vec::new(),
                asked => asked?,
            };
            self.reports.insert(key, bytes);
        }
        let report = self.reports.get(&key).map(Vec::as_slice).unwrap_or_default();
        Ok(field.value(report).map(|value| (value, field)))
    }

    fn number(&mut self, usage: u32) -> std::io::Result<Option<f64>> {
        Ok(self.value(usage)?.map(|(value, _)| value as f64))
    }

    fn flag(&mut self, usage: u32) -> std::io::Result<Option<bool>> {
        Ok(self.value(usage)?.map(|(value, _)| value != 0))
    }

    fn is_on(&mut self, usage: u32) -> std::io::Result<bool> {
        Ok(self.flag(usage)?.unwrap_or(false))
    }

    /// The charge in hundredths, and where the supply itself calls it too little.
    fn charge(&mut self) -> std::io::Result<(Option<f64>, Option<f64>)> {
        let Some((value, field)) = self.value(REMAINING_CAPACITY)? else {
            return Ok((None, None));
        };
        let mode = self.value(CAPACITY_MODE)?.map(|(mode, _)| mode);
        let limit = self.number(REMAINING_CAPACITY_LIMIT)?;
        if mode == Some(PERCENT) || (mode.is_none() && field.logical.1 == 100) {
            return Ok((Some(value as f64), limit));
        }
        // Charges of a unit of the supply's own.
        let full = self.number(FULL_CHARGE_CAPACITY)?.filter(|full| *full > 0.0);
        let part = |value: f64| full.map(|full| (100.0 * value / full).round());
        Ok((part(value as f64), limit.and_then(part)))
    }

    /// Whole minutes that it lasts; `None`: it does not say, or in another unit.
    fn minutes(&mut self) -> std::io::Result<Option<u64>> {
        let Some((value, field)) = self.value(RUN_TIME_TO_EMPTY)? else {
            return Ok(None);
        };
        // Without a unit the tables mean seconds.
        let seconds = match field.unit {
            SECONDS => value as f64 * 10f64.powi(field.exponent.into()),
            0 => value as f64,
            _ => return Ok(None),
        };
        Ok((seconds >= 0.0).then_some((seconds / 60.0) as u64))
    }

    fn reading(&mut self, name: &str) -> std::io::Result<Reading> {
        let mut reading = Reading::new(Part::Power, format!("UPS {name}"), "");
        let (charge, limit) = self.charge()?;
        if let Some(charge) = charge {
            reading = reading.value(charge, Unit::Percent);
            reading.limit = limit.filter(|limit| *limit > 0.0);
        }
        let lasts = match self.minutes()? {
            Some(1) => ", for 1 minute by its own count".to_owned(),
            Some(minutes) => format!(", for {minutes} minutes by its own count"),
            None => String::new(),
        };
        let (power, discharging) = (self.flag(AC_PRESENT)?, self.flag(DISCHARGING)?);
        let on_battery = power == Some(false) || discharging == Some(true);
        let is_below = charge.zip(reading.limit).is_some_and(|(charge, limit)| charge <= limit);
        let is_empty = self.is_on(FULLY_DISCHARGED)?
            || self.is_on(BELOW_REMAINING_CAPACITY_LIMIT)?
            || self.is_on(REMAINING_TIME_LIMIT_EXPIRED)?
            || is_below;
        if self.is_on(SHUTDOWN_IMMINENT)? || (is_empty && on_battery) {
            let sentence = format!("its battery is nearly empty{lasts}: shut down, or bring the power back");
            return Ok(reading.worse(State::Failed, sentence));
        }
        if self.is_on(INTERNAL_FAILURE)? {
            reading = reading.worse(State::Failed, "it has failed inside");
        }
        for (is_so, sentence) in [
            (on_battery, format!("the machine runs on its battery{lasts}")),
            (is_empty, "its battery is nearly empty, the power is there".to_owned()),
            (
                self.is_on(NEED_REPLACEMENT)?,
                "its battery has to be replaced".to_owned(),
            ),
            (
                self.flag(BATTERY_PRESENT)? == Some(false),
                "it has no battery".to_owned(),
            ),
            (self.is_on(OVERLOAD)?, "more hangs on it than it carries".to_owned()),
            (self.is_on(OVER_TEMPERATURE)?, "it is too hot".to_owned()),
            (
                self.is_on(COMMUNICATION_LOST)?,
                "it has lost a part of itself".to_owned(),
            ),
        ] {
            if is_so {
                reading = reading.worse(State::Warning, sentence);
            }
        }
        if power.is_none() && discharging.is_none() {
            return Ok(reading.worse(State::Warning, "it does not tell whether the power is there"));
        }
        if reading.state == State::Well {
            reading.sentence = format!("the power is there{lasts}");
        }
        Ok(reading)
    }
}
