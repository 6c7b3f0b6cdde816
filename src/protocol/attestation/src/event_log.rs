//! The firmware's event log in the crypto-agile format, and its replay (TCG PC Client Platform Firmware Profile 1.06,
//! section 10, below "PFP").
//!
//! The log is a story that nobody signed. What it says counts only as far as the digests in it, extended one after
//! another, give the values that the TPM signed; and a digest says nothing of its event's type. `appraisal` reads it.

use crate::evidence::PcrValue;
use crate::limits::{EVENT_LOG_BYTES_MAX, EVENTS_MAX, LOG_ALGORITHMS_MAX, PCRS_MAX};
use crate::quote::{ALG_SHA1, ALG_SHA256};
use crate::sha256::Sha256;
use crate::wire::Bytes;

/// EV_NO_ACTION: the only type that is not extended.
pub(crate) const EV_NO_ACTION: u32 = 3;
const SPEC_ID: &[u8] = b"Spec ID Event03\0";
const STARTUP_LOCALITY: &[u8] = b"StartupLocality\0";
/// PCRs of a PC Client TPM.
const PCR_MAX: u32 = 23;

/// Why a log is not one, or not that of the quoted PCRs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It ends within an event.
    #[error("the event log ends within event {event}")]
    Truncated {
        /// Counted from 0.
        event: usize,
    },
    /// It does not begin with the header of the crypto-agile format.
    #[error("the event log has no header of the crypto-agile format")]
    Header,
    /// It has no SHA-256 digests, only those of other banks.
    #[error("the event log has no digests of the SHA-256 bank")]
    Bank,
    /// Too large, or too many events.
    #[error("the event log is larger than any honest one")]
    Oversized,
    /// An event of a PCR that does not exist.
    #[error("event {event} is for PCR {pcr}, which does not exist")]
    Pcr {
        /// Counted from 0.
        event: usize,
        /// What it says.
        pcr: u32,
    },
    /// An event whose digests are not those that the header announces.
    #[error("event {event} has other digests than the log's header announces")]
    Digests {
        /// Counted from 0.
        event: usize,
    },
    /// EV_NO_ACTION is not extended and has a digest of zeros; this one has another.
    #[error("event {event} says that it was not measured, yet has a digest")]
    NoAction {
        /// Counted from 0.
        event: usize,
    },
    /// A startup locality that is not 0, 3 or 4, is there twice, or comes after PCR 0 was extended.
    #[error("event {event} is a startup locality where none can be")]
    StartupLocality {
        /// Counted from 0.
        event: usize,
    },
    /// The log's digests do not give the value that was quoted.
    #[error(
        "the event log does not lead to the quoted value of PCR {pcr}: events were removed, added, changed or reordered"
    )]
    Replay {
        /// The first such PCR.
        pcr: u8,
        /// What the log gives.
        replayed: Sha256,
        /// What was quoted.
        quoted: Sha256,
    },
}

impl LogError {
    /// The name of this reason, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "log-truncated",
            Self::Header => "log-header",
            Self::Bank => "log-bank",
            Self::Oversized => "log-oversized",
            Self::Pcr { .. } => "log-pcr",
            Self::Digests { .. } => "log-digests",
            Self::NoAction { .. } => "log-no-action-measured",
            Self::StartupLocality { .. } => "log-startup-locality",
            Self::Replay { .. } => "log-replay",
        }
    }
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its place in the log, 0 being the header.
    pub number: usize,
    /// Its PCR, 0 to 23.
    pub pcr: u8,
    /// What it says to be. Nothing vouches for it.
    pub declared: u32,
    /// What was extended into the SHA-256 bank.
    pub digest: Sha256,
    /// Its data. What of it was hashed depends on the type.
    pub data: &'a [u8],
}

/// A log, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    /// The measured events in order.
    pub events: Vec<Event<'a>>,
    /// How many events were not measured (EV_NO_ACTION), without the header.
    pub unmeasured: usize,
    locality: u8,
    pub(crate) absent: bool,
}

impl<'a> EventLog<'a> {
    /// Where a bundle has none.
    pub(crate) fn absent() -> Self {
        Self {
            events: Vec::new(),
            unmeasured: 0,
            locality: 0,
            absent: true,
        }
    }

