//! The time from servers that prove who they are: Network Time Security, RFC 8915, the client's side.
//!
//! Keys are agreed on over TLS 1.3 ([`agree`]); with them, and a cookie each, questions by NTP are asked ([`Session::ask`]).
//! Everything blocks, within the times that are named here.
//!
//! **A sane clock.** A certificate is valid between two times, and the clock is what is being asked for. A certificate that
//! is not valid *yet* is judged as of its own beginning: a clock that was never set is behind, and nobody gains by a
//! certificate from later. One that is valid *no longer* is refused. And a time that is told counts only if the
//! certificate is valid at that time ([`Session::ask`]).
//!
//! What must never happen here: a time that is not authenticated, a cookie that is used twice.

mod agree;
mod certificate;
mod packet;
mod record;
mod session;

pub use agree::{AgreeError, Server, agree};
pub use certificate::Authorities;
pub use session::{AskError, Session};
