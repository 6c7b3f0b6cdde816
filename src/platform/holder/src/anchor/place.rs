//! Places for anchors in the TPM's NV memory: which one is ours, which one is free.

use super::INDICES;
use lamchat_base::Secret;
use lamchat_tpm::{AnchorError, Tpm};

/// The place in the TPM that is ours, where what was kept of it is gone.
pub(super) fn place_of(tpm: &mut Tpm, key: &Secret<32>) -> Result<Option<u32>, AnchorError> {
    for index in INDICES {
        if is_ours(tpm, index, key)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Called where the keyring has no anchor of its own. Where the machine has one installation (`owns_tpm`), anchors of
/// set-ups that were given up make room if there is none.
pub(super) fn free_place(tpm: &mut Tpm, owns_tpm: bool) -> Result<u32, AnchorError> {
    if let Some(index) = first_free(tpm)? {
        return Ok(index);
    }
    if owns_tpm && tpm.reclaim_anchors(INDICES, &[])? > 0 {
        tracing::info!("anchors of installations that are given up went out of the TPM");
    }
    first_free(tpm)?.ok_or(AnchorError::Foreign(*INDICES.end()))
}

/// Whether what is there opens with this key.
pub(super) fn is_ours(tpm: &mut Tpm, index: u32, key: &Secret<32>) -> Result<bool, AnchorError> {
    match tpm.read_anchor(index, key) {
        Ok(_) | Err(AnchorError::Unwritten) => Ok(true),
        Err(AnchorError::Absent(_) | AnchorError::Foreign(_) | AnchorError::AnotherInstallation) => Ok(false),
        Err(error @ AnchorError::Tpm(_)) => Err(error),
    }
}

fn first_free(tpm: &mut Tpm) -> Result<Option<u32>, AnchorError> {
    for index in INDICES {
        if !tpm.has_index(index)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}
