//! Whether the server is well, for `lamchat health`.

use crate::{Admin, AdminError, audit, keyring, seal};
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
        "has_accounts": !account::is_empty(&read)?,
    }))
}
