//! The image of the disk: where it is on the stick, and how it gets onto a disk.
//!
//! Its digest is in the installer, which the firmware checked; so the stick may be anybody's. The whole image is read and
//! compared before the first write, and what was written is read back before the disk gets its partition table: a disk
//! whose installation was cut off has none, and no firmware starts it.

use aws_lc_rs::digest::{Context, SHA256};
use lamchat_attestation::Sha256;
use lamchat_machine::gpt;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What is at the beginning and the end of a disk, and is cleared first and written last: the partition table. Partitions
/// start behind it.
const TABLE_BYTES: u64 = 1 << 20;
/// Bytes that are read and written at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// The partition's type, as its bytes on the disk: 7D0CC9DE-5B0B-4D5D-8C3F-5B2E6F1A4C03.
const KIND: [u8; 16] = [
    0xDE, 0xC9, 0x0C, 0x7D, 0x0B, 0x5B, 0x5D, 0x4D, 0x8C, 0x3F, 0x5B, 0x2E, 0x6F, 0x1A, 0x4C, 0x03,
];
/// The smallest image that can be one, and the largest that is read.
const IMAGE_BYTES: std::ops::RangeInclusive<u64> = 2 * TABLE_BYTES..=16 << 30;

/// `payload.json` of the installer: which image belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// Its length.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Sha256,
}

/// The stick: the disk, and where the image starts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stick {
    /// The disk.
    pub disk: PathBuf,
    /// Bytes from its start.
    pub offset: u64,
}

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A disk could not be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The disk.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The installer's description of the image makes no sense.
    #[error("the installer describes an image of {0} bytes, which is none")]
    Described(u64),
    /// The disk is smaller than the image.
    #[error("the disk has {disk} bytes and the image {image}: nothing was written")]
    Small {
        /// The disk's.
        disk: u64,
        /// The image's.
        image: u64,
    },
    /// The image on the stick is damaged or of another release.
    #[error("the image on the stick is not the installer's (its SHA-256 is {0}): nothing was written")]
    Foreign(Sha256),
    /// What was read back is not what was written.
    #[error("the disk does not give back what was written to it; it has no partition table now")]
    Unfaithful,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The image on the stick is read.
    Checking,
    /// It is written.
    Writing,
    /// It is read back.
    ReadingBack,
}

/// Finds the stick among the disks: the one with a partition for an image of this length.
pub fn find(disks: &[PathBuf], described: &Described) -> Option<Stick> {
    disks.iter().find_map(|disk| {
        let partitions = gpt::read(disk).ok()?;
        let wanted = |one: &&gpt::Partition| one.kind == KIND && one.length >= described.bytes;
        let partition = partitions.iter().find(wanted)?;
        Some(Stick {
            disk: disk.clone(),
            offset: partition.offset,
        })
    })
}

/// Checks the image, writes it to `target` and reads it back. `progress` is told the phase and how many hundredths of it
/// are done.
pub fn install(
    stick: &Stick,
    described: &Described,
    target: &Path,
    progress: &mut dyn FnMut(Phase, u64),
) -> Result<(), InstallError> {
    if !IMAGE_BYTES.contains(&described.bytes) {
        return Err(InstallError::Described(described.bytes));
    }
    let open = |path: &Path, write: bool| {
        let file = OpenOptions::new().read(true).write(write).open(path);
        file.map_err(failed(path))
    };
    let source = Source {
        file: open(&stick.disk, false)?,
        path: &stick.disk,
        offset: stick.offset,
    };
    let mut digest = Context::new(&SHA256);
    source.read(
        0,
        described.bytes,
        |_, bytes| {
            digest.update(bytes);
            Ok(())
        },
        &mut |done| progress(Phase::Checking, done),
    )?;
    let found = finish(digest);
    if found != described.sha256 {
        return Err(InstallError::Foreign(found));
    }
    let disk = Target {
        file: open(target, true)?,
        path: target,
    };
    disk.write(&source, described, progress)
}

/// The image on the stick.
struct Source<'a> {
    file: File,
    path: &'a Path,
    offset: u64,
}

impl Source<'_> {
    /// Reads from `from` to `to`, both from the image's start, and hands every piece on.
    fn read(
        &self,
        from: u64,
        to: u64,
        mut piece: impl FnMut(u64, &[u8]) -> Result<(), InstallError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), InstallError> {
        let mut buffer = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or_default()];
        let mut at = from;
        while at < to {
            let length = CHUNK_BYTES.min(to - at);
            let bytes = buffer.get_mut(..usize::try_from(length).unwrap_or_default());
            let bytes = bytes.unwrap_or_default();
            self.file
                .read_exact_at(bytes, self.offset.saturating_add(at))
                .map_err(failed(self.path))?;
            piece(at, bytes)?;
            at += length;
            progress(at.saturating_mul(100) / to);
        }
        Ok(())
    }
}

/// The disk that is written.
struct Target<'a> {
    file: File,
    path: &'a Path,
}

impl Target<'_> {
    fn write(
        &self,
        source: &Source<'_>,
        described: &Described,
        progress: &mut dyn FnMut(Phase, u64),
    ) -> Result<(), InstallError> {
        let failed = || failed(self.path);
        let bytes = self.length()?;
        if bytes < described.bytes {
            return Err(InstallError::Small {
                disk: bytes,
                image: described.bytes,
            });
        }
        // Both copies of an older table go, else the copy at the end would be taken for this disk's.
        let zeros = vec![0; usize::try_from(TABLE_BYTES).unwrap_or_default()];
        for at in [0, bytes - TABLE_BYTES] {
            self.file.write_all_at(&zeros, at).map_err(failed())?;
        }
        self.file.sync_all().map_err(failed())?;
        let mut table = Vec::new();
        source.read(
            0,
            TABLE_BYTES,
            |_, piece| {
                table.extend_from_slice(piece);
                Ok(())
            },
            &mut |_| (),
        )?;
        let copy = |at: u64, piece: &[u8]| self.file.write_all_at(piece, at).map_err(failed());
        source.read(TABLE_BYTES, described.bytes, copy, &mut |done| {
            progress(Phase::Writing, done)
        })?;
        self.file.sync_all().map_err(failed())?;
        // What is read back comes from the disk and not from memory.
        posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .map_err(|error| failed()(error.into()))?;
        let mut digest = Context::new(&SHA256);
        digest.update(&table);
        let written = Source {
            file: self.file.try_clone().map_err(failed())?,
            path: self.path,
            offset: 0,
        };
        written.read(
            TABLE_BYTES,
            described.bytes,
            |_, piece| {
                digest.update(piece);
                Ok(())
            },
            &mut |done| progress(Phase::ReadingBack, done),
        )?;
        if finish(digest) != described.sha256 {
            return Err(InstallError::Unfaithful);
        }
        self.file.write_all_at(&table, 0).map_err(failed())?;
        self.file.sync_all().map_err(failed())
    }

    fn length(&self) -> Result<u64, InstallError> {
        use std::io::{Seek, SeekFrom};
        (&self.file).seek(SeekFrom::End(0)).map_err(failed(self.path))
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Io { path, source }
}

fn finish(digest: Context) -> Sha256 {
    // SHA-256 has 32 bytes.
    Sha256(digest.finish().as_ref().try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests;
