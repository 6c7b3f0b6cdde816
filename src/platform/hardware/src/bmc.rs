//! What a management controller (BMC) tells: its sensors, its event log, and who reaches it over a network.
//!
//! Pure: whoever has the way to it hands in how to ask. Nothing is changed but the reservation of its list of sensors.
//! Source of all numbers: IPMI Specification, second generation, version 2.0, revision 1.1.

mod ask;
mod event_log;
mod lan;
mod record;
mod sensor;

pub use ask::{Ask, BmcError};

use crate::health::{Part, Reading, State};
use ask::Bmc;
use event_log::EventLog;
pub(crate) use lan::is_lan_channel;
use record::Sensor;

/// Asks one controller again and again. Its list of sensors is read once, and again when it says that it changed: each
/// record takes several slow commands.
#[derive(Debug, Default)]
pub struct BmcSurveyor {
    name: String,
    known: Option<(Version, Vec<Sensor>)>,
    events: EventLog,
}

/// When the list of sensors was changed last, by the controller's clock: additions, and erasures.
type Version = [u8; 8];

impl BmcSurveyor {
    /// Of the controller with this name (`ipmi0`).
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            known: None,
            events: EventLog::default(),
        }
    }

    /// Reads everything.
    pub fn survey<'a>(&mut self, ask: &'a mut Ask<'a>) -> Vec<Reading> {
        let mut bmc = Bmc::new(ask);
        let controller = match identify(&mut bmc) {
            Ok(sentence) => Reading::new(Part::Controller, &self.name, sentence),
            Err(error) => return vec![self.trouble("", &error)],
        };
        let mut readings = vec![controller];
        readings.extend(lan::read(&mut bmc, &self.name).unwrap_or_else(|error| vec![self.trouble("LAN", &error)]));
        let sensors = self.sensors(&mut bmc);
        let known = sensors.as_deref().unwrap_or_default();
        let events = self.events.read(&mut bmc, &self.name, known);
        readings.push(events.unwrap_or_else(|error| self.trouble("event log", &error)));
        match sensors {
            Ok(sensors) => readings.extend(sensor::read(&mut bmc, &self.name, &sensors)),
            Err(error) => readings.push(self.trouble("sensors", &error)),
        }
        readings
    }

    fn sensors(&mut self, bmc: &mut Bmc<'_>) -> Result<Vec<Sensor>, BmcError> {
        let version = record::version(bmc)?;
        if let Some((known, sensors)) = &self.known
            && *known == version
        {
            return Ok(sensors.clone());
        }
        let sensors = record::list(bmc)?;
        self.known = Some((version, sensors.clone()));
        Ok(sensors)
    }

    fn trouble(&self, what: &str, error: &BmcError) -> Reading {
        let name = format!("{} {what}", self.name);
        Reading::new(Part::Controller, name.trim_end(), "")
            .worse(State::Warning, format!("it could not be read: {error}"))
    }
}

/// "Get Device ID" (20.1).
fn identify(bmc: &mut Bmc<'_>) -> Result<String, BmcError> {
    let answer = bmc.ask(ask::APPLICATION, 0x01, &[])?;
    let [_, _, major, minor, ipmi, _, maker @ .., product_low, product_high] = *ask::first::<11>(&answer)?;
    let maker = u32::from_le_bytes([maker[0], maker[1], maker[2] & 0x0f, 0]);
    Ok(format!(
        "a management controller, IPMI {}.{}, firmware {}.{minor:02x}, maker {maker}, product {}",
        ipmi & 0x0f,
        ipmi >> 4,
        major & 0x7f,
        u16::from_le_bytes([product_low, product_high]),
    ))
}

#[cfg(test)]
mod tests;
