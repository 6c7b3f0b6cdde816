//! What the firmware vouches for, noted at every start: whether it checked what was started, and what the image was
//! measured as. The manifest of the release has the same number.

use super::log::Log;
use lamchat_machine::efi::{GLOBAL, Variables};

/// PCR 11, the image, as the kernel shows it: Documentation/ABI/stable/sysfs-class-tpm, `pcr-H/N`.
const PCR11: &str = "/sys/class/tpm/tpm0/pcr-sha256/11";

/// Writes it into the log.
pub fn note(log: &Log) {
    log.note(match Variables::of_machine().is_set("SecureBoot", GLOBAL) {
        Ok(true) => "Secure Boot is on",
        Ok(false) => "Secure Boot is OFF: the firmware starts anything",
        Err(_) => "Secure Boot is not known",
    });
    match std::fs::read_to_string(PCR11) {
        // A line of its own: with the usual name before it, it would not fit on a screen.
        Ok(value) => log.keep("pcr11", &value.trim().to_ascii_lowercase()),
        Err(error) => log.note(&format!("PCR 11 is not known: {error}")),
    }
}
