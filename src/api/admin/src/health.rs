//! Whether the server is well, for `lamchat health`.

use crate::{Admin, AdminError, alarm, audit, backup_record, certificate, keyring, next_start, seal};
use lamchat_accounts::account;
use lamchat_hardware::HealthReport;
use lamchat_http::Request;
use lamchat_seal::Status;
use serde_json::{Value, json};
use std::sync::Arc;

/// Reads the store once and tells who answers.
pub async fn health(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    let told = keyring::ask(&admin, |holder| holder.status()).await?;
    let status = Status::of(told.slots.clone());
    let asking = Arc::clone(&admin);
    // It asks the key holder, which a thread that carries messages must not wait for.
    let alarms = tokio::task::spawn_blocking(move || alarm::all(&asking)).await;
    let alarms = alarms.map_err(AdminError::internal)??;
    let next_start = next_start::of_box(&admin).await;
    let read = admin.store.read();
    Ok(json!({
        "state": "running",
        "server_name": admin.server_name,
        "version": admin.version,
        "keys": status.sentence,
        "hardware_sealed": status.hardware_sealed,
        "federation": keyring::describe_federation(admin.federation.with(&told.slots)),
        "tpm": seal::describe_tpm(&told.tpm),
        "hardware": HealthReport::of(&admin.hardware.load()),
        "audit": audit::describe(&admin)?,
        "alarms": alarm::describe(&alarms),
        "certificates": certificate::describe(&admin),
        "backup": backup_record::describe(&admin)?,
        "release": admin.standing.describe(),
        "schema": admin.store.schema(),
        // This release does not federate.
        "peers": {"count": 0, "sentence": "none: this release does not federate"},
        "update": admin.offer.describe(),
        "next_start": next_start,
        "has_accounts": !account::is_empty(&read)?,
    }))
}
