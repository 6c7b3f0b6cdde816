//! `lamchat serve`

use super::{Failure, Place};
use crate::serve::{self, Start};

/// Runs the server until it is told to stop.
pub fn run(place: &Place, confined: bool) -> Result<(), Failure> {
    let start = Start {
        config: place.load()?,
        place: place.clone(),
        confined,
    };
    Ok(serve::run(start)?)
}
