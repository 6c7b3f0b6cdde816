//! The parts of a backup: written from the stream. `part_reader` reads them back frame by frame.

use crate::frame::FRAME_BYTES_MAX;
use crate::manifest::{MANIFEST_FILE, Manifest, Part, hex};
use crate::shelf::{Folder, Shelf};
use aws_lc_rs::digest::{Context, SHA256};
use lamchat_disk::{Disk, RealDisk};
use std::io;
use std::path::{Path, PathBuf};

/// Largest part.
pub const PART_BYTES_MAX: u64 = 1 << 30;
pub(crate) const PART_MAGIC: &[u8; 8] = b"LAMPART1";
/// Magic and number.
pub(crate) const PART_HEADER_BYTES: u64 = 12;
/// The version of the manifest.
pub(crate) const FORMAT: u32 = 1;

/// Why parts could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The folder has something in it.
    #[error("{0} is not empty: a backup needs a folder of its own")]
    NotEmpty(PathBuf),
    /// The stream ended before its end mark: the connection broke, or the server stopped.
    #[error("the backup is not complete: the stream ended early")]
    Incomplete,
    /// There is no manifest, so the backup was never finished.
    #[error("{0} has no {MANIFEST_FILE}: this is no backup, or one that was never finished")]
    NoManifest(PathBuf),
    /// The manifest cannot be read by this program.
    #[error("the manifest cannot be used: {0}")]
    Manifest(String),
    /// A part that the manifest names is not there.
    #[error("the part {0} is missing: put all parts of the backup beside its {MANIFEST_FILE}")]
    Missing(String),
    /// A part is not what the manifest says, or its frames do not fit.
    #[error("the part {0} is damaged or truncated")]
    Damaged(String),
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> PartError {
    let path = path.to_owned();
    move |source| PartError::Io { path, source }
}

/// Writes a backup's stream into parts.
pub struct PartWriter<'s> {
    shelf: Box<dyn Shelf + 's>,
    /// What the shelf is called in errors.
    dir: PathBuf,
    bytes_max: u64,
    /// Bytes of a frame that is not complete yet.
    pending: Vec<u8>,
    current: Option<Open>,
    parts: Vec<Part>,
    ended: bool,
}

struct Open {
    file: String,
    digest: Digest,
    bytes: u64,
}

#[derive(Clone)]
pub(crate) struct Digest(pub Context);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

impl<'s> PartWriter<'s> {
    /// Begins in the folder `dir`, which is made if need be and must be empty. Parts have at most `bytes_max` bytes
    /// (usually [`PART_BYTES_MAX`]), or one frame.
    pub fn create(dir: &Path, bytes_max: u64) -> Result<Self, PartError> {
        RealDisk.create_dir(dir).map_err(at(dir))?;
        if std::fs::read_dir(dir).map_err(at(dir))?.next().is_some() {
            return Err(PartError::NotEmpty(dir.to_owned()));
        }
        Ok(Self::onto(Box::new(Folder::new(dir)), dir, bytes_max))
    }

    /// Begins on any shelf, which has nothing on it yet.
    pub fn onto(shelf: Box<dyn Shelf + 's>, name: &Path, bytes_max: u64) -> Self {
        Self {
            shelf,
            dir: name.to_owned(),
            bytes_max,
            pending: Vec::new(),
            current: None,
            parts: Vec::new(),
            ended: false,
        }
    }

    /// Takes the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), PartError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut rest = pending.as_slice();
        while let Some((length, _)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > FRAME_BYTES_MAX || self.ended {
                return Err(PartError::Incomplete);
            }
            if length == 0 {
                self.ended = true;
                rest = rest.get(4..).unwrap_or_default();
                continue;
            }
            let Some((frame, after)) = rest.split_at_checked(4 + length) else {
                break;
            };
            self.frame(frame)?;
            rest = after;
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// Ends the backup: makes everything durable and writes the manifest.
    pub fn finish(mut self) -> Result<Manifest, PartError> {
        self.close()?;
        if !self.ended || !self.pending.is_empty() {
            return Err(PartError::Incomplete);
        }
        let manifest = Manifest {
            format: FORMAT,
            parts: std::mem::take(&mut self.parts),
        };
        let json = serde_json::to_vec_pretty(&manifest).map_err(|error| PartError::Manifest(error.to_string()))?;
        let finished = self.shelf.finish(MANIFEST_FILE, &json);
        finished.map_err(at(&self.dir.join(MANIFEST_FILE)))?;
        Ok(manifest)
    }

    fn frame(&mut self, frame: &[u8]) -> Result<(), PartError> {
        if self
            .current
            .as_ref()
            .is_some_and(|open| open.bytes + frame.len() as u64 > self.bytes_max)
        {
            self.close()?;
        }
        if self.current.is_none() {
            let number = self.parts.len() as u32 + 1;
            let file = format!("part-{number:05}");
            self.shelf.begin(&file).map_err(at(&self.dir.join(&file)))?;
            self.current = Some(Open {
                file,
                digest: Digest(Context::new(&SHA256)),
                bytes: 0,
            });
            self.write(PART_MAGIC)?;
            self.write(&number.to_be_bytes())?;
        }
        self.write(frame)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PartError> {
        if let Some(open) = &mut self.current {
            open.digest.0.update(bytes);
            open.bytes += bytes.len() as u64;
            self.shelf.write(bytes).map_err(at(&self.dir.join(&open.file)))?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), PartError> {
        let Some(Open { file, digest, bytes }) = self.current.take() else {
            return Ok(());
        };
        self.shelf.end().map_err(at(&self.dir.join(&file)))?;
        self.parts.push(Part {
            file,
            bytes,
            sha256: hex(digest.0.finish().as_ref()),
        });
        Ok(())
    }
}
