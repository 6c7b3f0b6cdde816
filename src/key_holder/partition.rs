//! The keyring of the bootable image: on a raw partition, in two copies.

use crate::cli::Failure;
use lamchat_disk::{Disk, PackedDisk, Piece};
use lamchat_machine::two_copies::{self, KEYRING, TwoCopiesError};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// The partition, opened before the sandbox closes. Nobody else writes to its part of it.
#[derive(Debug)]
struct Partition(File);

impl Piece for Partition {
    fn keep(&self, contents: &[u8]) -> io::Result<()> {
        two_copies::write(&self.0, &KEYRING, contents).map_err(|error| match error {
            TwoCopiesError::Io(error) => error,
            error => io::Error::new(ErrorKind::InvalidData, error),
        })
    }

    fn bytes_max(&self) -> usize {
        KEYRING.content_bytes_max
    }
}

/// The folder `dir` as it lies on the partition.
pub fn open(partition: &Path, dir: &Path) -> Result<Arc<dyn Disk>, Failure> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", partition.display());
    let device = File::options().read(true).write(true).open(partition);
    let device = device.map_err(|error| named(&error))?;
    let kept = two_copies::read(&device, &KEYRING).map_err(|error| named(&error))?;
    let disk = PackedDisk::new(dir, &kept.unwrap_or_default(), Box::new(Partition(device)));
    Ok(Arc::new(disk.map_err(|error| named(&error))?))
}
