//! Notices of the server itself to its administrators, in a room of their own.
//!
//! Somebody else looks after the machine and hands over what is to be looked after, as [`Alarm`]s, again and again.
//! [`Notices`] tells what has become worse, what is news, and what is well again: each once, also across restarts, and
//! no more often than [`teller`] allows.
//!
//! The room follows Matrix 1.16, "Server Notices": tagged `m.server_notice`, administrators are invited and cannot write
//! there. Its sender is [`localpart::NOTICES`](lamchat_identity::localpart::NOTICES), a user without an account: nobody can
//! log in as it, take its name or invite it.
//!
//! What is told there is in plain text: the server has no device that could encrypt. So it has no names of users, and no
//! contents.

mod alarm;
mod notices;
mod room;
pub mod teller;

pub use alarm::{Alarm, Level};
pub use notices::{NoticeError, Notices, TABLES};
pub use room::{is_room, is_told};
