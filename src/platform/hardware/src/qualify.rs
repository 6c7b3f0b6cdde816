//! The list of what to check before a server is trusted (`hardware/qualification.toml`), with what the program finds out
//! itself. What somebody has to pull, open or switch off stays theirs: there the program only says whether it sees the
//! part at all.

use crate::bmc::is_lan_channel;
use crate::catalogue::{Automatic, Check, Needed};
use crate::health::{Health, Part, Reading, Root, State};
use serde::Serialize;

/// Where the kernel has memory controllers with error correction (Documentation/ABI/testing/sysfs-devices-edac).
const EDAC: &str = "devices/system/edac/mc";
/// The most names in a sentence.
const NAMES_MAX: usize = 6;

/// What was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// It is so.
    Yes,
    /// It is not so, or the kernel does not see it.
    No,
    /// The part is there; the rest takes somebody's hands.
    Seen,
    /// Only somebody's hands tell.
    ByHand,
}

impl Found {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "NO",
            Self::Seen => "seen",
            Self::ByHand => "by hand",
        }
    }
}

/// One check and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Its name in `qualification.toml`.
    pub id: &'static str,
    /// `must` or `should`.
    pub needed: &'static str,
    /// What is asked.
    pub question: &'static str,
    /// What was found out.
    pub found: Found,
    /// What the program saw; empty where only hands tell.
    pub sentence: String,
    /// How it is found out, or seen to the end, by hand.
    pub how: &'static str,
}

/// Goes through the list. `sys`: the machine's `/sys`; `health`: a survey of it, with what devices told where they were
/// asked.
pub fn qualify(checks: &'static [Check], sys: &Root, health: &Health) -> Vec<Answer> {
    let answer = |check: &'static Check| {
        let (found, sentence) = match check.automatic {
            Some(automatic) => find(automatic, sys, health),
            None => (Found::ByHand, String::new()),
        };
        Answer {
            id: &check.id,
            needed: match check.needed {
                Needed::Must => "must",
                Needed::Should => "should",
            },
            question: &check.question,
            found,
            sentence,
            how: &check.how,
        }
    };
    checks.iter().map(answer).collect()
}

/// Whether a machine with these answers is unfit already.
pub fn is_unfit(answers: &[Answer]) -> bool {
    answers
        .iter()
        .any(|answer| answer.needed == "must" && answer.found == Found::No)
}

fn find(automatic: Automatic, sys: &Root, health: &Health) -> (Found, String) {
    match automatic {
        Automatic::Tpm => tpm(sys),
        Automatic::Memory => memory(sys),
        Automatic::Mirrors => mirrors(health),
        Automatic::Power => supplies(health),
        Automatic::Watchdog => seen(
            health,
            Part::Watchdog,
            "the kernel drives no watchdog: look for its driver",
        ),
        Automatic::Intrusion => seen(health, Part::Intrusion, "the kernel tells of no switch at the lid"),
        Automatic::Sensors => limits(health),
        Automatic::ControllerLan => controller_lan(health),
    }
}

/// Documentation/ABI/stable/sysfs-class-tpm: a folder for each bank of PCRs, since Linux 5.12.
fn tpm(sys: &Root) -> (Found, String) {
    let tpms = sys.folders("class/tpm");
    let Some(tpm) = tpms.first() else {
        return (Found::No, "the kernel tells of no TPM".to_owned());
    };
    match tpm.number::<u64>("tpm_version_major") {
        Some(2) if tpm.has("pcr-sha256") => (Found::Yes, format!("{}: TPM 2.0 with its bank of SHA-256", tpm.name())),
        Some(2) if tpm.has("pcr-sha1") || tpm.has("pcr-sha384") => {
            let sentence = "its bank of SHA-256 is off: switch it on in the firmware's setup";
            (Found::No, format!("{}: TPM 2.0, but {sentence}", tpm.name()))
        }
        // Older kernels show no banks.
        Some(2) => (
            Found::Seen,
            format!("{}: TPM 2.0; this kernel does not tell its banks", tpm.name()),
        ),
        Some(other) => (Found::No, format!("{}: TPM {other}", tpm.name())),
        None => (
            Found::No,
            format!("{}: the kernel does not tell its version", tpm.name()),
        ),
    }
}

fn memory(sys: &Root) -> (Found, String) {
    let controllers = sys.folders(EDAC).into_iter();
    let controllers = controllers.filter(|mc| mc.name().starts_with("mc") && mc.number::<u64>("ce_count").is_some());
    match controllers.count() {
        0 => {
            let sentence = "the kernel tells of no controller with error correction (EDAC): memory or board have none, or \
                            its driver is missing";
            (Found::No, sentence.to_owned())
        }
        count => (Found::Yes, format!("{count} controllers count errors")),
    }
}

