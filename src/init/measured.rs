//! What the firmware vouches for, noted at every start: whether it checked what was started, and what the image was
//! measured as. The manifest of the release has the same numbers.

use super::state::Shared;
use lamchat_machine::efi::{GLOBAL, Variables};

/// The PCRs as the kernel shows them: Documentation/ABI/stable/sysfs-class-tpm, `pcr-H/N`.
const PCRS: &str = "/sys/class/tpm/tpm0/pcr-sha256";
/// The image, and the command line that the boot loader handed to it.
const SHOWN: [&str; 2] = ["11", "12"];

/// Writes it into the log, and onto the screen if the firmware does not check.
pub fn note(shared: &Shared) {
    let log = &shared.log;
    let variables = Variables::of_machine();
    match variables.is_set("SecureBoot", GLOBAL) {
        Ok(true) => log.note("Secure Boot is on"),
        Ok(false) if variables.are_there() => shared.notice("Secure Boot is OFF: the firmware starts anything"),
        Ok(false) => log.note("there is no UEFI, so no Secure Boot: whatever is there is started"),
        Err(error) => log.note(&format!("whether Secure Boot is on is not known: {error}")),
    }
    for pcr in SHOWN {
        match std::fs::read_to_string(format!("{PCRS}/{pcr}")) {
            // A line of its own: with the usual name before it, it would not fit on a screen.
            Ok(value) => log.keep(&format!("pcr{pcr}"), &value.trim().to_ascii_lowercase()),
            Err(error) => log.note(&format!("PCR {pcr} is not known: {error}")),
        }
    }
}
