//! The seam to the disk: all that those who must survive a power cut ask of a file system.
//!
//! Behind it stands the real file system ([`RealDisk`]) or, in tests, a simulated one (`simulation::SimulatedDisk`)
//! that loses what was not synced. Database, log, keyring, sealed secrets and media all stand on this one seam, so
//! that one simulated power cut hits all of them in the same moment. [`Overlay`] lets what can only be read be opened.
//!
//! What must never happen here: a success of a sync that the system did not report. Nothing here is async: callers
//! run on threads that may block.

mod disk;
mod overlay;
mod packed;
mod real;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod small;

pub use disk::{Disk, File, Lock};
pub use overlay::Overlay;
pub use packed::{PackedDisk, Piece};
pub use real::RealDisk;
pub use small::{read_file, replace_file};
