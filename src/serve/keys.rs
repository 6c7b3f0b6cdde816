//! Opens the keyring: by TPM, passphrase file or file slot; where nothing opens it by itself, it waits for somebody.

use super::{StartError, locked, refused};
use lamchat_api_admin::Tpm;
use lamchat_appliance::Folders;
use lamchat_base::{Clock, Entropy, SecretBytes};
use lamchat_config::Config;
use lamchat_seal::{Keyring, OpenError, PassphraseCost, SlotKind, Unlock};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// The open keyring; a new one when the data folder is empty.
pub async fn open(
    config: &Config,
    folders: &Folders,
    tpm: &Tpm,
    entropy: &Arc<dyn Entropy>,
    clock: &Arc<dyn Clock>,
) -> Result<Keyring, StartError> {
    let dir = &folders.keyring;
    let passphrase = match &config.seal.passphrase_file {
        Some(file) => Some(Unlock::Passphrase(read_passphrase(file)?)),
        None => None,
    };
    if !Keyring::exists(dir) {
        if folders.store.exists() {
            return Err(StartError::Refused(format!(
                "{} has a database but no keyring to open it: restore the file `keyring` from where it went, or restore a backup",
                dir.display()
            )));
        }
        let first = passphrase.unwrap_or(Unlock::File);
        return Keyring::create(dir, &first, PassphraseCost::DEFAULT, Arc::clone(entropy)).map_err(refused);
    }
    let slots = Keyring::peek(dir).map_err(refused)?;
    let has = |kind| slots.iter().any(|slot| slot.kind == kind);
    // In this order; who set a passphrase file relies on it, so that a wrong one ends the start as a mistake.
    let by_tpm = tpm.sealer.clone().filter(|_| has(SlotKind::Tpm)).map(Unlock::Tpm);
    let by_itself = passphrase.or_else(|| has(SlotKind::File).then_some(Unlock::File));
    let mut reasons = Vec::new();
    for unlock in by_tpm.into_iter().chain(by_itself) {
        let by = if matches!(unlock, Unlock::Tpm(_)) {
            "tpm"
        } else {
            "disk"
        };
        let (dir, entropy) = (dir.clone(), Arc::clone(entropy));
        let began = Instant::now();
        // A TPM takes its time, and a signal must end the start meanwhile.
        let opened = tokio::task::spawn_blocking(move || Keyring::open(&dir, &unlock, entropy));
        match opened.await.map_err(refused)? {
            Ok(keyring) => {
                for reason in &reasons {
                    tracing::warn!(%reason, "the keys opened, but not by the TPM");
                }
                tracing::info!(by, milliseconds = began.elapsed().as_millis(), "the keys are open");
                return Ok(keyring);
            }
            Err(error @ (OpenError::Sealer(_) | OpenError::WrappingKey(_))) => reasons.push(error.to_string()),
            Err(error) => return Err(refused(error)),
        }
    }
    if has(SlotKind::Tpm) && tpm.sealer.is_none() {
        reasons.push(tpm.sentence.clone());
    }
    if reasons.is_empty() {
        reasons.push("the keyring has no slot that opens by itself".to_owned());
    }
    let reason = reasons.join("; ");
    if !slots.iter().any(|slot| slot.kind.is_portable()) {
        return Err(StartError::Refused(format!(
            "{reason}, and the keyring has neither a recovery key nor a passphrase: restore a backup"
        )));
    }
    locked::wait(config, reason, slots, dir, tpm, entropy, clock).await
}

/// The first line of a file.
fn read_passphrase(file: &Path) -> Result<SecretBytes, StartError> {
    let bytes = std::fs::read(file).map_err(StartError::io(format!("seal.passphrase_file {}", file.display())))?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(StartError::Refused(format!(
            "seal.passphrase_file {}: its first line is empty",
            file.display()
        )));
    }
    Ok(SecretBytes::new(line.to_vec()))
}
