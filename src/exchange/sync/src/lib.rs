//! `/sync`: positions, waiting, streams.
//!
//! Promises:
//! - An answer is a pure function of a snapshot, a token and a filter; the next token says exactly what was given.
//! - No change is lost and none is given out of order: what does not fit leaves a gap that `limited` and `prev_batch` tell of.
//! - A long poll registers for changes before it takes the snapshot that it judges by.
//! - Messages to a device are removed when the client comes back with a token that says it got them, not before.

mod answer;
pub mod changes;
mod device_lists;
pub mod filter;
mod invited;
mod joined;
mod left;
mod presence;
pub mod sliding;
mod state;
mod syncer;
mod timeline;
pub mod token;

#[cfg(test)]
mod tests;

pub use filter::SyncFilter;
pub use presence::tell_presence_forever;
pub use sliding::SlidingError;
pub use syncer::{Request, StateAfter, SyncError, Syncer, TIMEOUT_MAX, Who};
pub use token::Token;
