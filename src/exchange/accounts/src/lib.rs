//! Users, accounts, sessions, devices, profiles, account data and filters.
//!
//! Promises:
//! - An access token is never stored: the table knows only its SHA-256, and a token has at least 190 random bits.
//! - Numbers of users and devices are never used twice, even when a device id is.
//! - No IP address is ever stored. When a device was last seen is written at most every five minutes.
//! - Removing a device answers its number, so that who keeps rows under it clears them in the same write.
//!
//! All functions take a snapshot (`&dyn Read`) or a write (`&mut WriteTxn<'_>`), so that one commit can span crates.
//! The clock and random bytes come in as parameters.

pub mod account;
pub mod account_data;
pub mod device;
pub mod filter;
pub mod openid;
pub mod presence;
pub mod profile;
pub mod report;
mod row;
pub mod session;
mod tables;
pub mod tag;
pub mod token;
pub mod user;

pub use session::Session;
pub use tables::TABLES;
