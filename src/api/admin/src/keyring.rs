//! The slots of the keyring: `lamchat seal`.

use crate::audit::{actor, noted};
use crate::routes::parse;
use crate::{Admin, AdminError, seal};
use lamchat_audit::Entry;
use lamchat_base::SecretBytes;
use lamchat_http::Request;
use lamchat_seal::{PassphraseCost, RecoveryKey, Unlock};
use serde_json::{Value, json};
use std::sync::Arc;

/// Shortest passphrase, in characters: it alone stands between a stolen backup and everything in it.
const PASSPHRASE_CHARS_MIN: usize = 12;

/// All slots, and a sentence about how well the keys are protected.
pub async fn list(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    let status = admin.keyring.status();
    let slots: Vec<Value> = status.slots.iter().map(seal::describe).collect();
    Ok(json!({
        "state": "open",
        "slots": slots,
        "hardware_sealed": status.hardware_sealed,
        "sentence": status.sentence,
        "tpm": admin.tpm.describe(),
    }))
}

#[derive(serde::Deserialize)]
struct AddPassphrase {
    passphrase: String,
}

/// Adds a passphrase slot.
pub async fn add_passphrase(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let AddPassphrase { passphrase } = parse(&request)?;
    if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
        return Err(AdminError::invalid(format!(
            "The passphrase has fewer than {PASSPHRASE_CHARS_MIN} characters: it alone protects a stolen backup, take a longer one"
        )));
    }
    if RecoveryKey::is_meant(&passphrase) {
        return Err(AdminError::invalid(
            "This looks like a recovery key and would be taken for one when the keys are unlocked: take words as well",
        ));
    }
    let unlock = Unlock::Passphrase(SecretBytes::new(passphrase.into_bytes()));
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.add-slot").fact("kind", "passphrase");
    let keyring = Arc::clone(&admin.keyring);
    // Stretching a passphrase and syncing a file take too long for a thread that carries messages.
    let change = move || {
        let slot = keyring.add_slot(&unlock, PassphraseCost::DEFAULT)?;
        Ok(vec![("slot", slot.id.to_string())])
    };
    noted(&admin, entry, change).await?;
    tracing::info!("an administrator added a passphrase slot to the keyring");
    list(admin, request).await
}

/// Removes a slot.
pub async fn remove(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let slot = slot_number(&request)?;
    let mut entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.remove-slot").fact("slot", slot);
    if let Some(known) = admin.keyring.slots().iter().find(|known| known.id == slot) {
        entry = entry.fact("kind", known.kind);
    }
    let (keyring, sealer) = (Arc::clone(&admin.keyring), admin.tpm.sealer.clone());
    let change = move || {
        if let Some(error) = keyring.remove_slot(slot, sealer.as_deref())? {
            tracing::warn!(slot, %error, "what the TPM kept for the slot could not be removed");
        }
        Ok(Vec::new())
    };
    noted(&admin, entry, change).await?;
    tracing::info!(slot, "an administrator removed a slot of the keyring");
    list(admin, request).await
}

/// The slot that the path names.
pub(crate) fn slot_number(request: &Request) -> Result<u32, AdminError> {
    let slot = request.params.value("slot").parse();
    slot.map_err(|_| AdminError::invalid("A slot is named by its number"))
}
