//! `lamchat restorer`: reads a backup that comes by the socket on standard input.

use super::{Failure, Place};
use crate::serve::{self, Start};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Looks at it, or fills the data folder that the configuration names.
pub fn run(place: &Place, look: bool) -> Result<(), Failure> {
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    if look {
        return Ok(serve::look_at_backup(stream)?);
    }
    let start = Start {
        config: place.load()?,
        place: place.clone(),
        confined: true,
    };
    Ok(serve::restore_carried(&start, stream)?)
}