fn mirrors(health: &Health) -> (Found, String) {
    let mirrors: Vec<&Reading> = of(health, Part::Mirror).collect();
    match mirrors.iter().find(|mirror| mirror.state == State::Failed) {
        Some(broken) => (Found::No, broken.to_string()),
        None if mirrors.is_empty() => (Found::No, "no disks mirror each other".to_owned()),
        None => (Found::Seen, names(&mirrors)),
    }
}

fn supplies(health: &Health) -> (Found, String) {
    let supplies: Vec<&Reading> = of(health, Part::Power).collect();
    let sentence = format!(
        "the kernel and the controller tell of {} power readings",
        supplies.len()
    );
    match supplies.len() {
        0 | 1 => (Found::No, sentence),
        _ => (Found::Seen, format!("{sentence}: {}", names(&supplies))),
    }
}

fn seen(health: &Health, part: Part, missing: &str) -> (Found, String) {
    let readings: Vec<&Reading> = of(health, part).collect();
    if readings.is_empty() {
        (Found::No, missing.to_owned())
    } else {
        (Found::Seen, names(&readings))
    }
}

fn limits(health: &Health) -> (Found, String) {
    let sensors = of(health, Part::Temperature).chain(of(health, Part::Fan));
    let sensors: Vec<&Reading> = sensors.filter(|sensor| sensor.value.is_some()).collect();
    let without: Vec<&Reading> = sensors
        .iter()
        .copied()
        .filter(|sensor| sensor.limit.is_none())
        .collect();
    if sensors.is_empty() {
        let sentence = "the kernel tells of no temperature and no fan: look for the drivers of the board's sensors";
        return (Found::No, sentence.to_owned());
    }
    if without.is_empty() {
        return (
            Found::Yes,
            format!("all {} temperatures and fans have one", sensors.len()),
        );
    }
    let sentence = format!("{} of {} have none: {}", without.len(), sensors.len(), names(&without));
    (Found::No, sentence)
}

/// A channel that is off is fine and one that lets everybody in is not; whether one that is on has a network of its own,
/// nobody tells.
fn controller_lan(health: &Health) -> (Found, String) {
    let channels: Vec<&Reading> = of(health, Part::Controller)
        .filter(|reading| is_lan_channel(reading))
        .collect();
    let worst = channels.iter().max_by_key(|channel| channel.state);
    match worst {
        None => (
            Found::ByHand,
            "no management controller told of its LAN: it takes root and the driver ipmi_si to ask".to_owned(),
        ),
        Some(channel) => {
            let found = match channel.state {
                State::Well => Found::Yes,
                State::Warning => Found::Seen,
                State::Failed => Found::No,
            };
            (found, channel.to_string())
        }
    }
}

fn of(health: &Health, part: Part) -> impl Iterator<Item = &Reading> {
    health.readings.iter().filter(move |reading| reading.part == part)
}

