//! The room rules of Matrix, per room version: canonical JSON, hashing, signing, redaction, authorization.
//!
//! Pure: no I/O, no clock, no randomness; state comes in through closures. The rules themselves are ruma's; this crate gives
//! them types of its own, so that nobody above sees ruma's state resolution, and writes events byte by byte so that one is
//! hashed, signed and stored without being serialised again.
//!
//! For a local event: [`auth::needed_state`] and [`auth::check`] against the current state, then [`pdu::build`]. For an event
//! of another server [`auth::check`] is called three times: with its auth events, with the state before it, with the current
//! state.

pub mod auth;
pub mod canonical;
pub mod event;
pub mod pdu;
pub mod power;
pub mod redact;
pub mod server_keys;
pub mod sign;
pub mod version;

pub use auth::Refused;
pub use canonical::{Object, Value};
pub use event::Event;
pub use pdu::{Draft, Pdu};
pub use power::{Level, Power};
pub use server_keys::OldKey;
pub use sign::SigningKey;
pub use version::Version;
