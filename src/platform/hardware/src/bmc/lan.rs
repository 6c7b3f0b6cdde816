//! Who reaches the controller over a network: an auditor wants to know, because it has the server's console and power.

use super::ask::{APPLICATION, Bmc, BmcError, TRANSPORT};
use crate::health::{Part, Reading, State};
use std::net::Ipv4Addr;

/// Channels that can be LANs (6.3).
const CHANNELS: std::ops::RangeInclusive<u8> = 0x01..=0x0b;
/// Table 6-3: 802.3 LAN.
const LAN: u8 = 0x04;
/// "Get Channel Access" (22.23): the setting that is in force, not the one for the next start.
const PRESENT: u8 = 0x80;
/// Between the controller and the channel in a reading's name.
const NAME: &str = " LAN ";

/// A reading for each LAN channel: a warning where it is on and has an address.
pub(super) fn read(bmc: &mut Bmc<'_>, controller: &str) -> Result<Vec<Reading>, BmcError> {
    let mut readings = Vec::new();
    for channel in CHANNELS {
        // "Get Channel Info" (22.24). A channel that is not there is refused.
        let info = match bmc.ask(APPLICATION, 0x42, &[channel]) {
            Err(BmcError::Refused(_)) => continue,
            info => info?,
        };
        if info.get(1).is_some_and(|medium| medium & 0x7f == LAN) {
            readings.push(examine(bmc, controller, channel)?);
        }
    }
    Ok(readings)
}

/// Whether a reading of a controller is one of its LAN channels.
pub(crate) fn is_lan_channel(reading: &Reading) -> bool {
    reading.part == Part::Controller && reading.name.contains(NAME)
}

fn examine(bmc: &mut Bmc<'_>, controller: &str, channel: u8) -> Result<Reading, BmcError> {
    let reading = Reading::new(Part::Controller, format!("{controller}{NAME}{channel}"), "it is off");
    // A controller that does not tell is believed to be reachable.
    let access = match bmc.ask(APPLICATION, 0x41, &[channel, PRESENT]) {
        Err(BmcError::Refused(_)) => None,
        answer => answer?.first().map(|mode| mode & 0x07),
    };
    if access == Some(0) {
        return Ok(reading);
    }
    // Table 23-4, parameter 3: the address.
    let address = parameter(bmc, channel, 3)?.and_then(|bytes| bytes.first_chunk::<4>().copied().map(Ipv4Addr::from));
    let reachable = match address {
        None => "it is on".to_owned(),
        Some(Ipv4Addr::UNSPECIFIED) => "it is on and waits for an address".to_owned(),
        Some(address) => format!("it is on at {address}"),
    };
    let sentence = format!(
        "{reachable}: whoever reaches it has this server's console and power; switch it off, or give it a network of its own"
    );
    let reading = reading.worse(State::Warning, sentence);
    if admits_everybody(bmc, channel)? {
        let sentence = format!(
            "{reachable} and takes cipher suite 0: anybody who reaches it commands this server without a password"
        );
        return Ok(reading.worse(State::Failed, sentence));
    }
    Ok(reading)
}

/// Whether cipher suite 0, which asks for no password, is there and gives any privilege: table 23-4, parameters 23, 24.
fn admits_everybody(bmc: &mut Bmc<'_>, channel: u8) -> Result<bool, BmcError> {
    let (Some(suites), Some(privileges)) = (parameter(bmc, channel, 23)?, parameter(bmc, channel, 24)?) else {
        return Ok(false);
    };
    // The number of suites that are in use: parameter 22.
    let count = parameter(bmc, channel, 22)?.and_then(|bytes| bytes.first().map(|count| usize::from(count & 0x1f)));
    // Both begin with a reserved byte. Each suite's highest privilege has four bits, the first one's are the low ones.
    let suites = suites.iter().skip(1).take(count.unwrap_or(0));
    let privileges = privileges.iter().skip(1).flat_map(|pair| [pair & 0x0f, pair >> 4]);
    Ok(suites
        .zip(privileges)
        .any(|(suite, privilege)| *suite == 0 && privilege != 0))
}

/// "Get LAN Configuration Parameters" (23.2), without its revision; `None` when it has no such parameter.
fn parameter(bmc: &mut Bmc<'_>, channel: u8, selector: u8) -> Result<Option<Vec<u8>>, BmcError> {
    match bmc.ask(TRANSPORT, 0x02, &[channel, selector, 0, 0]) {
        Err(BmcError::Refused(_)) => Ok(None),
        answer => Ok(answer?.get(1..).map(<[u8]>::to_vec)),
    }
}
