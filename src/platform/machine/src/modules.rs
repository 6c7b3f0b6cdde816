//! Kernel modules: which belong to a device, and loading them in the order of their dependencies.

mod alias;
mod busy;
mod dependencies;
mod load;
mod named;

pub use alias::{Aliases, matches};
pub use dependencies::{Dependencies, normal_name};
pub use load::{Loader, OpenError};
pub use named::{Condition, Facts, Named};
