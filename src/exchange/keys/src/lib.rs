//! Keys of devices and users, and what is sent to devices directly.
//!
//! Promises: a one-time key is handed out at most once; nothing is stored whose signature was not verified by
//! vodozemac; signatures of a user-signing key are shown to nobody but its owner; a message to a device is kept
//! until that device acknowledges it; a transaction id sends once, across restarts.
//!
//! The functions take a snapshot or a write, never both. What costs time (parsing, verifying) has a function of its
//! own that needs neither, so that it runs outside the one writer.

pub mod backup;
pub mod backup_session;
pub mod cross_signing;
pub mod device_keys;
pub mod device_list;
pub mod one_time;
mod one_time_row;
pub mod query;
mod row;
pub mod signatures;
mod signed;
#[cfg(test)]
mod testing;
pub mod to_device;

pub use query::QueryCache;
pub use signed::SignedError;

use lamchat_base::{DeviceNum, UserNum};
use lamchat_store::Table;
use ruma::{DeviceId, UserId};

/// Every table of this crate.
pub const TABLES: &[Table] = &[
    device_keys::DEVICE,
    device_list::CHANGE,
    device_list::NEWEST,
    one_time::CHUNK,
    one_time::STATE,
    one_time::FALLBACK,
    cross_signing::KEY,
    signatures::USER_SIGNATURE,
    to_device::INBOX,
    to_device::INBOX_SIZE,
    to_device::TRANSACTION,
    to_device::SWEPT,
    backup::VERSION,
    backup_session::SESSION,
];

/// The device whose keys something is about, with its long and its short names.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The user's number.
    pub user: UserNum,
    /// The user's id.
    pub user_id: &'a UserId,
    /// The device's number.
    pub device: DeviceNum,
    /// The device's id.
    pub device_id: &'a DeviceId,
}
