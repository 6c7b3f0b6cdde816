//! What the firmware vouches for, noted at every start: whether it checked what was started, and what the image was
//! measured as. The manifest of the release has the same numbers.

use super::state::Shared;
use lamchat_machine::efi::{GLOBAL, Variables};

/// The PCRs as the kernel shows them: Documentation/ABI/stable/sysfs-class-tpm, `pcr-H/N`.
const PCRS: &str = "/sys/class/tpm/tpm0/pcr-sha256";
/// The image, and the command line that the boot loader handed to it.
const SHOWN: [&str; 2] = ["11", "12"];

/// The kernel's modes, the one that holds in brackets: security/lockdown/lockdown.c.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// The mode that holds.
fn lockdown(modes: &str) -> &str {
    let chosen = modes.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or("not known", |(mode, _)| mode)
}

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
    match std::fs::read_to_string(LOCKDOWN) {
        Ok(modes) => log.note(&format!("lockdown of the kernel: {}", lockdown(&modes))),
        Err(error) => log.note(&format!("lockdown of the kernel is not known: {error}")),
    }
    for pcr in SHOWN {
        match std::fs::read_to_string(format!("{PCRS}/{pcr}")) {
            // A line of its own: with the usual name before it, it would not fit on a screen.
            Ok(value) => log.keep(&format!("pcr{pcr}"), &value.trim().to_ascii_lowercase()),
            Err(error) => log.note(&format!("PCR {pcr} is not known: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_mode_that_holds_is_in_brackets() {
        assert_eq!(super::lockdown("none integrity [confidentiality]\n"), "confidentiality");
        assert_eq!(super::lockdown("[none] integrity confidentiality\n"), "none");
        assert_eq!(super::lockdown("\n"), "not known");
    }
}
