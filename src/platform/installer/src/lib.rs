//! What the installer does: finds the disks, writes the release's image to one, and makes the firmware the operator's.
//!
//! Mechanisms only: `lamchat init --install` asks the operator and calls these.
//!
//! What must never happen here: a write to a disk before the whole image on the stick was found to be the signed one; a
//! disk that starts although its image was not written to the end; a write to the stick itself.

mod disks;
mod drivers;
mod owner;
mod payload;

pub use disks::{DISK_BYTES_MIN, Disk, Refusal, list};
pub use drivers::{Driver, drivers, log_of_machine};
pub use owner::{EnrolError, Owner, Updates, enrol, owner};
pub use payload::{Described, InstallError, Phase, Stick, find, install};
