//! Whether the server is well, for `lamchat health`.

use crate::{Admin, AdminError};
use lamchat_accounts::account;
use lamchat_http::Request;
use serde_json::{Value, json};
use std::sync::Arc;

/// Reads the store once and tells who answers.
pub async fn health(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    let read = admin.store.read();
    let status = admin.keyring.status();
    Ok(json!({
        "state": "running",
        "server_name": admin.server_name,
        "version": admin.version,
        "keys": status.sentence,
        "hardware_sealed": status.hardware_sealed,
        "tpm": admin.tpm.describe(),
        "has_accounts": !account::is_empty(&read)?,
    }))
}
