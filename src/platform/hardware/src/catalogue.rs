//! The files `hardware/*.toml`: read into the program when it is built, parsed once when somebody asks.

use crate::reference::{KnownEvent, KnownValue};
use crate::tpm::{Family, Quirk};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::LazyLock;

const TPM: &str = include_str!("../../../../hardware/tpm.toml");
const PCR: &str = include_str!("../../../../hardware/pcr.toml");
const QUALIFICATION: &str = include_str!("../../../../hardware/qualification.toml");

/// PCRs of the PC Client profile.
const PCRS: usize = 24;

/// Why the files cannot be used. A test keeps those of this program free of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogueError {
    /// Not TOML of the expected form.
    #[error("hardware/{file}.toml: {message}")]
    Malformed {
        /// Which file.
        file: &'static str,
        /// Where and why.
        message: String,
    },
    /// An entry without a source, twice the same, or one that refers to nothing.
    #[error("hardware/{file}.toml: {entry}: {problem}")]
    Entry {
        /// Which file.
        file: &'static str,
        /// Which entry.
        entry: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// An NV index that may have a certificate of an endorsement key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateIndex {
    /// The index.
    pub index: u32,
    /// Of which key.
    pub key: String,
    /// Who says so.
    pub source: String,
}

/// How one comes by the certificate of a family's endorsement keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificatePlace {
    /// Where it is.
    pub place: Place,
    /// The maker's server.
    pub url: Option<String>,
    /// How to find it there.
    pub how: String,
    /// Who says so.
    pub source: String,
}

/// Where certificates are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the TPM's own memory.
    Nv,
    /// On a server of the maker.
    Download,
}

/// A PCR.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pcr {
    /// 0 to 23.
    pub number: u8,
    /// As systemd calls it.
    pub name: String,
    /// What is measured into it.
    pub contains: String,
    /// What usually changes it: sentences.
    pub moved_by: String,
    /// Whether the next value can be computed in advance.
    pub predictable: String,
    /// Who says so.
    pub source: Vec<String>,
}

/// One thing to check before a server is trusted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its name.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// How it is found out.
    pub how: String,
    /// Why it counts.
    pub why: String,
    /// Whether a server without it is unfit.
    pub needed: Needed,
    /// What `lamchat health --here --qualify` looks at by itself.
    pub automatic: Option<Automatic>,
    /// Who says so.
    pub source: String,
}

/// What the program looks at by itself ([`crate::qualify`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Automatic {
    /// A TPM 2.0 and its banks of PCRs.
    Tpm,
    /// Memory controllers that count errors.
    Memory,
    /// Disks that mirror each other.
    Mirrors,
    /// Power supplies.
    Power,
    /// The watchdog.
    Watchdog,
    /// The switch at the lid.
    Intrusion,
    /// Temperatures and fans, and their limits.
    Sensors,
    /// The management controller's LAN channels, where it was asked.
    ControllerLan,
}

