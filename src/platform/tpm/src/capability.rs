//! What a TPM says about itself: maker, firmware, clock, lockout.

use crate::bytes::Reader;
use crate::error::TpmError;
use crate::tpm::Tpm;
use crate::wire::{self, Property};

/// The make of a TPM (TPM_CAP_TPM_PROPERTIES, Part 2, 6.13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The specification's family, "2.0".
    pub family: String,
    /// The specification's revision times 100 (159 is 1.59).
    pub revision: u32,
    /// The specification's year.
    pub year: u32,
    /// The maker's four letters from TCG's registry ("INTC", "IFX", "NTC", "IBM").
    pub manufacturer: String,
    /// The maker's own text, usually the model.
    pub vendor: String,
    /// The firmware's version, upper and lower half.
    pub firmware: u64,
}

/// The dictionary-attack protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutState {
    /// Wrong values so far.
    pub failures: u32,
    /// At how many it locks.
    pub failures_max: u32,
    /// After how many seconds one failure is forgotten.
    pub forgets_after_s: u32,
}

/// The TPM's clock (ReadClock, Part 3, 29.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds since the last start.
    pub time_ms: u64,
    /// Milliseconds with power over the TPM's life; goes back only when it is cleared.
    pub clock_ms: u64,
    /// How often the machine was reset since the TPM was cleared.
    pub resets: u32,
    /// How often it was suspended since the last reset.
    pub restarts: u32,
    /// Whether `clock_ms` certainly never showed a larger value.
    pub safe: bool,
}

impl Tpm {
    /// Maker, firmware and version.
    pub fn identity(&mut self) -> Result<Identity, TpmError> {
        let mut vendor = String::new();
        for property in [
            Property::Vendor1,
            Property::Vendor2,
            Property::Vendor3,
            Property::Vendor4,
        ] {
            vendor.push_str(&letters(self.property(property)?.unwrap_or(0)));
        }
        let upper = u64::from(self.property(Property::Firmware1)?.unwrap_or(0));
        let lower = u64::from(self.property(Property::Firmware2)?.unwrap_or(0));
        Ok(Identity {
            family: letters(self.property(Property::Family)?.unwrap_or(0)),
            revision: self.property(Property::Revision)?.unwrap_or(0),
            year: self.property(Property::Year)?.unwrap_or(0),
            manufacturer: letters(self.property(Property::Manufacturer)?.unwrap_or(0)),
            vendor: vendor.trim().to_owned(),
            firmware: upper << 32 | lower,
        })
    }

    /// How near the lockout is.
    pub fn lockout(&mut self) -> Result<LockoutState, TpmError> {
        Ok(LockoutState {
            failures: self.property(Property::LockoutCounter)?.unwrap_or(0),
            failures_max: self.property(Property::MaxAuthFail)?.unwrap_or(0),
            forgets_after_s: self.property(Property::LockoutInterval)?.unwrap_or(0),
        })
    }

    /// The clock and the reset counters.
    pub fn clock(&mut self) -> Result<Clock, TpmError> {
        let answer = self.run(&wire::read_clock()?, &mut [])?;
        let malformed = TpmError::malformed("ReadClock");
        let mut reader = Reader(&answer.parameters);
        let clock = Clock {
            time_ms: reader.u64().map_err(&malformed)?,
            clock_ms: reader.u64().map_err(&malformed)?,
            resets: reader.u32().map_err(&malformed)?,
            restarts: reader.u32().map_err(&malformed)?,
            safe: reader.u8().map_err(&malformed)? == 1,
        };
        reader.end().map_err(&malformed)?;
        Ok(clock)
    }

    pub(crate) fn property(&mut self, property: Property) -> Result<Option<u32>, TpmError> {
        let answer = self.run(&wire::get_capability(property)?, &mut [])?;
        wire::parse_property(&answer.parameters, property)
    }
}

/// Four letters in a number; what is no printable ASCII is left out.
fn letters(number: u32) -> String {
    number
        .to_be_bytes()
        .iter()
        .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .map(|byte| char::from(*byte))
        .collect()
}
