//! Reads a log that was replayed: what the firmware started (PCR 4), and under which Secure Boot policy (PCR 7).
//!
//! A digest is signed for, an event's type and data are not: whoever writes the log can relabel an event, or hand a
//! program's bytes as the data of a harmless one. So every event is known by its digest. The declared type must agree
//! with what the digest shows; data counts only where it hashes to the digest; and what is not known is refused in the
//! PCRs that are appraised.

use crate::event_log::{Event, EventLog};
use crate::evidence::PcrValue;
use crate::manifest::Manifest;
use crate::sha256::Sha256;
use crate::wire::Bytes;

// PFP 10.4.1.
const EV_SEPARATOR: u32 = 4;
const EV_ACTION: u32 = 5;
const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EV_EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
const EV_EFI_ACTION: u32 = 0x8000_0007;
const EV_EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00E0;

/// The data of a separator when all went well (PFP 10.4.1): either of the two.
const SEPARATORS: [&[u8]; 2] = [&[0; 4], &[0xFF; 4]];
/// The data of a separator after an error.
const SEPARATOR_ERROR: &[u8] = &[1, 0, 0, 0];
/// The PCRs that the firmware closes with a separator.
const SEPARATED: std::ops::RangeInclusive<u8> = 0..=7;
/// The texts that the firmware measures into PCR 4 (PFP 3.3.4.5).
const ACTIONS: [&[u8]; 2] = [
    b"Calling EFI Application from Boot Option",
    b"Returning from EFI Application from Boot Option",
];
/// Where the stub of a unified kernel image measures what it takes from beside the image: command line, credentials and
/// configuration (12), system extensions (13).
pub(crate) const BESIDE_IMAGE: [u8; 2] = [12, 13];
/// EFI_GLOBAL_VARIABLE as it is in memory.
const GLOBAL_VARIABLE: [u8; 16] = [
    0x61, 0xDF, 0xE4, 0x8B, 0xCA, 0x93, 0xD2, 0x11, 0xAA, 0x0D, 0x00, 0xE0, 0x98, 0x03, 0x2B, 0x8C,
];

/// Why a log that replays is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppraisalError {
    /// The digest shows that the event is something else than its type or its data say.
    #[error(
        "event {event} in PCR {pcr} is not what it says: its digest does not fit its type {declared:#010x} and data"
    )]
    NotWhatItSays {
        /// Its number in the log.
        event: usize,
        /// Its PCR.
        pcr: u8,
        /// The type that it declares.
        declared: u32,
    },
    /// A type that has no place in this PCR.
    #[error("event {event} in PCR {pcr} is of type {declared:#010x}, which has no place there")]
    UnknownType {
        /// Its number in the log.
        event: usize,
        /// Its PCR.
        pcr: u8,
        /// The type that it declares.
        declared: u32,
    },
    /// A program or a policy that the manifest does not have.
    #[error("event {event} in PCR {pcr} has digest {digest}, which is not in the reference manifest")]
    UnknownEvent {
        /// Its number in the log.
        event: usize,
        /// Its PCR.
        pcr: u8,
        /// Its digest.
        digest: Sha256,
    },
    /// An event on the wrong side of the separator.
    #[error("event {event} in PCR {pcr} is on the wrong side of the separator")]
    OutOfPlace {
        /// Its number in the log.
        event: usize,
        /// Its PCR.
        pcr: u8,
    },
    /// A PCR of the firmware without exactly one separator.
    #[error("PCR {pcr} has {count} separators instead of one")]
    Separators {
        /// The PCR.
        pcr: u8,
        /// How many.
        count: usize,
    },
    /// The firmware noted an error while it measured.
    #[error("the firmware noted an error in PCR {pcr}")]
    FirmwareError {
        /// The PCR.
        pcr: u8,
    },
    /// Secure Boot was off, or the log does not say.
    #[error("Secure Boot was not on: {what}")]
    SecureBoot {
        /// What the log says.
        what: &'static str,
    },
    /// No image of the manifest was started.
    #[error("the log shows no image of the reference manifest")]
    NoImage,
    /// There is no log, and the manifest asks for what only a log can show.
    #[error("there is no event log, and the reference manifest asks for more than whole values of PCR {pcr}")]
    NoLog {
        /// The first such PCR.
        pcr: u8,
    },
    /// A PCR with a value that the manifest does not have.
    #[error("PCR {pcr} has value {value}, which is not in the reference manifest")]
    Value {
        /// The PCR.
        pcr: u8,
        /// Its value.
        value: Sha256,
    },
}

