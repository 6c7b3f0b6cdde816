//! Files on a USB stick, read and written in user space. [`serve`] is the process that has the stick open and nothing
//! else; [`Stick`] is the way to it of whoever started that process. Between them goes `wire`.
//!
//! A stick is a stranger's: its tables may lead anywhere, in circles, or change while they are read. What must never
//! happen here: a wait without an end, an access outside of the file system, memory that grows with what a stick says.
//! Should fatfs panic all the same, the process ends and its peer is told so.

mod area;
mod boot;
mod client;
mod names;
mod partition;
mod server;
mod volume;
mod wire;

pub use client::{FileReader, Stick, StickError};
pub use names::check_path;
pub use server::{Limits, serve};
pub use volume::FILE_BYTES_MAX;
pub use wire::{About, Entry};

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
