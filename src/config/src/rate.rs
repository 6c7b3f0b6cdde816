//! How often something may happen: `"10/s burst 100"`.

use crate::reader::Reader;
use crate::value::{Value, quoted, read_text};
use toml::Spanned;
use toml::de::DeValue;

/// The time that a rate counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateUnit {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
}

impl RateUnit {
    const ALL: [(Self, &'static str, f64); 3] = [
        (Self::Second, "s", 1.0),
        (Self::Minute, "m", 60.0),
        (Self::Hour, "h", 3600.0),
    ];
}

/// So many times in a unit of time, and so many at once. Neither is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many times in a unit.
    pub times: u32,
    /// The unit.
    pub unit: RateUnit,
    /// How many at once after a pause.
    pub burst: u32,
}

impl Rate {
    /// How many times a second, on average.
    pub fn per_second(self) -> f64 {
        let seconds = RateUnit::ALL
            .iter()
            .find(|(unit, ..)| *unit == self.unit)
            .map_or(1.0, |(.., seconds)| *seconds);
        f64::from(self.times) / seconds
    }

    fn parse(text: &str) -> Option<Self> {
        let (rate, burst) = text.split_once(" burst ")?;
        let (times, name) = rate.split_once('/')?;
        let (unit, ..) = RateUnit::ALL.iter().find(|(_, known, _)| *known == name)?;
        let rate = Self {
            times: times.parse().ok()?,
            unit: *unit,
            burst: burst.trim().parse().ok()?,
        };
        (rate.times > 0 && rate.burst > 0).then_some(rate)
    }
}

impl Value for Rate {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("a rate such as \"10/s burst 100\"", value, key, reader, |text| {
            Self::parse(text).ok_or_else(|| {
                format!(
                    "{} is not a rate: write times/s, /m or /h and how many at once, such as \"10/s burst 100\"",
                    quoted(text)
                )
            })
        })
    }

    fn show(&self) -> Option<String> {
        let name = RateUnit::ALL
            .iter()
            .find(|(unit, ..)| *unit == self.unit)
            .map_or("s", |(_, name, _)| *name);
        Some(quoted(&format!("{}/{name} burst {}", self.times, self.burst)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Rate, RateUnit};

    #[test]
    fn rates_have_times_unit_and_burst() {
        let rate = Rate {
            times: 30,
            unit: RateUnit::Minute,
            burst: 20,
        };
        assert_eq!(Rate::parse("30/m burst 20"), Some(rate));
        assert!((rate.per_second() - 0.5).abs() < 1e-9);
        for bad in [
            "",
            "30",
            "30/m",
            "30/d burst 1",
            "0/s burst 1",
            "1/s burst 0",
            "-1/s burst 1",
            "1/sburst1",
        ] {
            assert_eq!(Rate::parse(bad), None, "{bad}");
        }
    }
}
