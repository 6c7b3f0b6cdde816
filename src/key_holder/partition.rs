//! The keyring of the bootable image: on a raw partition, in two copies; where two disks mirror each other, on each.

use crate::cli::Failure;
use lamchat_disk::{Disk, PackedDisk, Piece};
use lamchat_machine::two_copies::{self, KEYRING, TwoCopiesError};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The partitions, opened before the sandbox closes. Nobody else writes to their part of them.
#[derive(Debug)]
struct Partitions(Vec<File>);

impl Piece for Partitions {
    fn keep(&self, contents: &[u8]) -> io::Result<()> {
        let failed = two_copies::write_each(&self.0, &KEYRING, contents).map_err(|error| match error {
            TwoCopiesError::Io(error) => error,
            error => io::Error::new(ErrorKind::InvalidData, error),
        })?;
        // A half that has failed: process 1 sees to it. What was written is on the other one.
        for error in failed {
            tracing::warn!(%error, "the keyring was written to one disk only");
        }
        Ok(())
    }

    fn bytes_max(&self) -> usize {
        KEYRING.content_bytes_max
    }
}

/// The folder `dir` as it lies on the partitions. Of those that differ, the newest counts, and the others get it.
pub fn open(partitions: &[PathBuf], dir: &Path) -> Result<Arc<dyn Disk>, Failure> {
    let names: Vec<String> = partitions.iter().map(|path| path.display().to_string()).collect();
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", names.join(", "));
    let open = |path: &PathBuf| File::options().read(true).write(true).open(path);
    let (devices, failed): (Vec<_>, Vec<_>) = partitions.iter().map(open).partition(Result::is_ok);
    let devices: Vec<File> = devices.into_iter().flatten().collect();
    // A half that has gone since the start.
    for error in failed.into_iter().filter_map(Result::err) {
        if devices.is_empty() {
            return Err(Failure(named(&error)));
        }
        tracing::warn!(%error, "the keyring is on one disk only");
    }
    let kept = two_copies::read_newest(&devices, &KEYRING).map_err(|error| named(&error))?;
    match two_copies::level(&devices, &KEYRING) {
        Ok(0) => {}
        Ok(_) => tracing::warn!("a disk had an older keyring, and has the newest now"),
        Err(error) => tracing::warn!(%error, "the keyring is on one disk only"),
    }
    let disk = PackedDisk::new(dir, &kept.unwrap_or_default(), Box::new(Partitions(devices)));
    Ok(Arc::new(disk.map_err(|error| named(&error))?))
}
