//! What was read of one part.

use serde::{Deserialize, Serialize};

/// What a reading is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Degrees.
    Temperature,
    /// Fans.
    Fan,
    /// Voltages and currents.
    Voltage,
    /// Power supplies, their power, uninterruptible supplies, batteries.
    Power,
    /// The lid.
    Intrusion,
    /// Memory with error correction.
    Memory,
    /// PCI Express.
    Bus,
    /// Disks.
    Disk,
    /// Disks that mirror each other.
    Mirror,
    /// Network links and bonds.
    Network,
    /// The TPM.
    Tpm,
    /// The hardware watchdog.
    Watchdog,
    /// The management controller.
    Controller,
}

impl Part {
    /// The word, for JSON and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::Fan => "fan",
            Self::Voltage => "voltage",
            Self::Power => "power",
            Self::Intrusion => "intrusion",
            Self::Memory => "memory",
            Self::Bus => "bus",
            Self::Disk => "disk",
            Self::Mirror => "mirror",
            Self::Network => "network",
            Self::Tpm => "tpm",
            Self::Watchdog => "watchdog",
            Self::Controller => "controller",
        }
    }
}

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Within its limits, or without any.
    Well,
    /// Somebody should look at it soon.
    Warning,
    /// It has failed, or is about to.
    Failed,
}

impl State {
    /// The word, for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// °C.
    Celsius,
    /// Revolutions a minute.
    Rpm,
    /// V.
    Volt,
    /// A.
    Ampere,
    /// W.
    Watt,
    /// A hundredth.
    Percent,
    /// How many.
    Count,
    /// Mbit/s.
    MegabitPerSecond,
}

impl Unit {
    /// As people write it.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Celsius => "°C",
            Self::Rpm => "rpm",
            Self::Volt => "V",
            Self::Ampere => "A",
            Self::Watt => "W",
            Self::Percent => "%",
            Self::Count => "",
            Self::MegabitPerSecond => "Mbit/s",
        }
    }
}

/// One reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Of what.
    pub part: Part,
    /// Which one.
    pub name: String,
    /// The value, if it is a number.
    pub value: Option<(f64, Unit)>,
    /// The limit that the hardware tells, in the value's unit: the one that was passed, or the next.
    pub limit: Option<f64>,
    /// How it is.
    pub state: State,
    /// More, without a full stop; why, where it is not well.
    pub sentence: String,
}

impl Reading {
    /// A part that is well, without a number.
    pub fn new(part: Part, name: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self {
            part,
            name: name.into(),
            value: None,
            limit: None,
            state: State::Well,
            sentence: sentence.into(),
        }
    }

    /// With a number.
    #[must_use]
    pub fn value(mut self, value: f64, unit: Unit) -> Self {
        self.value = Some((value, unit));
        self
    }

    /// Worse: a state that is better than the one it has changes nothing.
    #[must_use]
    pub fn worse(mut self, state: State, sentence: impl Into<String>) -> Self {
        if state > self.state {
            self.state = state;
            self.sentence = sentence.into();
        }
        self
    }
}

/// One line for people.
impl std::fmt::Display for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some((value, unit)) = self.value {
            write!(f, ": {} {}", short(value), unit.symbol())?;
            if let Some(limit) = self.limit {
                write!(f, " (limit {})", short(limit))?;
            }
        }
        if self.sentence.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.sentence)
        }
    }
}

/// As few digits as it takes.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// All readings of one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// By part, then by name.
    pub readings: Vec<Reading>,
}

impl Health {
    /// With readings of another reader.
    #[must_use]
    pub fn with(mut self, others: impl IntoIterator<Item = Reading>) -> Self {
        self.readings.extend(others);
        self.readings
            .sort_by(|one, other| (one.part, &one.name).cmp(&(other.part, &other.name)));
        self
    }

    /// The worst state; of a machine that tells nothing: well.
    pub fn state(&self) -> State {
        let states = self.readings.iter().map(|reading| reading.state);
        states.max().unwrap_or(State::Well)
    }

    /// What is not well, the worst first.
    pub fn problems(&self) -> Vec<&Reading> {
        let mut problems: Vec<&Reading> = self
            .readings
            .iter()
            .filter(|reading| reading.state != State::Well)
            .collect();
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.state));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::{Health, Part, Reading, State, Unit};

    #[test]
    fn readings_are_lines_and_the_worst_comes_first() {
        let cool = Reading::new(Part::Temperature, "cpu", "").value(41.5, Unit::Celsius);
        assert_eq!(cool.to_string(), "cpu: 41.5 °C");
        let mut hot = cool.clone().worse(State::Warning, "too warm");
        hot.limit = Some(40.0);
        assert_eq!(hot.to_string(), "cpu: 41.5 °C (limit 40): too warm");
        assert_eq!(hot.clone().worse(State::Well, "no"), hot);
        let dead = Reading::new(Part::Mirror, "md0", "").worse(State::Failed, "a disk is missing");
        let health = Health {
            readings: vec![cool, hot.clone(), dead.clone()],
        };
        assert_eq!(health.state(), State::Failed);
        assert_eq!(health.problems(), [&dead, &hot]);
        assert_eq!(Health::default().state(), State::Well);
    }
}
