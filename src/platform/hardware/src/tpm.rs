//! Families of TPMs, their faults and oddities, and which of them a given TPM has.

use crate::catalogue::{Catalogue, CertificatePlace};
use crate::model::{Memory, PcrBanks};
use crate::version::Version;
use serde::Deserialize;

/// A family: what one maker's TPMs have in common.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// For people.
    pub name: String,
    /// The maker's letters in TCG's registry.
    pub manufacturer: String,
    /// How the vendor's text begins, where a maker has several families.
    #[serde(default)]
    pub model: String,
    /// The maker's number in TCG's registry.
    pub id: u32,
    /// How it is built.
    pub kind: Kind,
    /// How one comes by the certificates of its endorsement keys.
    #[serde(default, rename = "certificate")]
    pub certificates: Vec<CertificatePlace>,
    /// The roots that certify them.
    #[serde(default, rename = "root")]
    pub roots: Vec<Root>,
    /// Which banks of PCRs its models have, as far as a source says.
    #[serde(default)]
    pub pcr_banks: Vec<PcrBanks>,
    /// How much memory its models have for others, as far as a source says.
    #[serde(default)]
    pub memory: Vec<Memory>,
    /// Who says so.
    pub source: String,
}

/// How a TPM is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A chip of its own on the board.
    Discrete,
    /// A program within the processor or chip set.
    Firmware,
    /// Given to a virtual machine by its host.
    Virtual,
    /// An ordinary program.
    Software,
}

impl Kind {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Discrete => "a chip of its own",
            Self::Firmware => "firmware of the processor",
            Self::Virtual => "virtual, given by the host",
            Self::Software => "a program, no hardware",
        }
    }
}

/// A root certificate of a maker. Whom to trust is the auditor's decision; this only says where to get it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// The name in it.
    pub name: String,
    /// Where the maker publishes it.
    pub url: String,
    /// Who says so.
    pub source: String,
}

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affected {
    /// The first.
    pub from: Version,
    /// The last.
    pub through: Version,
}

/// A fault or an oddity.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quirk {
    /// Its name, which never changes its meaning.
    pub id: String,
    /// The makers' letters.
    pub families: Vec<String>,
    /// How the vendor's text begins; empty: every model.
    #[serde(default)]
    pub models: Vec<String>,
    /// Names under which it is known.
    #[serde(default)]
    pub advisories: Vec<String>,
    /// What it touches.
    pub kind: QuirkKind,
    /// Versions that have it; `None`: the version does not tell.
    #[serde(default)]
    pub affected: Option<Vec<Affected>>,
    /// What it is, without a full stop.
    pub sentence: String,
    /// What to do: sentences.
    pub advice: String,
    /// Who says so.
    pub source: String,
}

/// What a quirk touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuirkKind {
    /// Keys in the TPM can come out.
    Keys,
    /// The TPM can stop or be slow.
    Availability,
    /// Its certificate is unusual.
    Certificate,
    /// Somebody at the box can get around it.
    Physical,
}

impl QuirkKind {
    /// The word, for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Availability => "availability",
            Self::Certificate => "certificate",
            Self::Physical => "physical",
        }
    }
}

/// What a TPM says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmMake {
    /// The maker's letters, without filling.
    pub manufacturer: String,
    /// The vendor's text: usually the model.
    pub model: String,
    /// The firmware's version.
    pub firmware: Version,
}

/// Whether a TPM has a quirk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearing {
    /// Its version says so.
    Affected,
    /// Its version does not tell.
    Possible,
}

impl Bearing {
    /// The word, for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Affected => "affected",
            Self::Possible => "possible",
        }
    }
}

/// What is known of one TPM.
#[derive(Debug, Clone)]
pub struct KnownTpm<'a> {
    /// Its family; `None`: not in the catalogue.
    pub family: Option<&'a Family>,
    /// Its banks of PCRs; `None`: no source was found that tells.
    pub banks: Option<&'a PcrBanks>,
    /// Its memory; `None`: the same.
    pub memory: Option<&'a Memory>,
    /// Its quirks, those it has before those it may have.
    pub quirks: Vec<(&'a Quirk, Bearing)>,
}

impl Catalogue {
    /// What is known of a TPM. Of one that says nothing known, nothing.
    pub fn tpm(&self, make: &TpmMake) -> KnownTpm<'_> {
        let manufacturer = make.manufacturer.trim();
        let model = make.model.trim();
        let families = self.families.iter();
        let family = families
            .filter(|family| family.manufacturer == manufacturer && model.starts_with(&family.model))
            .max_by_key(|family| family.model.len());
        let mut quirks: Vec<_> = self
            .quirks
            .iter()
            .filter(|quirk| quirk.families.iter().any(|family| family == manufacturer))
            .filter(|quirk| quirk.models.is_empty() || quirk.models.iter().any(|start| model.starts_with(start)))
            .filter_map(|quirk| Some((quirk, bearing(quirk, make.firmware)?)))
            .collect();
        quirks.sort_by_key(|(_, bearing)| *bearing == Bearing::Possible);
        let banks = family.into_iter().flat_map(|family| &family.pcr_banks);
        let banks = banks
            .filter(|banks| model.starts_with(&banks.model))
            .max_by_key(|banks| banks.model.len());
        let memory = family.into_iter().flat_map(|family| &family.memory);
        let memory = memory
            .filter(|memory| model.starts_with(&memory.model))
            .max_by_key(|memory| memory.model.len());
        KnownTpm {
            family,
            banks,
            memory,
            quirks,
        }
    }
}

