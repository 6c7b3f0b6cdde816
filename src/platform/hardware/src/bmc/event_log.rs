//! The system event log (31): how full it is.

use super::ask::{self, Bmc, BmcError, STORAGE};
use crate::health::{Part, Reading, State, Unit};

/// Bytes of one entry (32.1).
const ENTRY_BYTES: u16 = 16;

/// "Get SEL Info" (31.2).
pub(super) fn read(bmc: &mut Bmc<'_>, controller: &str) -> Result<Reading, BmcError> {
    let answer = bmc.ask(STORAGE, 0x40, &[])?;
    let [_, low, high, free_low, free_high, _, _, _, _, _, _, _, _, support] = *ask::first::<14>(&answer)?;
    let entries = u16::from_le_bytes([low, high]);
    let free = u16::from_le_bytes([free_low, free_high]);
    let reading = Reading::new(Part::Controller, format!("{controller} event log"), "entries")
        .value(f64::from(entries), Unit::Count);
    let has_overflowed = support & 0x80 != 0;
    if has_overflowed || free < ENTRY_BYTES {
        let sentence = "it is full, so new events are lost: read it and clear it in the controller's own pages";
        return Ok(reading.worse(State::Warning, sentence));
    }
    Ok(reading)
}
