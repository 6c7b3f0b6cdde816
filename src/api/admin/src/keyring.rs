//! The slots of the keyring, which the key holder has: `lamchat seal`.

use crate::audit::{actor, noted};
use crate::{Admin, AdminError, seal};
use lamchat_audit::Entry;
use lamchat_connections::Federation;
use lamchat_holder::{AskError, Client};
use lamchat_http::Request;
use lamchat_seal::Status;
use serde_json::{Value, json};
use std::sync::Arc;

/// All slots, and a sentence about how well the keys are protected.
pub async fn list(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    // People's own acts go past this process: what it remembers may be old.
    admin.holder.forget_status();
    let told = ask(&admin, |holder| holder.status()).await?;
    let status = Status::of(told.slots.clone());
    let slots: Vec<Value> = status
        .slots
        .iter()
        .map(|slot| seal::describe(slot, &told.seals))
        .collect();
    Ok(json!({
        "state": "open",
        "slots": slots,
        "hardware_sealed": status.hardware_sealed,
        "sentence": status.sentence,
        "former_keys": told.former_keys,
        "federation": describe_federation(admin.federation.with(&told.slots)),
        "tpm": seal::describe_tpm(&told.tpm),
        "holder": seal::describe_holder(&told),
    }))
}

/// Whether other servers are let in, as JSON.
pub(crate) fn describe_federation(federation: Federation) -> Value {
    json!({"on": federation.is_on(), "state": federation.word(), "sentence": federation.sentence()})
}

/// Removes a slot.
pub async fn remove(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let slot = slot_number(&request)?;
    let mut entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.remove-slot").fact("slot", slot);
    let known = ask(&admin, |holder| holder.status()).await?;
    if let Some(known) = known.slots.iter().find(|known| known.id == slot) {
        entry = entry.fact("kind", known.kind);
    }
    let holder = Arc::clone(&admin.holder);
    noted(&admin, entry, move || {
        holder.remove(slot)?;
        Ok(Vec::new())
    })
    .await?;
    tracing::info!(slot, "an administrator removed a slot of the keyring");
    list(admin, request).await
}

/// The slot that the path names.
pub(crate) fn slot_number(request: &Request) -> Result<u32, AdminError> {
    let slot = request.params.value("slot").parse();
    slot.map_err(|_| AdminError::invalid("A slot is named by its number"))
}

/// Asks the holder, on a thread that carries no messages.
pub(crate) async fn ask<T: Send + 'static>(
    admin: &Admin,
    question: impl FnOnce(&Client) -> Result<T, AskError> + Send + 'static,
) -> Result<T, AdminError> {
    let holder = Arc::clone(&admin.holder);
    let answer = tokio::task::spawn_blocking(move || question(&holder)).await;
    Ok(answer.map_err(AdminError::internal)??)
}
