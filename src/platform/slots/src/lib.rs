//! The two slots of the box's releases, on the EFI system partition: one runs, the other is written.
//!
//! Works on any bytes that can be read, written and synced, in user space: the process that uses it needs one open
//! device and nothing else.
//!
//! Promises:
//! - The slot that runs is never written, and nothing is written as long as it is not marked good: until then the other
//!   one is its fallback.
//! - A power cut at any moment leaves the slot that runs as it was, if the disk writes a sector of 512 bytes whole or
//!   not at all. What a cut left over is put right before the next write.
//! - A file system that is not as it should be is refused before anything is written.

mod fat;
mod follow;
mod name;
mod slots;
mod volume;

pub use fat::FatError;
pub use follow::Followed;
pub use name::{Name, Slot, TRIES};
pub use slots::{Content, Entry, SlotError, Slots};
pub use volume::{Device, FileDevice};

#[cfg(test)]
mod tests;
