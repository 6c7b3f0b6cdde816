//! Push rules, unread counts, pushers.
//!
//! Promises: an event costs its room's members nothing when it is sent; how many unread ones there are is worked out
//! when a member's `/sync` asks, from where the count last stood. Nothing is sent to push gateways.

pub mod evaluate;
mod legacy;
pub mod pushers;
mod room_context;
pub mod rules;
pub mod unread;

pub use unread::UnreadCounts;

use lamchat_store::Table;

/// Every table of this crate.
pub const TABLES: &[Table] = &[pushers::PUSHER, pushers::BY_KEY];