impl AppraisalError {
    /// The name of this reason, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotWhatItSays { .. } => "event-not-what-it-says",
            Self::UnknownType { .. } => "event-type-unknown",
            Self::UnknownEvent { .. } => "event-unknown",
            Self::OutOfPlace { .. } => "event-out-of-place",
            Self::Separators { .. } => "log-separators",
            Self::FirmwareError { .. } => "log-firmware-error",
            Self::SecureBoot { .. } => "secure-boot-off",
            Self::NoLog { .. } => "log-absent",
            Self::NoImage => "image-not-measured",
            Self::Value { .. } => "pcr-value-unknown",
        }
    }
}

/// What a replayed log shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Authenticode digests of the manifest's images that were started.
    pub(crate) started: Vec<Sha256>,
}

/// Appraises the PCRs that the manifest speaks of.
pub(crate) fn appraise(log: &EventLog<'_>, manifest: &Manifest) -> Result<Shown, AppraisalError> {
    if log.absent {
        return Ok(Shown { started: Vec::new() });
    }
    for pcr in manifest.pcrs.iter().filter(|pcr| SEPARATED.contains(pcr)) {
        check_separators(log, *pcr)?;
    }
    let mut started = Vec::new();
    if manifest.pcrs.contains(&4) && !(manifest.images.is_empty() && manifest.pcr4_events.is_empty()) {
        started = appraise_programs(log, manifest)?;
    }
    if manifest.pcrs.contains(&7) && (manifest.secure_boot || !manifest.pcr7_events.is_empty()) {
        appraise_policy(log, manifest)?;
    }
    check_values(log, manifest)?;
    Ok(Shown { started })
}

fn not_what_it_says(event: &Event<'_>) -> AppraisalError {
    AppraisalError::NotWhatItSays {
        event: event.number,
        pcr: event.pcr,
        declared: event.declared,
    }
}

fn unknown_event(event: &Event<'_>) -> AppraisalError {
    AppraisalError::UnknownEvent {
        event: event.number,
        pcr: event.pcr,
        digest: event.digest,
    }
}

fn unknown_type(event: &Event<'_>) -> AppraisalError {
    AppraisalError::UnknownType {
        event: event.number,
        pcr: event.pcr,
        declared: event.declared,
    }
}

fn is_separator(event: &Event<'_>) -> bool {
    SEPARATORS.iter().any(|data| Sha256::of(data) == event.digest)
}

/// Exactly one separator, known by its digest; nothing else calls itself one.
fn check_separators(log: &EventLog<'_>, pcr: u8) -> Result<(), AppraisalError> {
    let mut count = 0;
    for event in log.of(pcr) {
        if event.digest == Sha256::of(SEPARATOR_ERROR) {
            return Err(AppraisalError::FirmwareError { pcr });
        }
        let shown = is_separator(event);
        let declared = event.declared == EV_SEPARATOR;
        if shown != declared || (shown && event.digest != Sha256::of(event.data)) {
            return Err(not_what_it_says(event));
        }
        count += usize::from(shown);
    }
    if count == 1 {
        Ok(())
    } else {
        Err(AppraisalError::Separators { pcr, count })
    }
}

/// PCR 4: every program that was started is in the manifest.
fn appraise_programs(log: &EventLog<'_>, manifest: &Manifest) -> Result<Vec<Sha256>, AppraisalError> {
    let mut started = Vec::new();
    let mut separated = false;
    for event in log.of(4) {
        if is_separator(event) {
            separated = true;
            continue;
        }
        let image = manifest.images.iter().any(|image| image.authenticode == event.digest);
        if image || manifest.pcr4_events.contains(&event.digest) {
            if event.declared != EV_EFI_BOOT_SERVICES_APPLICATION {
                return Err(not_what_it_says(event));
            }
            if !separated {
                return Err(AppraisalError::OutOfPlace {
                    event: event.number,
                    pcr: 4,
                });
            }
            if image {
                started.push(event.digest);
            }
            continue;
        }
        // Not by the event's data: a program's own bytes hash to its digest, too.
        let action = ACTIONS.iter().find(|text| Sha256::of(text) == event.digest);
        match (event.declared, action) {
            (EV_EFI_ACTION | EV_ACTION, Some(text)) if *text == event.data => {}
            (_, Some(_)) | (EV_EFI_ACTION | EV_ACTION, None) => return Err(not_what_it_says(event)),
            (EV_EFI_BOOT_SERVICES_APPLICATION, None) => return Err(unknown_event(event)),
            (_, None) => return Err(unknown_type(event)),
        }
    }
    Ok(started)
}

