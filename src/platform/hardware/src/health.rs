//! How this machine's hardware is, as the kernel tells it in `/sys`. Nothing is written, no program is asked.
//!
//! Pure reading of an injected root folder; [`Surveyor`] gives each device a thread and a time limit, because a broken
//! sensor can hold its reader up for ever. Limits come from the hardware: a reading without one is shown, and never alarms.

mod bus;
mod disk;
mod hwmon;
mod memory;
mod mirror;
mod network;
mod power;
mod reading;
mod root;
mod security;
mod surveyor;
#[cfg(test)]
pub(crate) mod testing;

pub use reading::{Health, Part, Reading, State, Unit};
pub use root::Root;
pub use surveyor::Surveyor;
