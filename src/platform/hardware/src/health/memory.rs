//! Memory errors: `/sys/devices/system/edac/mc` (Linux, Documentation/ABI/testing/sysfs-devices-edac).

use super::reading::{Part, Reading, State, Unit};
use super::root::Root;

/// Where the kernel has memory controllers.
pub const FOLDER: &str = "devices/system/edac/mc";
/// The most controllers and modules.
const CONTROLLERS_MAX: usize = 64;
const MODULES_MAX: usize = 256;

/// A reading for each controller. Without one there is no error correction, or the kernel does not see it.
pub fn read(sys: &Root) -> Vec<Reading> {
    let controllers = sys.folders(FOLDER).into_iter();
    let controllers = controllers.filter(|folder| folder.name().starts_with("mc"));
    let mut readings: Vec<Reading> = controllers.take(CONTROLLERS_MAX).filter_map(|mc| one(&mc)).collect();
    if readings.is_empty() {
        let sentence = "no controller with error correction is told (EDAC)";
        readings.push(Reading::new(Part::Memory, "memory", sentence));
    }
    readings
}

fn one(mc: &Root) -> Option<Reading> {
    let name = mc.text("mc_name").unwrap_or_default();
    let corrected = count(mc, "ce_count")? + count(mc, "ce_noinfo_count").unwrap_or(0);
    let lost = count(mc, "ue_count")? + count(mc, "ue_noinfo_count").unwrap_or(0);
    let mut reading = Reading::new(
        Part::Memory,
        format!("{} {name}", mc.name()),
        "errors that were corrected",
    );
    reading = reading.value((corrected + lost) as f64, Unit::Count);
    let named = modules(mc);
    if lost > 0 {
        reading = reading.worse(
            State::Failed,
            format!("{lost} errors could not be corrected, {corrected} were{named}: replace the module"),
        );
    }
    if corrected > 0 {
        reading = reading.worse(
            State::Warning,
            format!("{corrected} errors were corrected since the counters began{named}"),
        );
    }
    Some(reading)
}

/// Which modules the errors are of.
fn modules(mc: &Root) -> String {
    let modules = mc.folders("").into_iter().filter(|folder| {
        let name = folder.name();
        name.starts_with("dimm") || name.starts_with("rank")
    });
    let named = modules.take(MODULES_MAX).filter_map(|module| {
        let name = module.name();
        let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let errors = [format!("{kind}_ce_count"), format!("{kind}_ue_count")];
        let errors: u64 = errors.iter().filter_map(|file| count(&module, file)).sum();
        let label = module.text(&format!("{kind}_label")).filter(|label| !label.is_empty());
        (errors > 0).then(|| format!("{}: {errors}", label.unwrap_or(name)))
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        String::new()
    } else {
        format!(" ({})", named.join(", "))
    }
}

fn count(folder: &Root, file: &str) -> Option<u64> {
    folder.number(file)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{State, read};
    use crate::health::testing::tree;

    #[test]
    fn errors_are_counted_and_their_module_named() {
        let mc = |file: &str| format!("{}/mc0/{file}", super::FOLDER);
        let folder = tree(&[
            (&mc("mc_name"), "Skylake Socket#0 IMC#0\n"),
            (&mc("ce_count"), "0\n"),
            (&mc("ue_count"), "0\n"),
            (&mc("dimm0/dimm_label"), "CPU_SrcID#0_MC#0_Chan#0_DIMM#0\n"),
            (&mc("dimm0/dimm_ce_count"), "0\n"),
        ]);
        let said = || read(&folder.root).pop().unwrap();
        assert_eq!(said().state, State::Well);
        folder.write(&mc("ce_count"), "3");
        folder.write(&mc("dimm0/dimm_ce_count"), "3");
        let warning = said();
        assert_eq!(warning.state, State::Warning);
        assert!(warning.sentence.contains("Chan#0_DIMM#0: 3"), "{warning}");
        folder.write(&mc("ue_count"), "1");
        assert_eq!(said().state, State::Failed);
        assert!(said().to_string().contains("replace"), "{}", said());
    }

    #[test]
    fn no_controller_is_told_and_is_no_alarm() {
        let folder = tree(&[("devices/system/edac/mc/power/x", "")]);
        let said = read(&folder.root);
        assert_eq!((said.len(), said.first().unwrap().state), (1, State::Well));
    }
}
