//! `lamchat serve`

use super::{Failure, Place};
use crate::serve::{self, Start};

/// Runs the server until it is told to stop.
pub fn run(place: &Place) -> Result<(), Failure> {
    let start = Start {
        config: place.load()?,
        file: place.config.clone(),
        data_dir: place.data_dir.clone(),
    };
    Ok(serve::run(start)?)
}
