//! What an administrator looks after, in one list: for `lamchat health`, `/metrics`, the box's console, and the room of
//! the server's notices.

use crate::{Admin, AdminError, audit, backup_record, certificate};
use lamchat_hardware::State;
use lamchat_notices::{Alarm, Level};
use lamchat_seal::Status;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::{Value, json};
use std::sync::Weak;

/// A certificate that ends within so many days is a warning. Those of the own authority are renewed a month before that.
pub const CERTIFICATE_DAYS: u64 = 30;
/// Within so many, somebody is late.
const CERTIFICATE_DAYS_LAST: u64 = 7;

/// Everything, the well with the unwell. Blocks for the key holder's answer.
pub fn all(admin: &Admin) -> Result<Vec<Alarm>, AdminError> {
    let mut alarms = hardware(admin);
    alarms.extend(certificates(admin));
    alarms.extend(backup_record::alarm(admin)?);
    if let Ok(told) = admin.holder.status() {
        let status = Status::of(told.slots.clone());
        alarms.push(Alarm::with_news("keys", Level::Well, status.sentence));
    }
    alarms.extend(audit_log(admin)?);
    alarms.extend(admin.standing.alarms(&admin.version));
    alarms.extend(admin.told.load().as_ref().map(|told| told.configuration()));
    Ok(alarms)
}

fn hardware(admin: &Admin) -> Vec<Alarm> {
    let health = admin.hardware.load();
    let alarms = health.readings.iter().map(|reading| {
        let level = match reading.state {
            State::Well => Level::Well,
            State::Warning => Level::Warning,
            State::Failed => Level::Failed,
        };
        let key = format!("hardware/{}/{}", reading.part.word(), reading.name);
        Alarm::new(key, level, reading.to_string())
    });
    alarms.collect()
}

fn certificates(admin: &Admin) -> Vec<Alarm> {
    let now_ms = admin.now_ms();
    let shown = admin.certificates.shown();
    let alarms = shown.iter().map(|shown| {
        let days = certificate::days_left(shown.not_after_ms, now_ms);
        let (level, sentence) = match days {
            0 if shown.not_after_ms <= now_ms => (Level::Failed, "is no longer valid".to_owned()),
            0..CERTIFICATE_DAYS_LAST => (Level::Failed, format!("ends in {days} days")),
            CERTIFICATE_DAYS_LAST..CERTIFICATE_DAYS => (Level::Warning, format!("ends in {days} days")),
            _ => (Level::Well, "is valid for more than a month".to_owned()),
        };
        let key = format!("certificate/{}", shown.from);
        Alarm::new(key, level, format!("the certificate of {} {sentence}", shown.from))
    });
    alarms.collect()
}

fn audit_log(admin: &Admin) -> Result<Vec<Alarm>, AdminError> {
    let told = audit::describe(admin)?;
    let alarm = |key: &str, what: &str, place: &str| {
        let trouble = told.pointer(place).and_then(Value::as_str);
        match trouble {
            Some(trouble) => Alarm::new(key, Level::Warning, format!("{what}: {trouble}")),
            None => Alarm::new(key, Level::Well, format!("{what} is as it should be")),
        }
    };
    Ok(vec![
        alarm("audit/signing", "the signing of the audit log", "/trouble/sentence"),
        alarm("audit/anchor", "the anchor in the TPM", "/anchor/trouble/sentence"),
    ])
}

/// What is not well, the worst first.
pub(crate) fn describe(alarms: &[Alarm]) -> Vec<Value> {
    let mut unwell: Vec<&Alarm> = alarms.iter().filter(|alarm| alarm.level != Level::Well).collect();
    unwell.sort_by_key(|alarm| std::cmp::Reverse(alarm.level));
    unwell
        .iter()
        .map(|alarm| json!({"what": alarm.key, "state": alarm.level.word(), "sentence": alarm.sentence}))
        .collect()
}

/// The same as metrics.
#[derive(Debug)]
pub(crate) struct Alarms(pub Weak<Admin>);

impl Collector for Alarms {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(admin) = self.0.upgrade() else { return Ok(()) };
        let Ok(alarms) = all(&admin) else { return Ok(()) };
        let mut states = encoder.encode_descriptor(
            "alarm_state",
            "How what an administrator looks after is: 0 well, 1 warning, 2 failed",
            None,
            MetricType::Gauge,
        )?;
        // Hardware has metrics of its own.
        for alarm in alarms.iter().filter(|alarm| !alarm.key.starts_with("hardware/")) {
            let state: i64 = match alarm.level {
                Level::Well => 0,
                Level::Warning => 1,
                Level::Failed => 2,
            };
            let labels = [("what", alarm.key.as_str())];
            ConstGauge::new(state).encode(states.encode_family(&labels)?)?;
        }
        let mut ends = encoder.encode_descriptor(
            "certificate_not_after_seconds",
            "When a certificate ends, in seconds since 1970",
            None,
            MetricType::Gauge,
        )?;
        for shown in admin.certificates.shown() {
            let labels = [("from", shown.from.as_str())];
            let seconds = i64::try_from(shown.not_after_ms / 1000).unwrap_or(i64::MAX);
            ConstGauge::new(seconds).encode(ends.encode_family(&labels)?)?;
        }
        let last = backup_record::last(&admin.store.read()).ok().flatten();
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let gauges = [
            (
                "backup_last_seconds",
                "When the last whole backup ended, in seconds since 1970; 0: never",
                last.as_ref().map_or(0, |last| number(last.at_ms / 1000)),
            ),
            (
                "backup_last_bytes",
                "How many bytes it had",
                last.as_ref().map_or(0, |last| number(last.bytes)),
            ),
            (
                "release_on_trial",
                "Whether the release that runs was not marked good yet (1)",
                i64::from(admin.standing.is_on_trial()),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
