//! What models of a family have of their own, as far as a source says: banks of PCRs, memory.

use serde::Deserialize;

/// The banks of PCRs of some models, each 24 PCRs of one digest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcrBanks {
    /// How the vendor's text begins; empty: every model.
    #[serde(default)]
    pub model: String,
    /// The digests, as TCG spells them.
    pub digests: Vec<String>,
    /// Whether several can be on at once; if not, the firmware's setup chooses one. `None`: no source says.
    pub together: Option<bool>,
    /// Who says so.
    pub source: String,
}

impl PcrBanks {
    /// For people, without a full stop.
    pub fn sentence(&self) -> String {
        let digests = self.digests.join(", ");
        match self.together {
            Some(true) => format!("Its banks of PCRs are {digests}, and several can be on at once"),
            Some(false) => {
                format!("Its banks of PCRs are {digests}, one at a time: the firmware's setup has to choose SHA-256")
            }
            None => format!("Its banks of PCRs are {digests}; no source says whether several can be on at once"),
        }
    }
}

/// The non-volatile memory of some models that is not the maker's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// How the vendor's text begins; empty: every model.
    #[serde(default)]
    pub model: String,
    /// How much there is, as the source writes it.
    pub size: Option<String>,
    /// How many counters there can be; `None`: as many as fit, or no source says.
    pub counters: Option<u32>,
    /// How often it can be written.
    pub writes: Option<u32>,
    /// Who says so.
    pub source: String,
}

impl Memory {
    /// For people, without a full stop; `None`: the entry tells nothing.
    pub fn sentence(&self) -> Option<String> {
        let told = [
            self.size.as_ref().map(|size| format!("has {size} for others")),
            // A slot needs one, and one more while it is sealed anew.
            self.counters.map(|count| {
                format!("holds {count} counters, of which each `tpm` slot needs one, and two while it is bound anew")
            }),
            self.writes.map(|writes| format!("takes {writes} writes")),
        ];
        let told: Vec<String> = told.into_iter().flatten().collect();
        (!told.is_empty()).then(|| format!("Its memory {}", told.join(", and ")))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Memory, PcrBanks};
    use crate::catalogue::catalogue;
    use crate::tpm::TpmMake;

    #[test]
    fn banks_are_told_of_the_models_that_a_source_names() {
        let banks = |manufacturer: &str, model: &str| {
            let make = TpmMake {
                manufacturer: manufacturer.to_owned(),
                model: model.to_owned(),
                firmware: "1.0.0.0".parse().unwrap(),
            };
            catalogue().unwrap().tpm(&make).banks.map(PcrBanks::sentence)
        };
        assert!(banks("IFX", "SLB9670").unwrap().contains("several can be on at once"));
        assert!(banks("IFX", "SLB9672").unwrap().contains("one at a time"));
        assert!(banks("IFX", "SLB9673").unwrap().contains("no source says"));
        assert!(banks("VMW", "VMware").unwrap().contains("SHA-512"));
        assert_eq!(banks("IFX", "SLB9999"), None);
        assert_eq!(banks("NTC", "NPCT75x"), None);
    }

    #[test]
    fn memory_is_told_of_the_models_that_a_source_names() {
        let memory = |manufacturer: &str, model: &str| {
            let make = TpmMake {
                manufacturer: manufacturer.to_owned(),
                model: model.to_owned(),
                firmware: "1.0.0.0".parse().unwrap(),
            };
            catalogue().unwrap().tpm(&make).memory.and_then(Memory::sentence)
        };
        let told = memory("IFX", "SLB9670").unwrap();
        assert!(told.contains("6,962 bytes") && told.contains("8 counters"), "{told}");
        assert_eq!(memory("IFX", "SLB9672").unwrap(), "Its memory has 51 kByte for others");
        assert!(memory("STM", "ST33GTPMISPI").unwrap().contains("500000 writes"));
        assert_eq!(memory("NTC", "NPCT75x"), None);
    }
}