fn names(readings: &[&Reading]) -> String {
    let names: Vec<&str> = readings
        .iter()
        .take(NAMES_MAX)
        .map(|reading| reading.name.as_str())
        .collect();
    let more = if readings.len() > NAMES_MAX { ", …" } else { "" };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Found, controller_lan, is_unfit, qualify};
    use crate::catalogue::catalogue;
    use crate::health::Surveyor;
    use crate::health::testing::{Tree, tree};
    use crate::health::{Health, Part, Reading, State};

    fn found(folder: &Tree, id: &str) -> (Found, String) {
        let health = Surveyor::new(folder.root.clone()).survey();
        let answers = qualify(&catalogue().unwrap().checks, &folder.root, &health);
        assert_eq!(answers.len(), catalogue().unwrap().checks.len());
        let answer = answers.into_iter().find(|answer| answer.id == id).unwrap();
        (answer.found, answer.sentence)
    }

    /// A server that has everything.
    fn server() -> Tree {
        tree(&[
            ("class/tpm/tpm0/tpm_version_major", "2\n"),
            ("class/tpm/tpm0/pcr-sha256/0", "00"),
            ("devices/system/edac/mc/mc0/mc_name", "Skylake\n"),
            ("devices/system/edac/mc/mc0/ce_count", "0\n"),
            ("devices/system/edac/mc/mc0/ue_count", "0\n"),
            ("class/block/md0/md/level", "raid1\n"),
            ("class/block/md0/md/array_state", "clean\n"),
            ("class/block/md0/md/raid_disks", "2\n"),
            ("class/block/md0/md/degraded", "0\n"),
            ("class/power_supply/PSU1/type", "Mains\n"),
            ("class/power_supply/PSU1/online", "1\n"),
            ("class/power_supply/PSU2/type", "Mains\n"),
            ("class/power_supply/PSU2/online", "1\n"),
            ("class/watchdog/watchdog0/identity", "iTCO_wdt\n"),
            ("class/hwmon/hwmon0/name", "nct6775\n"),
            ("class/hwmon/hwmon0/temp1_input", "40000\n"),
            ("class/hwmon/hwmon0/temp1_max", "80000\n"),
            ("class/hwmon/hwmon0/intrusion0_alarm", "0\n"),
        ])
    }

    #[test]
    fn a_server_that_has_everything_is_fit_as_far_as_a_program_sees() {
        let folder = server();
        for (id, expected) in [
            ("tpm-2", Found::Yes),
            ("ecc", Found::Yes),
            ("limits", Found::Yes),
            ("two-disks", Found::Seen),
            ("two-supplies", Found::Seen),
            ("watchdog", Found::Seen),
            ("intrusion", Found::Seen),
            ("power-loss", Found::ByHand),
            ("pcr-stable", Found::ByHand),
        ] {
            let (found, sentence) = found(&folder, id);
            assert_eq!(found, expected, "{id}: {sentence}");
            assert_eq!(sentence.is_empty(), expected == Found::ByHand, "{id}");
        }
        let health = Surveyor::new(folder.root.clone()).survey();
        assert!(!is_unfit(&qualify(&catalogue().unwrap().checks, &folder.root, &health)));
    }

    #[test]
    fn what_is_missing_is_no_and_a_must_makes_unfit() {
        let bare = tree(&[]);
        for id in [
            "tpm-2",
            "ecc",
            "limits",
            "two-disks",
            "two-supplies",
            "watchdog",
            "intrusion",
        ] {
            let (answer, sentence) = found(&bare, id);
            assert_eq!(answer, Found::No, "{id}: {sentence}");
            assert!(!sentence.is_empty());
        }
        let health = Surveyor::new(bare.root.clone()).survey();
        assert!(is_unfit(&qualify(&catalogue().unwrap().checks, &bare.root, &health)));

        // One thing after the other is wrong.
        let folder = server();
        folder.write("class/tpm/tpm0/tpm_version_major", "1");
        assert_eq!(found(&folder, "tpm-2").0, Found::No);
        folder.write("class/block/md0/md/degraded", "1");
        let (answer, sentence) = found(&folder, "two-disks");
        assert!(answer == Found::No && sentence.contains("1 of 2 disks"), "{sentence}");
        folder.write("class/hwmon/hwmon0/fan1_input", "900");
        let (answer, sentence) = found(&folder, "limits");
        assert!(
            answer == Found::No && sentence.starts_with("1 of 2 have none"),
            "{sentence}"
        );
    }

    #[test]
    fn a_bank_that_is_off_is_named_and_one_that_is_not_told_is_not_believed() {
        let folder = tree(&[
            ("class/tpm/tpm0/tpm_version_major", "2\n"),
            ("class/tpm/tpm0/pcr-sha1/0", "00"),
        ]);
        let (answer, sentence) = found(&folder, "tpm-2");
        assert!(answer == Found::No && sentence.contains("SHA-256 is off"), "{sentence}");
        let old = tree(&[("class/tpm/tpm0/tpm_version_major", "2\n")]);
        assert_eq!(found(&old, "tpm-2").0, Found::Seen);
    }

    #[test]
    fn a_controller_that_lets_everybody_in_makes_unfit() {
        let channel = |number: u8| Reading::new(Part::Controller, format!("ipmi0 LAN {number}"), "it is off");
        let found = |readings: Vec<Reading>| controller_lan(&Health { readings }).0;
        assert_eq!(found(Vec::new()), Found::ByHand);
        // The kernel's own line of a controller tells nothing of its channels.
        assert_eq!(
            found(vec![Reading::new(Part::Controller, "ipmi0", "one")]),
            Found::ByHand
        );
        assert_eq!(found(vec![channel(1), channel(2)]), Found::Yes);
        let on = channel(2).worse(State::Warning, "it is on");
        assert_eq!(found(vec![channel(1), on.clone()]), Found::Seen);
        assert_eq!(found(vec![on, channel(8).worse(State::Failed, "suite 0")]), Found::No);
    }
}
