//! `lamchat rescue`: the bytes of a backup on standard output.

use super::{Failure, Place};
use crate::serve::{self, Start};
use std::fs::File;
use std::os::fd::AsFd;

/// Makes one of the data folder that the configuration names, which is only read.
pub fn run(place: &Place) -> Result<(), Failure> {
    // As a file: what it holds back of a line would be lost with the process.
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let start = Start {
        config: place.load()?,
        place: place.clone(),
        confined: true,
    };
    Ok(serve::rescue(&start, &mut out)?)
}