/// How much a check counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Needed {
    /// Without it the server is unfit.
    Must,
    /// Without it the server is worse.
    Should,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// Where endorsement key certificates lie in a TPM.
    pub certificate_indices: Vec<CertificateIndex>,
    /// Families of TPMs.
    pub families: Vec<Family>,
    /// Faults and oddities of TPMs.
    pub quirks: Vec<Quirk>,
    /// Ascending, 0 to 23.
    pub pcrs: Vec<Pcr>,
    /// Events that every firmware measures alike.
    pub events: Vec<KnownEvent>,
    /// Values of PCRs that follow from a rule.
    pub values: Vec<KnownValue>,
    /// How to qualify a server.
    pub checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TpmFile {
    certificate_index: Vec<CertificateIndex>,
    family: Vec<Family>,
    quirk: Vec<Quirk>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PcrFile {
    pcr: Vec<Pcr>,
    event: Vec<KnownEvent>,
    value: Vec<KnownValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QualificationFile {
    check: Vec<Check>,
}

impl Catalogue {
    /// Reads the three files.
    ///
    /// # Errors
    /// See [`CatalogueError`].
    pub fn parse(tpm: &str, pcr: &str, qualification: &str) -> Result<Self, CatalogueError> {
        let tpm: TpmFile = file("tpm", tpm)?;
        let pcr: PcrFile = file("pcr", pcr)?;
        let QualificationFile { check: checks } = file("qualification", qualification)?;
        let catalogue = Self {
            certificate_indices: tpm.certificate_index,
            families: tpm.family,
            quirks: tpm.quirk,
            pcrs: pcr.pcr,
            events: pcr.event,
            values: pcr.value,
            checks,
        };
        catalogue.check()?;
        Ok(catalogue)
    }

    /// What is known of `number`.
    pub fn pcr(&self, number: u8) -> Option<&Pcr> {
        self.pcrs.get(usize::from(number))
    }

    /// Every entry has a source and is there once; what refers to something refers to something that is there.
    fn check(&self) -> Result<(), CatalogueError> {
        let mut seen = HashSet::new();
        let mut entry = |file: &'static str, entry: String, sources: &[&String]| {
            let problem = if sources.is_empty() || sources.iter().any(|source| source.trim().is_empty()) {
                "it has no source"
            } else if !seen.insert((file, entry.clone())) {
                "it is there twice"
            } else {
                return Ok(());
            };
            Err(CatalogueError::Entry { file, entry, problem })
        };
        for index in &self.certificate_indices {
            entry("tpm", format!("index {:#010X}", index.index), &[&index.source])?;
        }
        for family in &self.families {
            entry("tpm", family.name.clone(), &[&family.source])?;
            for root in &family.roots {
                entry("tpm", root.name.clone(), &[&root.source])?;
            }
            for place in &family.certificates {
                entry("tpm", format!("{}: {:?}", family.name, place.place), &[&place.source])?;
            }
            for banks in &family.pcr_banks {
                let name = format!("{}, PCR banks of {:?}", family.name, banks.model);
                entry("tpm", name.clone(), &[&banks.source])?;
                if banks.digests.is_empty() {
                    return Err(problem("tpm", &name, "it names no bank"));
                }
            }
            for memory in &family.memory {
                let name = format!("{}, memory of {:?}", family.name, memory.model);
                entry("tpm", name.clone(), &[&memory.source])?;
                if memory.sentence().is_none() {
                    return Err(problem("tpm", &name, "it tells nothing"));
                }
            }
            // TCG's registry: letters, filled up with spaces or zeros.
            let mut letters: Vec<u8> = family.id.to_be_bytes().to_vec();
            letters.retain(u8::is_ascii_alphanumeric);
            if letters != family.manufacturer.as_bytes() {
                return Err(problem("tpm", &family.name, "its number and its letters differ"));
            }
        }
        for quirk in &self.quirks {
            entry("tpm", quirk.id.clone(), &[&quirk.source])?;
            let known = |name: &String| self.families.iter().any(|family| family.manufacturer == *name);
            if quirk.families.is_empty() || !quirk.families.iter().all(known) {
                return Err(problem("tpm", &quirk.id, "it is of a family that is not there"));
            }
            let backwards =
                |affected: &Vec<crate::tpm::Affected>| affected.iter().any(|range| range.from > range.through);
            if quirk.affected.as_ref().is_some_and(backwards) {
                return Err(problem("tpm", &quirk.id, "a range of versions ends before it begins"));
            }
        }
        for (number, pcr) in self.pcrs.iter().enumerate() {
            entry("pcr", pcr.name.clone(), &pcr.source.iter().collect::<Vec<_>>())?;
            if usize::from(pcr.number) != number {
                return Err(problem(
                    "pcr",
                    &pcr.name,
                    "the numbers do not ascend from 0 without a gap",
                ));
            }
        }
        if self.pcrs.len() != PCRS {
            return Err(problem("pcr", "the whole", "it does not have 24 PCRs"));
        }
        for event in &self.events {
            entry("pcr", event.name.clone(), &event.source.iter().collect::<Vec<_>>())?;
            if event.measured().is_none() {
                return Err(problem("pcr", &event.name, "it needs `data` in hexadecimal, or `text`"));
            }
        }
        for value in &self.values {
            entry("pcr", value.name.clone(), &value.source.iter().collect::<Vec<_>>())?;
            let is_known = |name: &String| self.events.iter().any(|event| event.name == *name);
            if !value.events.iter().all(is_known) {
                return Err(problem("pcr", &value.name, "it is made of an event that is not there"));
            }
            if value.pcrs.is_empty() || value.pcrs.iter().any(|pcr| self.pcr(*pcr).is_none()) {
                return Err(problem("pcr", &value.name, "it is of a PCR that is not there"));
            }
        }
        for check in &self.checks {
            entry("qualification", check.id.clone(), &[&check.source])?;
        }
        Ok(())
    }
}

fn problem(file: &'static str, entry: &str, problem: &'static str) -> CatalogueError {
    CatalogueError::Entry {
        file,
        entry: entry.to_owned(),
        problem,
    }
}

fn file<T: serde::de::DeserializeOwned>(file: &'static str, text: &str) -> Result<T, CatalogueError> {
    toml::from_str(text).map_err(|error| CatalogueError::Malformed {
        file,
        message: error.to_string(),
    })
}

/// What this program was built with.
///
/// # Errors
/// None in a program that was tested: a test parses the same files.
pub fn catalogue() -> Result<&'static Catalogue, &'static CatalogueError> {
    static PARSED: LazyLock<Result<Catalogue, CatalogueError>> =
        LazyLock::new(|| Catalogue::parse(TPM, PCR, QUALIFICATION));
    PARSED.as_ref()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Catalogue, CatalogueError, PCR, QUALIFICATION, TPM, catalogue};

    #[test]
    fn the_files_of_this_program_are_whole() {
        let catalogue = catalogue().unwrap();
        assert_eq!(catalogue.pcrs.len(), 24);
        assert_eq!(catalogue.pcr(7).unwrap().name, "secure-boot-policy");
        assert!(catalogue.pcr(24).is_none());
        assert!(catalogue.families.len() >= 8 && catalogue.quirks.len() >= 10 && catalogue.checks.len() >= 10);
        assert!(
            catalogue
                .certificate_indices
                .iter()
                .any(|index| index.index == 0x01C0_0002)
        );
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let reason = |tpm: &str, pcr: &str| match Catalogue::parse(tpm, pcr, QUALIFICATION) {
            Ok(_) => "it was taken".to_owned(),
            Err(CatalogueError::Malformed { file, .. }) => file.to_owned(),
            Err(CatalogueError::Entry { problem, .. }) => problem.to_owned(),
        };
        let changed = |from: &str, to: &str| {
            assert!(TPM.contains(from), "{from}");
            reason(&TPM.replacen(from, to, 1), PCR)
        };
        assert_eq!(reason("", PCR), "tpm");
        assert_eq!(changed("kind = \"discrete\"", "kind = \"good\""), "tpm");
        assert_eq!(changed("kind = \"discrete\"", "kind = \"discrete\"\nmore = 1"), "tpm");
        assert_eq!(changed("source = \"swtpm(8)\"", "source = \" \""), "it has no source");
        assert_eq!(changed("id = \"roca\"", "id = \"interposer\""), "it is there twice");
        assert_eq!(
            changed("id = 0x49465800", "id = 0x49465900"),
            "its number and its letters differ"
        );
        assert_eq!(
            changed("families = [\"IFX\"]", "families = [\"XXX\"]"),
            "it is of a family that is not there"
        );
        assert_eq!(
            changed("from = \"7.2.0.1\"", "from = \"8.0.0.0\""),
            "a range of versions ends before it begins"
        );
        assert_eq!(
            reason(TPM, &PCR.replacen("number = 3\n", "number = 2\n", 1)),
            "the numbers do not ascend from 0 without a gap"
        );
        let last = PCR.find("[[pcr]]\nnumber = 23").unwrap();
        let end = PCR.find("# --- Digests of events").unwrap();
        assert_eq!(
            reason(TPM, &[&PCR[..last], &PCR[end..]].concat()),
            "it does not have 24 PCRs"
        );
        let changed = |from: &str, to: &str| {
            assert!(PCR.contains(from), "{from}");
            reason(TPM, &PCR.replacen(from, to, 1))
        };
        assert_eq!(
            changed("data = \"00000000\"", "data = \"0000000\""),
            "it needs `data` in hexadecimal, or `text`"
        );
        assert_eq!(
            changed("events = [\"separator\"]", "events = [\"x\"]"),
            "it is made of an event that is not there"
        );
        assert_eq!(changed("pcrs = [4]", "pcrs = [24]"), "it is of a PCR that is not there");
        assert_eq!(changed("sha256 = \"df3f", "sha256 = \"xx3f"), "pcr");
        assert_eq!(changed("EV_SEPARATOR\"]", "\", \"\"]"), "it has no source");
    }
}
