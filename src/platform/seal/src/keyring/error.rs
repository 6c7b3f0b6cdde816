//! What can go wrong with a keyring, one enum per operation.

use crate::format::FormatError;
use crate::sealer::SealerError;
use crate::slot::SlotKind;
use std::io;
use std::path::PathBuf;

/// Why a keyring was not created. No keyring is there afterwards.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one already.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// An empty passphrase, or argon2id parameters out of range.
    #[error("the passphrase is empty or its cost is out of range")]
    Passphrase,
    /// The TPM did not seal.
    #[error("the TPM did not seal the key: {0}")]
    Sealer(#[source] SealerError),
    /// The disk refused.
    #[error("the keyring could not be written: {0}")]
    Io(#[from] io::Error),
}

/// Why a keyring did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No keyring there.
    #[error("there is no keyring at {0}")]
    Missing(PathBuf),
    /// The file cannot be used.
    #[error("the keyring {path} cannot be used: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// It has no slot of the asked kind.
    #[error("the keyring has no {0} slot; {advice}", advice = advice(*.0))]
    NoSlot(SlotKind),
    /// `keyring.key` is missing or damaged.
    #[error("the wrapping key {0} is missing or damaged; open the keyring by passphrase, or restore a backup")]
    WrappingKey(PathBuf),
    /// No passphrase slot opens with this passphrase.
    #[error("this is not the passphrase of the keyring")]
    WrongPassphrase,
    /// No recovery slot opens with this key.
    #[error("this is not the recovery key of the keyring")]
    WrongRecoveryKey,
    /// The TPM did not give the wrapping key.
    #[error("the TPM did not open the keyring: {0}")]
    Sealer(#[source] SealerError),
    /// The slot opened, but the rest was changed by somebody without the master key.
    #[error("the keyring was changed by somebody who does not have its master key")]
    Forged,
    /// The disk refused.
    #[error("the keyring could not be read: {0}")]
    Io(#[from] io::Error),
}

fn advice(missing: SlotKind) -> &'static str {
    match missing {
        SlotKind::File => "unlock it with its passphrase or its recovery key",
        SlotKind::Passphrase => "unlock it in another way",
        SlotKind::Recovery => "unlock it with its passphrase",
        SlotKind::Tpm => "unlock it with its recovery key or its passphrase",
    }
}

/// Why a recovery key was not noted as verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyRecoveryError {
    /// It opens no slot, or there is no such slot.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk refused.
    #[error("the keyring could not be written: {0}")]
    Io(#[from] io::Error),
}

/// Why a data key is not available.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// No such key: what asks for it belongs to another keyring, or the key was destroyed.
    #[error("the keyring has no data key {number} for this purpose")]
    Unknown {
        /// The number that was asked for; 0 for the newest.
        number: u32,
    },
    /// A wrapped key does not open.
    #[error("a data key of the keyring is damaged")]
    Damaged,
    /// The disk refused.
    #[error("the keyring could not be written: {0}")]
    Io(#[from] io::Error),
}
