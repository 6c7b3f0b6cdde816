//! The factory reset's part of the holder: what the TPM keeps for the keyring goes, so that no copy of it opens any more.

use crate::blame::Blame;
use crate::reply::{Reason, Reply};
use crate::state::{Holder, Keys, Refusal};

impl Holder {
    /// Takes the counters of all blobs and the anchor out of the TPM, and gives no key any more. Process 1 overwrites the
    /// partition afterwards. May be asked again after a power cut: what is gone already is passed over.
    ///
    /// The blobs are those of the file, which nothing has authenticated where the keys are locked: a counter goes only if
    /// it is this TPM's and the blob's.
    pub(crate) fn erase_on_box(&self) -> Result<Reply, Refusal> {
        let open = self.keyring().ok();
        let mut blobs: Vec<Vec<u8>> = if self.has_keyring()? {
            self.peek_blobs()?.into_iter().map(|(_, blob)| blob).collect()
        } else {
            Vec::new()
        };
        if let Some(keyring) = &open {
            blobs.extend(crate::retired::remembered(keyring)?);
            if let Err(Refusal(_, sentence)) = self.take_anchor(keyring) {
                tracing::warn!(sentence, "the anchor stays in the TPM; it tells nothing of the keys");
            }
        }
        let mut left = None;
        for blob in &blobs {
            let retired = match self.setup.tpm.sealer(None) {
                Some(sealer) => sealer.retire(blob).map_err(|error| error.to_string()),
                None => Err(self.setup.tpm.status.sentence.clone()),
            };
            if let Err(sentence) = retired {
                tracing::warn!(sentence, "the TPM keeps a counter");
                left = Some(sentence);
            }
        }
        let reason = "the box is being set to what it was when it was new".to_owned();
        *self.keys.lock() = Keys::Locked {
            reason,
            blame: Blame::Nobody,
            pin: false,
        };
        self.forget_notary();
        *self.pin.lock() = None;
        match left {
            None => Ok(Reply::Done),
            Some(sentence) => Err(Refusal(Reason::Tpm, sentence)),
        }
    }
}
