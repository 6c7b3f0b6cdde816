//! What the machine's trustworthiness hangs on: the TPM as the kernel sees it, the watchdog, the management controller.

use super::reading::{Part, Reading, State, Unit};
use super::root::Root;

/// WDIOF_CARDRESET (Linux, include/uapi/linux/watchdog.h): the last start was made by the watchdog.
const CARD_RESET: u64 = 0x20;
/// The `identity` of softdog (Linux, drivers/watchdog/softdog.c), which does not survive what it is to watch.
const SOFTWARE: &str = "Software Watchdog";
/// The most watchdogs and controllers.
const DEVICES_MAX: usize = 8;

/// Readings of these three.
pub fn read(sys: &Root) -> Vec<Reading> {
    let mut readings = tpm(sys);
    let watchdogs: Vec<Root> = sys.folders("class/watchdog").into_iter().take(DEVICES_MAX).collect();
    let identity = |device: &Root| device.text("identity").unwrap_or_default();
    // softdog stays where the board's own relieved it.
    let has_boards = watchdogs.iter().any(|device| identity(device) != SOFTWARE);
    readings.extend(watchdogs.iter().map(|device| watchdog(device, has_boards)));
    let controllers = sys.folders("class/ipmi").into_iter().take(DEVICES_MAX);
    readings.extend(controllers.map(|device| {
        let sentence = "a management controller: whoever reaches it over a network has this server's console and power";
        Reading::new(Part::Controller, device.name(), sentence)
    }));
    readings
}

/// Linux, Documentation/ABI/stable/sysfs-class-tpm: `tpm_version_major`, and a folder for each bank of PCRs.
fn tpm(sys: &Root) -> Vec<Reading> {
    let tpms = sys.folders("class/tpm").into_iter().take(DEVICES_MAX);
    let tpms = tpms.map(|tpm| {
        let version = tpm.number::<u64>("tpm_version_major");
        let reading = Reading::new(Part::Tpm, tpm.name(), "TPM 2.0");
        match version {
            Some(2) if tpm.has("pcr-sha256") => reading,
            // Kernels before 5.12 show no banks.
            Some(2) if !tpm.has("pcr-sha1") => reading,
            Some(2) => reading.worse(
                State::Warning,
                "its bank of SHA-256 is off: switch it on in the firmware's setup",
            ),
            Some(other) => reading.worse(State::Warning, format!("TPM {other}: LamChat needs 2.0")),
            None => reading.worse(State::Warning, "the kernel does not tell its version"),
        }
    });
    tpms.collect()
}

/// Linux, Documentation/ABI/testing/sysfs-class-watchdog.
fn watchdog(device: &Root, has_boards: bool) -> Reading {
    let identity = device.text("identity").unwrap_or_default();
    let reading = Reading::new(Part::Watchdog, device.name(), identity.clone());
    // In decimal, though documentation says nothing of it.
    let status = device.number::<u64>("bootstatus").unwrap_or(0);
    let mut reading = reading.value(status as f64, Unit::Count);
    if identity == SOFTWARE && !has_boards {
        reading = reading.worse(
            State::Warning,
            "only the kernel's own watchdog is there: a kernel that hangs is not restarted. Switch the board's watchdog on in the firmware's setup, if it has one",
        );
    }
    if status & CARD_RESET != 0 {
        return reading.worse(
            State::Warning,
            format!("{identity}: it made the last start, because the system hung"),
        );
    }
    reading
}

#[cfg(test)]
mod tests {
    use super::{State, read};
    use crate::health::testing::tree;

    #[test]
    fn tpm_watchdog_and_controller() {
        let folder = tree(&[
            ("class/tpm/tpm0/tpm_version_major", "2\n"),
            ("class/tpm/tpm0/pcr-sha256/0", "00"),
            ("class/watchdog/watchdog0/identity", "iTCO_wdt\n"),
            ("class/watchdog/watchdog0/bootstatus", "0\n"),
            ("class/ipmi/ipmi0/dev", "240:0"),
        ]);
        let said = || {
            let readings = read(&folder.root);
            readings.iter().map(|reading| reading.state).collect::<Vec<_>>()
        };
        assert_eq!(said(), [State::Well; 3]);
        folder.write("class/watchdog/watchdog0/identity", "Software Watchdog\n");
        assert_eq!(said(), [State::Well, State::Warning, State::Well]);
        // The board's own shows up later, and relieves it.
        folder.write("class/watchdog/watchdog1/identity", "iTCO_wdt\n");
        assert_eq!(said(), [State::Well; 4]);
        folder.remove("class/watchdog/watchdog1/identity");
        assert!(std::fs::remove_dir(folder.path("class/watchdog/watchdog1")).is_ok());
        folder.write("class/watchdog/watchdog0/identity", "iTCO_wdt\n");
        folder.write("class/watchdog/watchdog0/bootstatus", "32");
        folder.write("class/tpm/tpm0/tpm_version_major", "1");
        assert_eq!(said(), [State::Warning, State::Warning, State::Well]);
        folder.write("class/tpm/tpm0/tpm_version_major", "2");
        folder.remove("class/tpm/tpm0/pcr-sha256/0");
        assert!(std::fs::remove_dir(folder.path("class/tpm/tpm0/pcr-sha256")).is_ok());
        folder.write("class/tpm/tpm0/pcr-sha1/0", "00");
        assert_eq!(said(), [State::Warning, State::Warning, State::Well]);
        assert!(read(&tree(&[]).root).is_empty());
    }
}
