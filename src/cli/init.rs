//! `lamchat init`

use super::Failure;

/// Runs the machine until it is switched off.
pub fn run(install: bool) -> Result<(), Failure> {
    crate::init::run(install)
}
