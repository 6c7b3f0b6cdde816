//! How the keys are sealed, and changes to it: `lamchat seal`. Whatever is secret and typed goes to the key holder itself.

use crate::audit::{actor, noted};
use crate::route::{parse, parse_or_default};
use crate::{Admin, AdminError, keyring, site};
use lamchat_audit::Entry;
use lamchat_hardware::TpmReport;
use lamchat_holder::{AskError, BOOTABLE_MAX, Force, HolderStatus, PinUse, SlotSeal, TpmStatus};
use lamchat_http::Request;
use lamchat_seal::{SlotInfo, SlotKind};
use serde_json::{Value, json};
use std::sync::Arc;

/// The TPM as JSON, for every answer that is about keys.
pub(crate) fn describe_tpm(tpm: &TpmStatus) -> Value {
    json!({
        "present": tpm.present,
        "sentence": tpm.sentence,
        "secure_boot": tpm.secure_boot,
        "pcrs": tpm.pcrs,
        "pin": tpm.pin.asks(),
        "pin_kept": tpm.pin == PinUse::Kept,
        "problem": tpm.problem,
    })
}

/// The key holder as JSON: what it has given up, and where it takes what people type.
pub(crate) fn describe_holder(status: &HolderStatus) -> Value {
    json!({"sentence": status.confinement, "socket": status.socket})
}

/// A slot as JSON; a `tpm` slot with what it is bound to.
pub fn describe(slot: &SlotInfo, seals: &[SlotSeal]) -> Value {
    let mut described = json!({"id": slot.id, "kind": slot.kind.to_string()});
    if let Value::Object(fields) = &mut described {
        if slot.kind == SlotKind::Recovery {
            fields.insert("verified_ms".to_owned(), json!(slot.verified_ms));
        }
        if let Some(seal) = seals.iter().find(|seal| seal.slot == slot.id) {
            fields.insert("seal".to_owned(), describe_seal(seal));
        }
    }
    described
}

/// What a `tpm` slot is bound to, with a sentence about how much that says.
fn describe_seal(seal: &SlotSeal) -> Value {
    let sentence = seal.sentence();
    let Some(image) = &seal.image else {
        return json!({"policy": "pcrs", "pcrs": seal.pcrs, "pin": seal.pin, "sentence": sentence});
    };
    json!({
        "policy": "image",
        "pcrs": seal.pcrs,
        "pin": seal.pin,
        "release_key": image.release_key.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "floor": image.epochs.first(),
        "epochs": image.epochs,
        "sentence": sentence,
    })
}

/// All slots, the TPM, and a sentence about how well the keys are protected.
pub async fn status(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let mut answer = keyring::list(Arc::clone(&admin), request).await?;
    let present = answer.pointer("/tpm/present").and_then(Value::as_bool) == Some(true);
    if present && let Some(Value::Object(tpm)) = answer.get_mut("tpm") {
        // A TPM that does not answer is no reason to tell nothing.
        let known = match keyring::ask(&admin, |holder| holder.tpm_make()).await {
            Ok(make) => json!(TpmReport::of(&make)),
            Err(error) => json!({"sentences": [format!("The TPM does not say what it is: {}", error.message)]}),
        };
        tpm.insert("known".to_owned(), known);
    }
    Ok(answer)
}

#[derive(serde::Deserialize, Default)]
struct Forced {
    /// Even without Secure Boot.
    #[serde(default)]
    force: bool,
}

/// Adds a slot that this machine's TPM opens.
pub async fn init(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let Forced { force } = parse_or_default(&request)?;
    may_seal(&admin, force).await?;
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.add-slot")
        .fact("kind", SlotKind::Tpm)
        .fact("force", force);
    if admin.box_socket.is_some() {
        // Only process 1 knows which images a new slot has to admit.
        site::noted(&admin, entry, json!({"act": "seal"})).await?;
        admin.holder.forget_status();
        return keyring::list(admin, request).await;
    }
    let holder = Arc::clone(&admin.holder);
    let add = move || {
        let slot = holder.add_tpm(force)?;
        Ok(vec![("slot", slot.id.to_string())])
    };
    noted(&admin, entry, add).await?;
    tracing::info!(force, "an administrator sealed the keys to the TPM");
    keyring::list(admin, request).await
}

/// Adds a slot that opens by a file beside the keyring: without anybody, on this machine and wherever the folder goes.
pub async fn add_file(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.add-slot").fact("kind", SlotKind::File);
    let holder = Arc::clone(&admin.holder);
    let add = move || {
        let slot = holder.add_file()?;
        Ok(vec![("slot", slot.id.to_string())])
    };
    noted(&admin, entry, add).await?;
    tracing::warn!("an administrator put a key beside the data that opens it");
    keyring::list(admin, request).await
}

/// Binds a `tpm` slot to the present state of the machine.
pub async fn rebind(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let slot = keyring::slot_number(&request)?;
    let Forced { force } = parse_or_default(&request)?;
    may_seal(&admin, force).await?;
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.rebind").fact("slot", slot);
    let entry = forced(entry, force);
    let holder = Arc::clone(&admin.holder);
    let bind = move || {
        holder.rebind(slot, force)?;
        Ok(Vec::new())
    };
    noted(&admin, entry, bind).await?;
    tracing::info!(slot, "an administrator bound a slot to the TPM anew");
    keyring::list(admin, request).await
}

#[derive(serde::Deserialize)]
struct Raise {
    /// The lowest security epoch that opens the keys from now on.
    floor: u64,
    /// The epochs of all images that this machine may start; a box looks itself.
    #[serde(default)]
    bootable: Option<Vec<u64>>,
    /// Even without Secure Boot.
    #[serde(default)]
    force: bool,
}

/// Raises the security floor.
pub async fn raise_floor(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let Raise { floor, bootable, force } = parse(&request)?;
    let is_box = admin.box_socket.is_some();
    let bootable = match bootable {
        Some(_) if is_box => {
            let sentence =
                "A box looks itself which images it may start, and takes nobody's word for it: leave --bootable out";
            return Err(AdminError::invalid(sentence));
        }
        None if !is_box => {
            let sentence = "Name the security epoch of each image that this machine may start: --bootable EPOCH";
            return Err(AdminError::invalid(sentence));
        }
        bootable => bootable.unwrap_or_default(),
    };
    if bootable.len() > BOOTABLE_MAX {
        return Err(AdminError::invalid("There are not so many images"));
    }
    may_seal(&admin, force).await?;
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "keyring.raise-floor").fact("floor", floor);
    let entry = forced(entry, force);
    if is_box {
        site::noted(&admin, entry, json!({"act": "raise-floor", "floor": floor})).await?;
        // Process 1 has asked past this process.
        admin.holder.forget_status();
    } else {
        let holder = Arc::clone(&admin.holder);
        let raise = move || {
            holder.raise_floor(floor, &bootable, force)?;
            Ok(Vec::new())
        };
        noted(&admin, entry, raise).await?;
    }
    tracing::info!(floor, "an administrator raised the security floor");
    keyring::list(admin, request).await
}

/// That it was forced stands in the log where it was.
fn forced(entry: Entry, force: bool) -> Entry {
    if force { entry.fact("force", true) } else { entry }
}

/// What is refused anyway need not be noted.
async fn may_seal(admin: &Admin, force: bool) -> Result<(), AdminError> {
    let force = Force::said(force, admin.box_socket.is_some());
    let told = keyring::ask(admin, |holder| holder.status()).await?;
    match told.tpm.refusal(force, false) {
        Some((reason, sentence)) => Err(AskError::Refused(reason, sentence).into()),
        None => Ok(()),
    }
}
