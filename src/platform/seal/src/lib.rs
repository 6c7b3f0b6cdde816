//! The keyring: a random master key that is never on disk in the clear, slots that wrap it, and numbered data keys
//! that it wraps. `FORMAT.md` beside this crate documents every byte.
//!
//! The master key only wraps data keys. Data keys encrypt the database, media, small secrets and content, and live
//! outside the database, because copy-on-write pages keep deleted rows, and so would keep deleted keys.
//!
//! A [`Keyring`] is what a key holder has: master key and slots. [`DataKeys`] is what the exchange has: the keys that the
//! holder released, all but those of the holder's own.
//!
//! What must never happen here: a secret in `Debug` output or in an error, a secret written without its wrapping, an
//! old keyring lost before the new one is durable.

mod cipher;
mod data_keys;
mod export;
mod format;
mod keyring;
mod marks;
mod own;
mod passphrase;
mod recovery;
mod sealed;
mod sealer;
mod slot;
#[cfg(test)]
mod tests;

pub use cipher::{Aead, TamperedError};
pub use data_keys::{DataKey, DataKeys, ReleasedKey};
pub use export::{BackupKeyring, ExportError, ImportError};
pub use format::FormatError;
pub use keyring::{
    CreateError, Keyring, KeyringError, OpenError, Purpose, RenewError, SlotKey, Status, Unlock, VerifyRecoveryError,
};
pub use marks::Mark;
pub use passphrase::PassphraseCost;
pub use recovery::{RecoveryKey, RecoveryKeyError};
pub use sealed::SecretError;
pub use sealer::{BLOB_BYTES_MAX, Sealer, SealerError, SealerReason};
pub use slot::{SLOTS_MAX, SlotError, SlotInfo, SlotKind};