/// `None`: this version does not have it.
fn bearing(quirk: &Quirk, version: Version) -> Option<Bearing> {
    let Some(affected) = &quirk.affected else {
        return Some(Bearing::Possible);
    };
    affected
        .iter()
        .any(|range| (range.from..=range.through).contains(&version))
        .then_some(Bearing::Affected)
}

impl std::fmt::Display for TpmMake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (manufacturer, model) = (self.manufacturer.trim(), self.model.trim());
        write!(f, "{manufacturer} {model}, firmware {}", self.firmware)
    }
}

impl KnownTpm<'_> {
    /// The family with how it is built, for people.
    pub fn name(&self) -> String {
        match self.family {
            Some(family) => format!("{} ({})", family.name, family.kind.words()),
            None => "of a family that is not in the catalogue".to_owned(),
        }
    }

    /// One sentence for each quirk: what it is, its advisories, what to do.
    pub fn sentences(&self) -> Vec<String> {
        let sentence = |(quirk, bearing): &(&Quirk, Bearing)| {
            let head = match bearing {
                Bearing::Affected => "This TPM's version is affected",
                Bearing::Possible => "Known of this family",
            };
            let names = if quirk.advisories.is_empty() {
                String::new()
            } else {
                format!(" [{}]", quirk.advisories.join(", "))
            };
            format!("{head}: {}{names}. {}", quirk.sentence, quirk.advice)
        };
        self.quirks.iter().map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Bearing, Kind, TpmMake};
    use crate::catalogue::catalogue;

    fn known(manufacturer: &str, model: &str, firmware: &str) -> (Option<Kind>, Vec<(String, Bearing)>) {
        let make = TpmMake {
            manufacturer: manufacturer.to_owned(),
            model: model.to_owned(),
            firmware: firmware.parse().unwrap(),
        };
        let known = catalogue().unwrap().tpm(&make);
        let quirks = known.quirks.iter().map(|(quirk, bearing)| (quirk.id.clone(), *bearing));
        assert_eq!(known.sentences().len(), known.quirks.len());
        (known.family.map(|family| family.kind), quirks.collect())
    }

    fn has(quirks: &[(String, Bearing)], id: &str) -> Option<Bearing> {
        quirks.iter().find(|(name, _)| name == id).map(|(_, bearing)| *bearing)
    }

    #[test]
    fn versions_decide_where_they_can() {
        let (kind, old) = known("IFX", "SLB9670", "7.61.2785.0");
        assert_eq!(kind, Some(Kind::Discrete));
        assert_eq!(has(&old, "roca"), Some(Bearing::Affected));
        assert_eq!(old.first().unwrap().1, Bearing::Affected, "what it has comes first");
        let (_, new) = known("IFX", "SLB9670", "7.85.4555.0");
        assert_eq!(has(&new, "roca"), None);
        assert_eq!(has(&new, "interposer"), Some(Bearing::Possible));
        assert_eq!(
            has(&known("IFX", "SLB9672", "15.22.0.0").1, "out-of-bounds-read-infineon"),
            Some(Bearing::Affected)
        );
        assert_eq!(
            has(&known("IFX", "SLB9672", "15.23.0.0").1, "out-of-bounds-read-infineon"),
            None
        );

        assert_eq!(
            has(&known("NTC", "NPCT75x", "7.2.1.0").1, "tpm-fail-nuvoton"),
            Some(Bearing::Affected)
        );
        assert_eq!(has(&known("NTC", "NPCT75x", "7.2.2.0").1, "tpm-fail-nuvoton"), None);
        assert_eq!(has(&known("NTC", "NPCT65x", "7.2.1.0").1, "tpm-fail-nuvoton"), None);
    }

    #[test]
    fn families_are_told_apart() {
        assert_eq!(known("VMW", "VMware TPM2", "1.0.0.0").0, Some(Kind::Virtual));
        assert_eq!(known("INTC", "Intel", "403.1.0.0").0, Some(Kind::Firmware));
        assert_eq!(known("AMD", "AMD", "3.58.0.5").0, Some(Kind::Firmware));
        assert_eq!(known("IBM", "SW   TPM", "8217.4131.22.54").0, Some(Kind::Software));
        assert_eq!(known("IBM", "", "1.0.0.0").0, Some(Kind::Discrete));
        assert_eq!(known("STM ", "", "1.769.0.0").0, Some(Kind::Discrete));
        assert_eq!(known("????", "", "0.0.0.0"), (None, Vec::new()));
    }
}
