//! How the hardware is: for `lamchat health` and `/metrics`. Somebody else reads it, from time to time.

use crate::{Admin, AdminError, audit, route};
use arc_swap::ArcSwap;
use lamchat_hardware::{Health, Part, Reading, State};
use lamchat_http::{Metrics, Request};
use lamchat_notices::{Alarm, Level};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::{Value, json};
use std::sync::Arc;

/// The most readings that process 1 may tell.
const READINGS_MAX: usize = 1024;
/// Longest sentence about the configuration.
const SENTENCE_BYTES_MAX: usize = 512;
/// After this long without news they are not believed any more.
const BELIEVED_MS: u64 = 5 * 60 * 1000;

/// The latest readings.
pub type Latest = Arc<ArcSwap<Health>>;

/// What process 1 told.
#[derive(Debug)]
pub struct Told {
    at_ms: u64,
    readings: Vec<Reading>,
    configuration: Option<String>,
}

impl Told {
    /// The readings; a warning instead of old ones.
    pub fn readings(&self, now_ms: u64) -> Vec<Reading> {
        if now_ms.saturating_sub(self.at_ms) <= BELIEVED_MS {
            return self.readings.clone();
        }
        let sentence = "process 1 has not told for five minutes how disks and the management controller are";
        vec![Reading::new(Part::Controller, "process 1", "").worse(State::Warning, sentence)]
    }

    /// Which version of the box's configuration is in effect, for administrators.
    pub(crate) fn configuration(&self) -> Alarm {
        let well = "the newest version of the box's configuration is in effect";
        let (level, sentence) = match &self.configuration {
            Some(sentence) => (Level::Warning, sentence.as_str()),
            None => (Level::Well, well),
        };
        Alarm::new("box/configuration", level, sentence)
    }
}

#[derive(serde::Deserialize)]
struct Telling {
    readings: Vec<Reading>,
    /// Why a former version of the box's configuration is in effect, if one is.
    #[serde(default)]
    configuration: Option<String>,
}

/// Takes what process 1 of the box read from disks and the management controller, which only root may ask.
pub async fn tell(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    audit::check_box(&request)?;
    let Telling {
        readings,
        configuration,
    } = route::parse(&request)?;
    if readings.len() > READINGS_MAX {
        return Err(AdminError::invalid(format!(
            "There are more than {READINGS_MAX} readings"
        )));
    }
    let is_sentence = |text: &String| text.len() <= SENTENCE_BYTES_MAX && !text.chars().any(char::is_control);
    if !configuration.as_ref().is_none_or(is_sentence) {
        return Err(AdminError::invalid("That is no sentence about the configuration"));
    }
    let at_ms = admin.now_ms();
    admin.told.store(Some(Arc::new(Told {
        at_ms,
        readings,
        configuration,
    })));
    admin.told_news.notify_one();
    Ok(json!({}))
}

/// Adds what the metrics say about hardware. Once.
pub(crate) fn register(latest: &Latest, metrics: &Metrics) {
    let readings = Readings(Arc::clone(latest));
    metrics.register(|registry| registry.register_collector(Box::new(readings)));
}

#[derive(Debug)]
struct Readings(Latest);

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let health = self.0.load();
        let mut values = encoder.encode_descriptor(
            "hardware_value",
            "What a sensor tells, in the unit of its label",
            None,
            MetricType::Gauge,
        )?;
        for reading in &health.readings {
            if let Some((value, unit)) = reading.value {
                let labels = [
                    ("part", reading.part.word()),
                    ("name", reading.name.as_str()),
                    ("unit", unit.symbol()),
                ];
                ConstGauge::new(value).encode(values.encode_family(&labels)?)?;
            }
        }
        let mut states = encoder.encode_descriptor(
            "hardware_state",
            "How a part of the hardware is: 0 well, 1 warning, 2 failed",
            None,
            MetricType::Gauge,
        )?;
        for reading in &health.readings {
            let state: i64 = match reading.state {
                State::Well => 0,
                State::Warning => 1,
                State::Failed => 2,
            };
            let labels = [("part", reading.part.word()), ("name", reading.name.as_str())];
            ConstGauge::new(state).encode(states.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::{BELIEVED_MS, Latest, Level, Readings, Told};
    use lamchat_hardware::{Health, HealthReport, Part, Reading, State, Unit};
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[test]
    fn old_news_are_not_believed() {
        let readings = vec![Reading::new(Part::Disk, "sda", "")];
        let told = Told {
            at_ms: 7,
            readings,
            configuration: None,
        };
        assert_eq!(told.readings(7 + BELIEVED_MS)[0].name, "sda");
        let old = told.readings(8 + BELIEVED_MS);
        assert_eq!((old.len(), old[0].state), (1, State::Warning));
    }

    #[test]
    fn a_former_configuration_is_an_alarm() {
        let told = |configuration: Option<&str>| Told {
            at_ms: 7,
            readings: Vec::new(),
            configuration: configuration.map(str::to_owned),
        };
        assert_eq!(told(None).configuration().level, Level::Well);
        let alarm = told(Some("version 5 is in effect")).configuration();
        assert_eq!(
            (alarm.level, alarm.sentence.as_str()),
            (Level::Warning, "version 5 is in effect")
        );
    }

    #[test]
    fn readings_are_shown_to_people_and_programs() {
        let hot = Reading::new(Part::Temperature, "cpu \"0\"", "")
            .value(90.5, Unit::Celsius)
            .worse(State::Warning, "above its limit");
        let health = Health {
            readings: vec![hot, Reading::new(Part::Tpm, "tpm0", "TPM 2.0")],
        };
        let json = serde_json::json!(HealthReport::of(&health));
        assert_eq!(json["state"], "warning");
        assert_eq!(json["problems"][0], "cpu \"0\": 90.5 °C: above its limit");
        assert_eq!(json["readings"][1]["value"], serde_json::Value::Null);
        assert_eq!(HealthReport::of(&Health::default()).state, "unknown");

        let latest = Latest::default();
        latest.store(health.into());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Readings(latest)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("hardware_value{part=\"temperature\",name=\"cpu \\\"0\\\"\",unit=\"°C\"} 90.5"),
            "{text}"
        );
        assert!(text.contains("hardware_state{part=\"tpm\",name=\"tpm0\"} 0"), "{text}");
        assert!(text.contains("} 1\n"), "{text}");
    }
}
