//! The audit log: every administrative act, appended in the transaction of the act itself to a Merkle tree whose signed
//! heads (C2SP tlog-checkpoint) an auditor can take away, compare and co-sign. `FORMAT.md` has every byte.
//!
//! Two halves:
//! - **pure**, for whoever verifies without a server: [`tree`], [`entry`], [`note`], [`checkpoint`], [`key`],
//!   [`change`], [`export`], [`tiles`], [`proof`], [`verify`], [`witness`]. They open no file and know no store.
//! - **of the server**: [`log`] in the store, [`notary`] who signs and what it [`keep`]s, [`audit_log`] around them;
//!   [`configuration`] tells what changed in it.
//!
//! Promises:
//! - An act and its entry are committed together. Nobody waits for a signature but whoever asks for one.
//! - An entry tells who administered, never who talked; no secrets, no addresses.
//! - Nothing is signed that contradicts what was signed before.
//!
//! Why not the crates `signed_note` and `tlog_tiles` (0.2): the first knows no ECDSA, which TPMs sign with, and both
//! bring second versions of base64, sha2 and thiserror. What is needed of the specifications is some 300 lines.

pub mod audit_log;
pub mod change;
pub mod checkpoint;
pub mod configuration;
pub mod entry;
pub mod export;
mod heads;
pub mod keep;
pub mod key;
pub mod log;
pub mod notary;
pub mod note;
pub mod proof;
mod signing;
mod software;
pub mod tiles;
pub mod tree;
pub mod verify;
pub mod witness;

#[cfg(test)]
mod tests;

pub use audit_log::{AuditError, AuditLog, Status, Trouble};
pub use change::{Chain, KeyChange, Plan, Span};
pub use entry::{Actor, Entry};
pub use key::VerifierKey;
pub use log::{APPENDED, TABLES, append};
pub use note::Note;
pub use witness::WitnessKey;
