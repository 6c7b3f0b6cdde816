//! How the keys are sealed, and changes to it: `lamchat seal`. Adding a passphrase and removing a slot are in `keyring`.

use crate::audit::{actor, noted};
use crate::routes::parse;
use crate::{Admin, AdminError, keyring};
use http::StatusCode;
use lamchat_audit::Entry;
use lamchat_base::SecretBytes;
use lamchat_http::Request;
use lamchat_seal::{
    OpenError, PassphraseCost, RecoveryKey, RecoveryKeyError, Sealer, SlotInfo, SlotKind, Unlock, VerifyRecoveryError,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The TPM that the configuration names.
#[derive(Debug, Clone)]
pub struct Tpm {
    /// What seals; without it there is no TPM.
    pub sealer: Option<Arc<dyn Sealer>>,
    /// One sentence without its full stop: which TPM it is, or why there is none.
    pub sentence: String,
    /// Whether the firmware enforces Secure Boot; `None`: it does not say.
    pub secure_boot: Option<bool>,
    /// The PCRs whose values are sealed to.
    pub pcrs: Vec<u32>,
}

impl Tpm {
    /// As JSON, for every answer that is about keys.
    pub fn describe(&self) -> Value {
        json!({
            "present": self.sealer.is_some(),
            "sentence": self.sentence,
            "secure_boot": self.secure_boot,
            "pcrs": self.pcrs,
        })
    }

    fn sealer(&self) -> Result<Arc<dyn Sealer>, AdminError> {
        let none = || AdminError::invalid(format!("Nothing can be sealed: {}", self.sentence));
        self.sealer.clone().ok_or_else(none)
    }
}

/// A slot as JSON.
pub fn describe(slot: &SlotInfo) -> Value {
    let mut described = json!({"id": slot.id, "kind": slot.kind.to_string()});
    if let (SlotKind::Recovery, Value::Object(fields)) = (slot.kind, &mut described) {
        fields.insert("verified_ms".to_owned(), json!(slot.verified_ms));
    }
    described
}

/// All slots, the TPM, and a sentence about how well the keys are protected.
pub async fn status(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    keyring::list(admin, request).await
}

#[derive(serde::Deserialize, Default)]
struct Init {
    #[serde(default)]
    force: bool,
}

/// Adds a slot that this machine's TPM opens.
pub async fn init(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let Init { force } = parse(&request)?;
    let sealer = admin.tpm.sealer()?;
    if admin.tpm.secure_boot != Some(true) && !force {
        let state = if admin.tpm.secure_boot.is_some() {
            "Secure Boot is off"
        } else {
            "Nothing says that Secure Boot is on"
        };
        return Err(AdminError::invalid(format!(
            "{state}, so anything could boot here with the same PCRs and open the keys: switch it on, or say --force"
        )));
    }
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.add-slot")
        .fact("kind", SlotKind::Tpm)
        .fact("force", force);
    add(&admin, entry, Unlock::Tpm(sealer)).await?;
    tracing::info!(force, "an administrator sealed the keys to the TPM");
    keyring::list(admin, request).await
}

/// Binds a `tpm` slot to the present state of the machine.
pub async fn rebind(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let slot = keyring::slot_number(&request)?;
    let sealer = admin.tpm.sealer()?;
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.rebind").fact("slot", slot);
    let keyring = Arc::clone(&admin.keyring);
    let bind = move || {
        if let Some(error) = keyring.rebind(slot, &*sealer)? {
            tracing::warn!(slot, %error, "what the TPM kept for the old binding could not be removed");
        }
        Ok(Vec::new())
    };
    noted(&admin, entry, bind).await?;
    tracing::info!(slot, "an administrator bound a slot to the TPM anew");
    keyring::list(admin, request).await
}

/// Adds a recovery slot; its key is in this answer and nowhere else.
pub async fn add_recovery(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let key = RecoveryKey::generate(&*admin.entropy);
    let text = key.text();
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.add-slot").fact("kind", SlotKind::Recovery);
    add(&admin, entry, Unlock::Recovery(key)).await?;
    tracing::info!("an administrator added a recovery slot to the keyring");
    let mut answer = keyring::list(admin, request).await?;
    if let Value::Object(fields) = &mut answer {
        fields.insert("recovery_key".to_owned(), json!(*text));
    }
    Ok(answer)
}

/// Adds a slot, between two entries of the audit log.
async fn add(admin: &Arc<Admin>, entry: Entry, unlock: Unlock) -> Result<(), AdminError> {
    let keyring = Arc::clone(&admin.keyring);
    let change = move || {
        let slot = keyring.add_slot(&unlock, PassphraseCost::DEFAULT)?;
        Ok(vec![("slot", slot.id.to_string())])
    };
    noted(admin, entry, change).await
}

#[derive(serde::Deserialize)]
struct Typed {
    key: String,
}

/// Takes the recovery key back from its owner, and notes in its slot that they have it.
pub async fn verify_recovery(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let Typed { key } = parse(&request)?;
    let key = RecoveryKey::parse(&key)?;
    let guess = admin.guesses.begin(admin.now_ms())?;
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.verify-recovery");
    let shared = Arc::clone(&admin);
    let verify = move || match shared.keyring.verify_recovery(&key, shared.now_ms()) {
        Ok(slot) => {
            guess.right();
            Ok(vec![("slot", slot.id.to_string())])
        }
        Err(VerifyRecoveryError::Open(error)) => {
            if matches!(error, OpenError::WrongRecoveryKey) {
                guess.wrong(shared.now_ms());
                tracing::warn!("a wrong recovery key was shown");
            }
            Err(AdminError::invalid(crate::error::capital(&error.to_string())))
        }
        Err(VerifyRecoveryError::Io(error)) => Err(AdminError::internal(error)),
    };
    noted(&admin, entry, verify).await?;
    tracing::info!("an administrator verified a recovery key");
    keyring::list(admin, request).await
}

/// There is nothing to unlock once the server runs.
pub async fn unlock(_admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    Err(AdminError::new(
        StatusCode::CONFLICT,
        "M_INVALID_PARAM",
        "The keys are open already: there is nothing to unlock",
    ))
}

/// What somebody typed to unlock: a recovery key if it looks like one, a passphrase otherwise.
pub fn typed(text: String) -> Result<Unlock, RecoveryKeyError> {
    if RecoveryKey::is_meant(&text) {
        return RecoveryKey::parse(&text).map(Unlock::Recovery);
    }
    Ok(Unlock::Passphrase(SecretBytes::new(text.into_bytes())))
}
