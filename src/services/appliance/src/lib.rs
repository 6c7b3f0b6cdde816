//! Backup and restore of the whole exchange, and the configuration of the box.
//!
//! A backup is a stream of authenticated, encrypted frames that the running server makes ([`Backup`]) and that a
//! command writes into parts ([`PartWriter`]). It opens only by a passphrase of the keyring. `FORMAT.md` has the bytes.
//!
//! What must never happen here: a file slot or a clear key in a backup, a truncated or changed backup restored, a
//! one-time key of a backup handed out a second time.

mod backup;
mod carried;
mod folders;
mod frame;
mod frames;
mod manifest;
mod part_reader;
mod parts;
pub mod pin;
pub mod pull;
mod rack;
mod record;
mod restore;
mod shelf;
pub mod site;
#[cfg(test)]
mod tests;

pub use backup::{Backup, BackupError, KeyringSource, PrepareError, Source, Stopped};
pub use carried::{Carried, Outcome, Step, carry};
pub use folders::Folders;
pub use manifest::{MANIFEST_FILE, Manifest, Part};
pub use parts::{PART_BYTES_MAX, PartError, PartWriter};
pub use rack::Rack;
pub use record::Counts;
pub use restore::{
    Beginning, RestoreError, RestoreOptions, RestoreUnder, Restored, beginning, restore, restore_under, verify,
};
pub use shelf::Shelf;
