//! `lamchat init`

use super::Failure;

/// Runs the machine until it is switched off.
pub fn run() -> Result<(), Failure> {
    crate::init::run()
}