/// PCR 7: the variables of Secure Boot, then the authorities that were used. All of its digests are those of the data.
fn appraise_policy(log: &EventLog<'_>, manifest: &Manifest) -> Result<(), AppraisalError> {
    let mut separated = false;
    let mut secure_boot = None;
    for event in log.of(7) {
        if is_separator(event) {
            separated = true;
            continue;
        }
        match event.declared {
            EV_EFI_VARIABLE_DRIVER_CONFIG | EV_EFI_VARIABLE_AUTHORITY | EV_EFI_ACTION => {}
            _ => return Err(unknown_type(event)),
        }
        if Sha256::of(event.data) != event.digest {
            return Err(not_what_it_says(event));
        }
        let configures = event.declared == EV_EFI_VARIABLE_DRIVER_CONFIG;
        if let Some(value) = secure_boot_variable(event.data) {
            if !configures {
                return Err(not_what_it_says(event));
            }
            if secure_boot.replace(value).is_some() {
                return Err(AppraisalError::SecureBoot {
                    what: "the log has its variable twice",
                });
            }
        }
        if configures && separated {
            return Err(AppraisalError::OutOfPlace {
                event: event.number,
                pcr: 7,
            });
        }
        // An action here weakens the platform (a debugger, no protection from DMA): only by name.
        let listed = manifest.pcr7_events.contains(&event.digest);
        if !listed && (event.declared == EV_EFI_ACTION || !manifest.pcr7_events.is_empty()) {
            return Err(unknown_event(event));
        }
    }
    match secure_boot {
        _ if !manifest.secure_boot => Ok(()),
        Some([1]) => Ok(()),
        Some(_) => Err(AppraisalError::SecureBoot {
            what: "its variable says so",
        }),
        None => Err(AppraisalError::SecureBoot {
            what: "the log does not have its variable",
        }),
    }
}

/// The content of the variable `SecureBoot`, if that is what the data is (UEFI_VARIABLE_DATA, PFP 10.4.2).
fn secure_boot_variable(data: &[u8]) -> Option<&[u8]> {
    let mut rest = Bytes(data);
    let guid: [u8; 16] = rest.array()?;
    let name_length = rest.u64_le()?;
    let data_length = usize::try_from(rest.u64_le()?).ok()?;
    let name: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
    if guid != GLOBAL_VARIABLE || name_length != 10 || rest.take(name.len())? != name {
        return None;
    }
    let value = rest.take(data_length)?;
    rest.is_empty().then_some(value)
}

/// Without a log nothing counts but whole values, for every PCR that is quoted.
pub(crate) fn check_unlogged(quoted: &[PcrValue], manifest: &Manifest) -> Result<(), AppraisalError> {
    let needs_log = [
        (!manifest.images.is_empty() || !manifest.pcr4_events.is_empty(), 4),
        (manifest.secure_boot || !manifest.pcr7_events.is_empty(), 7),
    ];
    if let Some((_, pcr)) = needs_log.into_iter().find(|(needed, _)| *needed) {
        return Err(AppraisalError::NoLog { pcr });
    }
    for PcrValue { pcr, sha256 } in quoted.iter().copied() {
        let mut references = manifest
            .values
            .iter()
            .filter(|reference| reference.pcr == pcr)
            .peekable();
        if references.peek().is_none() {
            return Err(AppraisalError::NoLog { pcr });
        }
        if references.any(|reference| !reference.sha256.contains(&sha256)) {
            return Err(AppraisalError::Value { pcr, value: sha256 });
        }
    }
    Ok(())
}

/// Compares whole values. Beside an image nothing may have come along, unless the manifest says what.
fn check_values(log: &EventLog<'_>, manifest: &Manifest) -> Result<(), AppraisalError> {
    for reference in &manifest.values {
        let value = log.replay(reference.pcr);
        if !reference.sha256.contains(&value) {
            return Err(AppraisalError::Value {
                pcr: reference.pcr,
                value,
            });
        }
    }
    let listed = |pcr| manifest.values.iter().any(|reference| reference.pcr == pcr);
    for pcr in BESIDE_IMAGE {
        let value = log.replay(pcr);
        if !manifest.images.is_empty() && !listed(pcr) && value != Sha256::ZERO {
            return Err(AppraisalError::Value { pcr, value });
        }
    }
    Ok(())
}
