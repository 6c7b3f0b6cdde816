//! Rooms: the log of events, state, membership, timeline, relations, receipts, typing, aliases.
//!
//! Promises:
//! - What an operation answers is durable: every answer comes after the commit.
//! - Every event, local ones included, is authorized by the room version's rules before it is made.
//! - The events that this exchange makes in one room form one chain. A room's lock is held from the snapshot to the commit,
//!   and the commit checks that the room's head is still the one that the event was built on.
//! - A transaction id is answered with the same event for ever, across restarts.
//! - Nothing here fetches anything from anywhere.
//!
//! Reading: free functions over `&dyn Read` ([`state`], [`membership`], [`head`], [`log`], …). Writing: methods of [`Rooms`].

pub mod alias;
mod append;
pub mod at_time;
mod authorize;
mod chain;
mod content;
pub mod context;
pub mod create;
pub mod delayed;
pub mod directory;
pub mod event;
pub mod event_id;
pub mod filter;
pub mod forget;
mod guest;
pub mod head;
pub mod hierarchy;
pub mod invite;
pub mod invite_permission;
pub mod join;
pub mod knock;
pub mod leave;
pub mod log;
pub mod membership;
mod new_relation;
pub mod newest_first;
pub mod preview;
pub mod profile;
pub mod put_state;
pub mod receipt;
pub mod redact;
pub mod relation;
pub mod room;
mod rooms;
pub mod search;
pub mod send;
pub mod state;
pub mod summary;
pub mod table;
pub mod thread;
pub mod timeline;
pub mod transaction;
pub mod typing;
pub mod upgrade;
pub mod view;
pub mod visibility;

#[cfg(test)]
mod tests;

pub use append::AppendError;
pub use membership::Membership;
pub use room::Room;
pub use rooms::{Caller, Rooms};
pub use table::TABLES;
