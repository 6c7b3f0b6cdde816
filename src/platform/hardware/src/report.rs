//! What is known of a TPM, and how the hardware is, to be shown: sentences for people, and the same for programs.

use crate::catalogue::catalogue;
use crate::health::{Health, Reading};
use crate::model::Memory;
use crate::tpm::{Bearing, Quirk, TpmMake};
use serde::Serialize;

/// What is known of one TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TpmReport {
    /// The maker's letters.
    pub manufacturer: String,
    /// The model.
    pub model: String,
    /// The firmware's version: four numbers.
    pub firmware: String,
    /// The family's name; `None`: not in the catalogue.
    pub family: Option<&'static str>,
    /// Faults and oddities, those it has before those it may have.
    pub quirks: Vec<QuirkReport>,
    /// All of it for people, a line each.
    pub sentences: Vec<String>,
}

/// A fault or an oddity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuirkReport {
    /// Its name.
    pub id: &'static str,
    /// `affected`: the version says so; `possible`: it does not tell.
    pub bearing: &'static str,
    /// What it touches: `keys`, `availability`, `certificate`, `physical`.
    pub kind: &'static str,
    /// Names under which it is known.
    pub advisories: &'static [String],
    /// What it is.
    pub sentence: &'static str,
    /// What to do.
    pub advice: &'static str,
    /// Who says so.
    pub source: &'static str,
}

impl TpmReport {
    /// Looks everything up.
    pub fn of(make: &TpmMake) -> Self {
        let mut report = Self {
            manufacturer: make.manufacturer.trim().to_owned(),
            model: make.model.trim().to_owned(),
            firmware: make.firmware.to_string(),
            family: None,
            quirks: Vec::new(),
            sentences: Vec::new(),
        };
        match catalogue() {
            Ok(catalogue) => {
                let known = catalogue.tpm(make);
                report.family = known.family.map(|family| family.name.as_str());
                report.quirks = known
                    .quirks
                    .iter()
                    .map(|(quirk, bearing)| describe(quirk, *bearing))
                    .collect();
                report.sentences.push(format!("The TPM is {make}: {}.", known.name()));
                report
                    .sentences
                    .extend(known.banks.map(|banks| format!("{}.", banks.sentence())));
                let memory = known.memory.and_then(Memory::sentence);
                report.sentences.extend(memory.map(|sentence| format!("{sentence}.")));
                report.sentences.extend(known.sentences());
            }
            Err(error) => report
                .sentences
                .push(format!("The TPM is {make}; nothing is known of it: {error}")),
        }
        report
    }
}

fn describe(quirk: &'static Quirk, bearing: Bearing) -> QuirkReport {
    QuirkReport {
        id: &quirk.id,
        bearing: bearing.word(),
        kind: quirk.kind.word(),
        advisories: &quirk.advisories,
        sentence: &quirk.sentence,
        advice: &quirk.advice,
        source: &quirk.source,
    }
}

/// How the hardware is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthReport {
    /// `well`, `warning`, `failed`; `unknown` before anything was read.
    pub state: &'static str,
    /// What is not well, a line each, the worst first.
    pub problems: Vec<String>,
    /// Everything.
    pub readings: Vec<ReadingReport>,
}

/// One reading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReadingReport {
    /// Of what: `temperature`, `fan` and so on.
    pub part: &'static str,
    /// Which one.
    pub name: String,
    /// The number, if it is one.
    pub value: Option<f64>,
    /// The number's unit, as people write it.
    pub unit: Option<&'static str>,
    /// The limit that the hardware tells.
    pub limit: Option<f64>,
    /// `well`, `warning`, `failed`.
    pub state: &'static str,
    /// More; why, where it is not well.
    pub sentence: String,
    /// The whole for people.
    pub line: String,
}

impl HealthReport {
    /// Of these readings.
    pub fn of(health: &Health) -> Self {
        let unread = health.readings.is_empty();
        Self {
            state: if unread { "unknown" } else { health.state().word() },
            problems: health.problems().iter().map(ToString::to_string).collect(),
            readings: health.readings.iter().map(ReadingReport::of).collect(),
        }
    }
}

impl ReadingReport {
    fn of(reading: &Reading) -> Self {
        Self {
            part: reading.part.word(),
            name: reading.name.clone(),
            value: reading.value.map(|(value, _)| value),
            unit: reading.value.map(|(_, unit)| unit.symbol()),
            limit: reading.limit,
            state: reading.state.word(),
            sentence: reading.sentence.clone(),
            line: reading.to_string(),
        }
    }
}
