//! `/metrics`, for Prometheus.

use crate::{Admin, AdminError, Anchoring, alarm, hardware};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use lamchat_audit::AuditLog;
use lamchat_connections::{FederationGate, awaits_recovery_key};
use lamchat_holder::Client;
use lamchat_http::{METRICS_CONTENT_TYPE, Metrics, Request, Response};
use lamchat_seal::{SlotInfo, SlotKind, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use std::sync::Arc;

/// Adds what the metrics say about keys and hardware. Once.
pub fn register(admin: &Arc<Admin>, metrics: &Metrics) {
    let keys = Keys {
        holder: Arc::clone(&admin.holder),
        audit: Arc::clone(&admin.audit),
        anchoring: Arc::clone(&admin.anchoring),
        federation: Arc::clone(&admin.federation),
    };
    metrics.register(|registry| registry.register_collector(Box::new(keys)));
    hardware::register(&admin.hardware, metrics);
    let alarms = alarm::Alarms(Arc::downgrade(admin));
    metrics.register(|registry| registry.register_collector(Box::new(alarms)));
}

/// Tells what is known of the keyring whenever somebody asks for metrics.
#[derive(Debug)]
struct Keys {
    holder: Arc<Client>,
    audit: Arc<AuditLog>,
    anchoring: Arc<Anchoring>,
    federation: Arc<FederationGate>,
}

impl Collector for Keys {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        // Without the key holder the server ends; a scrape in between says nothing about keys.
        let Ok(told) = self.holder.status() else {
            return Ok(());
        };
        let status = Status::of(told.slots.clone());
        let unverified = |slot: &&SlotInfo| slot.kind == SlotKind::Recovery && slot.verified_ms.is_none();
        let gauges = [
            (
                "seal_tpm_present",
                "Whether a TPM is used (1) or there is none (0)",
                i64::from(told.tpm.present),
            ),
            (
                "seal_hardware_sealed",
                "Whether the keys are sealed by hardware (1) or lie open on the disk or behind a passphrase (0)",
                i64::from(status.hardware_sealed),
            ),
            (
                "seal_recovery_unverified",
                "Recovery keys that nobody has typed back yet",
                status.slots.iter().filter(unverified).count() as i64,
            ),
            (
                "federation_on",
                "Whether other servers are answered (1)",
                i64::from(self.federation.with(&status.slots).is_on()),
            ),
            (
                "federation_awaits_recovery_key",
                "Whether federation is kept off because a TPM has the keys and no recovery key was typed back (1)",
                i64::from(awaits_recovery_key(&status.slots)),
            ),
        ];
        let audit = self.audit.status().ok();
        let unsigned = audit
            .as_ref()
            .map_or(0, |audit| audit.size.saturating_sub(audit.signed));
        let audit = [
            (
                "audit_entries_unsigned",
                "Entries of the audit log that no signed head covers yet",
                i64::try_from(unsigned).unwrap_or(i64::MAX),
            ),
            (
                "audit_signing_waits",
                "Whether the audit log cannot be signed as it should be (1), because of its TPM or of its state",
                i64::from(audit.is_none_or(|audit| audit.trouble.is_some())),
            ),
            (
                "audit_anchor_late",
                "Whether the anchor in the TPM could not be written the last time (1)",
                i64::from(self.anchoring.is_late()),
            ),
        ];
        for (name, help, value) in gauges.into_iter().chain(audit) {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// Counters and gauges in OpenMetrics' text form.
pub async fn metrics(admin: Arc<Admin>, _request: Request) -> Result<Response, AdminError> {
    let metrics = admin
        .metrics
        .get()
        .ok_or_else(|| AdminError::not_found("There are no metrics yet"))?;
    let mut response = Response::text(StatusCode::OK, metrics.render().map_err(AdminError::internal)?);
    response
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_CONTENT_TYPE));
    Ok(response)
}