    /// Reads a log.
    ///
    /// # Errors
    /// See [`LogError`]; never `Replay`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LogError> {
        if bytes.len() > EVENT_LOG_BYTES_MAX {
            return Err(LogError::Oversized);
        }
        let mut rest = Bytes(bytes);
        let algorithms = read_header(&mut rest).ok_or(LogError::Header)?;
        if !algorithms.contains(&(ALG_SHA256, 32)) {
            return Err(LogError::Bank);
        }
        let mut log = Self {
            events: Vec::new(),
            unmeasured: 0,
            locality: 0,
            absent: false,
        };
        let mut locality_seen = false;
        let mut number = 1;
        while !rest.is_empty() {
            if number > EVENTS_MAX {
                return Err(LogError::Oversized);
            }
            let event = read_event(&mut rest, &algorithms, number)?;
            if event.declared != EV_NO_ACTION {
                log.events.push(event);
            } else {
                log.unmeasured += 1;
                // PFP 10.2.3: digests of events that are not extended are zeros.
                if event.digest != Sha256::ZERO {
                    return Err(LogError::NoAction { event: number });
                }
                if let Some(locality) = event.data.strip_prefix(STARTUP_LOCALITY) {
                    let extended = log.events.iter().any(|event| event.pcr == 0);
                    let &[locality @ (0 | 3 | 4)] = locality else {
                        return Err(LogError::StartupLocality { event: number });
                    };
                    if locality_seen || extended || event.pcr != 0 {
                        return Err(LogError::StartupLocality { event: number });
                    }
                    locality_seen = true;
                    log.locality = locality;
                }
            }
            number += 1;
        }
        Ok(log)
    }

    /// The value that the log leads to. PCR 0 starts with the locality that started the TPM (PFP 10.4.5.3), all others
    /// with zeros.
    pub fn replay(&self, pcr: u8) -> Sha256 {
        let mut start = Sha256::ZERO;
        if pcr == 0 {
            start.0[31] = self.locality;
        }
        self.of(pcr).fold(start, |value, event| value.extended(&event.digest))
    }

    /// The measured events of one PCR in order.
    pub fn of(&self, pcr: u8) -> impl Iterator<Item = &Event<'a>> {
        self.events.iter().filter(move |event| event.pcr == pcr)
    }

    /// Replays the log to each quoted value.
    ///
    /// # Errors
    /// [`LogError::Replay`] for the first PCR that differs.
    pub fn check_replay(&self, quoted: &[PcrValue]) -> Result<(), LogError> {
        let mut replayed = [Sha256::ZERO; PCRS_MAX];
        replayed[0].0[31] = self.locality;
        for event in &self.events {
            if let Some(value) = replayed.get_mut(usize::from(event.pcr)) {
                *value = value.extended(&event.digest);
            }
        }
        for value in quoted {
            let replayed = replayed.get(usize::from(value.pcr)).copied().unwrap_or(Sha256::ZERO);
            if replayed != value.sha256 {
                return Err(LogError::Replay {
                    pcr: value.pcr,
                    replayed,
                    quoted: value.sha256,
                });
            }
        }
        Ok(())
    }
}

/// The first event (PFP 10.4.5.1): in the old format, with the list of algorithms and lengths of digests.
fn read_header(rest: &mut Bytes<'_>) -> Option<Vec<(u16, usize)>> {
    let (pcr, declared) = (rest.u32_le()?, rest.u32_le()?);
    let digest: [u8; 20] = rest.array()?;
    let length = usize::try_from(rest.u32_le()?).ok()?;
    let mut data = Bytes(rest.take(length)?);
    if pcr != 0 || declared != EV_NO_ACTION || digest != [0; 20] || data.take(SPEC_ID.len())? != SPEC_ID {
        return None;
    }
    // Platform class; minor, major, errata of the specification; size of a UINTN in words of 32 bits.
    let _class = data.u32_le()?;
    let (_minor, major, _errata) = (data.u8()?, data.u8()?, data.u8()?);
    let _uintn = data.u8()?;
    let count = usize::try_from(data.u32_le()?).ok()?;
    if major != 2 || count == 0 || count > LOG_ALGORITHMS_MAX {
        return None;
    }
    let mut algorithms: Vec<(u16, usize)> = Vec::with_capacity(count);
    for _ in 0..count {
        let (algorithm, length) = (data.u16_le()?, usize::from(data.u16_le()?));
        let fits = match algorithm {
            ALG_SHA1 => length == 20,
            ALG_SHA256 => length == 32,
            _ => length <= 64,
        };
        if !fits || algorithms.iter().any(|(known, _)| *known == algorithm) {
            return None;
        }
        algorithms.push((algorithm, length));
    }
    let vendor = usize::from(data.u8()?);
    data.take(vendor)?;
    data.is_empty().then_some(algorithms)
}

/// TCG_PCR_EVENT2 (PFP 10.2.2).
fn read_event<'a>(rest: &mut Bytes<'a>, algorithms: &[(u16, usize)], number: usize) -> Result<Event<'a>, LogError> {
    let truncated = || LogError::Truncated { event: number };
    let wrong = || LogError::Digests { event: number };
    let pcr = rest.u32_le().ok_or_else(truncated)?;
    let declared = rest.u32_le().ok_or_else(truncated)?;
    let count = rest.u32_le().ok_or_else(truncated)?;
    if pcr > PCR_MAX {
        return Err(LogError::Pcr { event: number, pcr });
    }
    if usize::try_from(count).ok() != Some(algorithms.len()) {
        return Err(wrong());
    }
    let mut seen = Vec::with_capacity(algorithms.len());
    let mut digest = None;
    for _ in 0..count {
        let algorithm = rest.u16_le().ok_or_else(truncated)?;
        let known = algorithms.iter().find(|(known, _)| *known == algorithm);
        let (_, length) = known.ok_or_else(wrong)?;
        if seen.contains(&algorithm) {
            return Err(wrong());
        }
        seen.push(algorithm);
        let bytes = rest.take(*length).ok_or_else(truncated)?;
        if algorithm == ALG_SHA256 {
            digest = bytes.try_into().ok().map(Sha256);
        }
    }
    let digest = digest.ok_or_else(wrong)?;
    let length = rest.u32_le().ok_or_else(truncated)?;
    let length = usize::try_from(length).map_err(|_| truncated())?;
    let data = rest.take(length).ok_or_else(truncated)?;
    let pcr = u8::try_from(pcr).map_err(|_| LogError::Pcr { event: number, pcr })?;
    Ok(Event {
        number,
        pcr,
        declared,
        digest,
        data,
    })
}
