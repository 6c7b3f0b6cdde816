//! Blobs that a slot had before: what the TPM keeps for them has to go, or an old copy of the keyring would open by them.
//! The TPM may fail or the power go before it has; so they are remembered from before the change until they are gone.

use crate::reply::Reason;
use crate::state::{Holder, Refusal};
use lamchat_base::SecretBytes;
use lamchat_seal::Keyring;

/// The holder's own secret with them: each with its length before it, in two bytes.
const RECORD: &str = "retired";
/// Most that are remembered; then the TPM has to answer first. There are as many counters.
const REMEMBERED_MAX: usize = 32;

impl Holder {
    /// Remembers the blob of this slot, which is about to go.
    pub(crate) fn remember_blob(&self, keyring: &Keyring, slot: u32) -> Result<(), Refusal> {
        let Some((_, blob)) = keyring.blobs().into_iter().find(|(id, _)| *id == slot) else {
            return Ok(());
        };
        let mut blobs = remembered(keyring)?;
        if blobs.contains(&blob) {
            return Ok(());
        }
        if blobs.len() >= REMEMBERED_MAX {
            let sentence = "too many older seals are still to be taken out of the TPM: it has to answer first";
            return Err(Refusal(Reason::Tpm, sentence.to_owned()));
        }
        blobs.push(blob);
        remember(keyring, &blobs)
    }

    /// [`Holder::retire_blobs`] after a change, which stays done whatever comes of it. Answers how many still open.
    pub(crate) fn retire_former(&self, keyring: &Keyring) -> usize {
        self.retire_blobs(keyring).unwrap_or_else(|Refusal(_, sentence)| {
            tracing::error!(sentence, "what is kept of older seals cannot be used");
            1
        })
    }

    /// Takes what the TPM keeps for remembered blobs out of it, unless a slot has them still. Answers how many are left.
    pub(crate) fn retire_blobs(&self, keyring: &Keyring) -> Result<usize, Refusal> {
        let blobs = remembered(keyring)?;
        if blobs.is_empty() {
            return Ok(0);
        }
        let present = keyring.blobs();
        let gone = |blob: &Vec<u8>| {
            let Some(sealer) = self.setup.tpm.sealer(None) else {
                return false;
            };
            let retired = sealer.retire(blob);
            if let Err(error) = &retired {
                tracing::warn!(%error, "what the TPM kept for an older seal is not gone yet");
            }
            retired.is_ok()
        };
        let (kept, former): (Vec<_>, Vec<_>) = blobs
            .into_iter()
            .partition(|blob| present.iter().any(|(_, present)| present == blob));
        // A slot has them still: the change did not happen.
        drop(kept);
        let left: Vec<Vec<u8>> = former.into_iter().filter(|blob| !gone(blob)).collect();
        remember(keyring, &left)?;
        Ok(left.len())
    }
}

pub(crate) fn remembered(keyring: &Keyring) -> Result<Vec<Vec<u8>>, Refusal> {
    let kept = keyring.own(RECORD).map_err(|error| disk(&error))?;
    let kept = kept.as_ref().map_or(&[][..], |kept| kept.expose());
    parse(kept).ok_or_else(|| disk(&"what is kept of older seals is malformed"))
}

fn parse(mut rest: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut blobs = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (blob, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        blobs.push(blob.to_vec());
        rest = after;
    }
    rest.is_empty().then_some(blobs)
}

fn remember(keyring: &Keyring, blobs: &[Vec<u8>]) -> Result<(), Refusal> {
    if blobs.is_empty() {
        return keyring.forget_own(RECORD).map_err(|error| disk(&error));
    }
    let mut bytes = Vec::new();
    for blob in blobs {
        // A blob has at most 8,192 bytes.
        bytes.extend((blob.len() as u16).to_be_bytes());
        bytes.extend(blob);
    }
    let kept = keyring.keep_own(RECORD, &SecretBytes::new(bytes));
    kept.map_err(|error| disk(&error))
}

fn disk(error: &dyn std::fmt::Display) -> Refusal {
    Refusal(Reason::Disk, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_is_cut_off_is_malformed() {
        assert_eq!(parse(&[]), Some(Vec::new()));
        assert_eq!(parse(&[0, 2, 7, 8, 0, 0]), Some(vec![vec![7, 8], Vec::new()]));
        for cut in [1, 2, 3, 5] {
            assert_eq!(parse([0, 2, 7, 8, 0, 0].get(..cut).unwrap_or_default()), None, "{cut}");
        }
    }
}
