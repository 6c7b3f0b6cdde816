//! The seam to hardware that keeps a secret: a TPM, from which this crate knows nothing.

use lamchat_base::Secret;

/// Longest blob of a `tpm` slot.
pub const BLOB_BYTES_MAX: usize = 8_192;

/// Seals 32-byte secrets so that only this hardware, in an allowed state, gives them back.
///
/// A blob is kept in the keyring and means nothing to it. Every call may block for as long as the hardware takes; an
/// implementation bounds that.
pub trait Sealer: std::fmt::Debug + Send + Sync + 'static {
    /// Seals `secret` to what the policy of this sealer says. The blob has 1 to [`BLOB_BYTES_MAX`] bytes.
    fn seal(&self, secret: &Secret<32>) -> Result<Vec<u8>, SealerError>;

    /// The secret of a blob that [`Sealer::seal`] made. The bytes may come from anybody.
    fn unseal(&self, blob: &[u8]) -> Result<Secret<32>, SealerError>;

    /// `blob` is no longer in the keyring, and its successor (if there is one) is durable: whatever the hardware keeps
    /// for it can go, so that no copy of the blob opens any more. May be called again for a blob that went.
    fn retire(&self, blob: &[u8]) -> Result<(), SealerError> {
        let _ = blob;
        Ok(())
    }
}

/// Why the hardware did not seal or unseal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{explanation}")]
pub struct SealerError {
    /// In one word.
    pub reason: SealerReason,
    /// Sentences for the operator: what changed, what that usually means. No secrets.
    pub explanation: String,
}

/// Why, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealerReason {
    /// The policy does not allow it: another boot chain, a changed firmware, a rolled-back disk.
    Refused,
    /// The policy does not allow it, because the firmware's settings are others than at sealing: Secure Boot was switched
    /// off, or its lists changed.
    Firmware,
    /// The blob belongs to other hardware, or the hardware was cleared.
    Foreign,
    /// The hardware does not answer, or says that it cannot now.
    Unavailable,
    /// The blob or an answer is malformed.
    Malformed,
    /// It asks for a PIN, and none was given.
    PinNeeded,
    /// The PIN is wrong.
    WrongPin,
}

impl SealerReason {
    /// The word, for JSON and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Firmware => "firmware",
            Self::Foreign => "foreign",
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
            Self::PinNeeded => "pin-needed",
            Self::WrongPin => "wrong-pin",
        }
    }
}
