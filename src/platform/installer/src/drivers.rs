//! Drivers that cards bring along: option ROMs, which the firmware measures in PCR 2. A firmware that trusts nobody but
//! the operator does not start them, and a screen, a network card or a disk may be dead before the kernel has it.

use lamchat_attestation::limits::EVENT_LOG_BYTES_MAX;
use lamchat_attestation::{EventLog, LogError, Sha256};
use std::fs::File;
use std::io::Read;

/// The kernel's copy of the firmware's event log.
const LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// TCG PC Client Platform Firmware Profile 1.06, 3.3.4.3: PCR 2 has the drivers of adapters.
const PCR: u8 = 2;
/// Events of programs (10.4.1): EV_EFI_BOOT_SERVICES_APPLICATION, _DRIVER and EV_EFI_RUNTIME_SERVICES_DRIVER.
const PROGRAMS: [u32; 3] = [0x8000_0003, 0x8000_0004, 0x8000_0005];
/// UEFI_IMAGE_LOAD_EVENT (10.2.4): four numbers of 64 bits, the last being the length of the path behind them.
const PATH_AT: usize = 32;
/// Nodes of a path that are looked at.
const NODES_MAX: usize = 32;

/// A driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driver {
    /// Its Authenticode digest, which is what db takes.
    pub digest: Sha256,
    /// Where its card is: the way through the PCI bridges, such as `1c.0/0.0`.
    pub place: String,
}

/// The firmware's event log; empty when the machine has none.
pub fn log_of_machine() -> std::io::Result<Vec<u8>> {
    let mut log = Vec::new();
    File::open(LOG)?
        .take(EVENT_LOG_BYTES_MAX as u64 + 1)
        .read_to_end(&mut log)?;
    Ok(log)
}

/// The drivers in a log, each once, in the order of their start.
pub fn drivers(log: &[u8]) -> Result<Vec<Driver>, LogError> {
    let log = EventLog::parse(log)?;
    let mut found: Vec<Driver> = Vec::new();
    for event in log.of(PCR).filter(|event| PROGRAMS.contains(&event.declared)) {
        if found.iter().all(|driver| driver.digest != event.digest) {
            found.push(Driver {
                digest: event.digest,
                place: place(event.data),
            });
        }
    }
    Ok(found)
}

/// Reads the device path (UEFI 2.10, 10.3) for its PCI nodes: type 1, subtype 1, function, device.
fn place(data: &[u8]) -> String {
    let mut rest = data.get(PATH_AT..).unwrap_or_default();
    let mut places = Vec::new();
    for _ in 0..NODES_MAX {
        let &[kind, subtype, low, high, ..] = rest else { break };
        let length = usize::from(u16::from_le_bytes([low, high]));
        let Some(node) = rest.get(..length).filter(|node| node.len() >= 4) else {
            break;
        };
        if let (1, 1, &[_, _, _, _, function, device, ..]) = (kind, subtype, node) {
            places.push(format!("{device:x}.{function:x}"));
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    if places.is_empty() {
        "unknown".to_owned()
    } else {
        places.join("/")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    /// A log with the header of TPM 2.0 and events with SHA-256 digests alone.
    fn log(events: &[(u32, u32, [u8; 32], &[u8])]) -> Vec<u8> {
        let mut header = b"Spec ID Event03\0".to_vec();
        header.extend_from_slice(&[0, 0, 0, 0, 0, 2, 0, 2]);
        header.extend_from_slice(&1u32.to_le_bytes());
        header.extend_from_slice(&[0x0B, 0, 32, 0, 0]);
        let mut log = [0u32.to_le_bytes(), 3u32.to_le_bytes()].concat();
        log.extend_from_slice(&[0; 20]);
        log.extend_from_slice(&u32::try_from(header.len()).unwrap().to_le_bytes());
        log.extend(header);
        for (pcr, kind, digest, data) in events {
            log.extend_from_slice(&pcr.to_le_bytes());
            log.extend_from_slice(&kind.to_le_bytes());
            log.extend_from_slice(&1u32.to_le_bytes());
            log.extend_from_slice(&[0x0B, 0]);
            log.extend_from_slice(digest);
            log.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
            log.extend_from_slice(data);
        }
        log
    }

    fn loaded(path: &[u8]) -> Vec<u8> {
        let mut data = vec![0; 24];
        data.extend_from_slice(&(path.len() as u64).to_le_bytes());
        data.extend_from_slice(path);
        data
    }

    #[test]
    fn drivers_of_cards_are_found_once_each() {
        let path = [
            [2, 1, 12, 0, 0xD0, 0x41, 3, 0x0A, 0, 0, 0, 0].as_slice(),
            &[1, 1, 6, 0, 0, 0x1C],
            &[1, 1, 6, 0, 1, 0],
            &[0x7F, 0xFF, 4, 0],
        ]
        .concat();
        let card = loaded(&path);
        let bytes = log(&[
            (2, 0x8000_0004, [1; 32], &card),
            (2, 0x8000_0004, [1; 32], &card),
            (2, 4, [2; 32], &[0, 0, 0, 0]),
            (4, 0x8000_0003, [3; 32], &card),
            (2, 0x8000_0005, [4; 32], &loaded(&[1, 1, 200, 0, 0])),
        ]);
        let found = drivers(&bytes).unwrap();
        let expected = [([1; 32], "1c.0/0.1"), ([4; 32], "unknown")];
        let expected = expected.map(|(digest, place)| Driver {
            digest: Sha256(digest),
            place: place.to_owned(),
        });
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn any_path_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = place(&bytes);
            prop_assert!(!text.is_empty());
            let _ = drivers(&bytes);
        }
    }
}
