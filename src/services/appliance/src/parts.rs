//! The parts of a backup on disk: written from the stream, read back frame by frame.

use crate::frame::FRAME_BYTES_MAX;
use crate::manifest::{MANIFEST_FILE, Manifest, Part, hex};
use crate::shelf::{Folder, Shelf};
use aws_lc_rs::digest::{Context, SHA256};
use lamchat_disk::{Disk, RealDisk};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Largest part.
pub const PART_BYTES_MAX: u64 = 1 << 30;
const PART_MAGIC: &[u8; 8] = b"LAMPART1";
/// Magic and number.
const PART_HEADER_BYTES: u64 = 12;
/// The version of the manifest.
const FORMAT: u32 = 1;

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

fn at(path: &Path) -> impl FnOnce(io::Error) -> PartError {
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
struct Digest(Context);

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

/// Reads the frames of a backup in their order, and compares each part with the manifest at its end.
#[derive(Debug)]
pub(crate) struct PartReader {
    dir: PathBuf,
    parts: std::vec::IntoIter<Part>,
    number: u32,
    current: Option<Reading>,
}

#[derive(Debug)]
struct Reading {
    part: Part,
    file: BufReader<File>,
    digest: Digest,
    left: u64,
}

impl PartReader {
    pub fn open(dir: &Path) -> Result<Self, PartError> {
        let path = dir.join(MANIFEST_FILE);
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PartError::NoManifest(dir.to_owned())),
            Err(error) => return Err(at(&path)(error)),
        };
        let manifest: Manifest =
            serde_json::from_slice(&json).map_err(|error| PartError::Manifest(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(PartError::Manifest(format!(
                "it has format {}: install a newer lamchat",
                manifest.format
            )));
        }
        for part in &manifest.parts {
            let good = part
                .file
                .strip_prefix("part-")
                .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
            if !good {
                return Err(PartError::Manifest(format!("{:?} is no name of a part", part.file)));
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            parts: manifest.parts.into_iter(),
            number: 0,
            current: None,
        })
    }

    /// The next frame, or `None` after the last one. Bounded memory, whatever the parts say.
    pub fn frame(&mut self) -> Result<Option<Vec<u8>>, PartError> {
        loop {
            let Some(reading) = &mut self.current else {
                match self.parts.next() {
                    Some(part) => self.begin(part)?,
                    None => return Ok(None),
                }
                continue;
            };
            if reading.left > 0 {
                return reading.frame().map(Some);
            }
            if let Some(Reading { part, digest, .. }) = self.current.take()
                && hex(digest.0.finish().as_ref()) != part.sha256
            {
                return Err(PartError::Damaged(part.file));
            }
        }
    }

    fn begin(&mut self, part: Part) -> Result<(), PartError> {
        self.number += 1;
        let path = self.dir.join(&part.file);
        let file = File::open(&path).map_err(at(&path))?;
        if file.metadata().map_err(at(&path))?.len() != part.bytes || part.bytes < PART_HEADER_BYTES {
            return Err(PartError::Damaged(part.file));
        }
        let left = part.bytes;
        let file = BufReader::with_capacity(1 << 20, file);
        let mut reading = Reading {
            part,
            file,
            digest: Digest(Context::new(&SHA256)),
            left,
        };
        let mut header = [0u8; PART_HEADER_BYTES as usize];
        reading.fill(&mut header)?;
        let (magic, number) = header.split_at(PART_MAGIC.len());
        if magic != PART_MAGIC || number != self.number.to_be_bytes() {
            return Err(PartError::Damaged(reading.part.file));
        }
        self.current = Some(reading);
        Ok(())
    }
}

impl Reading {
    fn frame(&mut self) -> Result<Vec<u8>, PartError> {
        let mut length = [0u8; 4];
        self.fill(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > FRAME_BYTES_MAX || length as u64 > self.left {
            return Err(PartError::Damaged(self.part.file.clone()));
        }
        let mut frame = vec![0u8; length];
        self.fill(&mut frame)?;
        Ok(frame)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PartError> {
        let damaged = || PartError::Damaged(self.part.file.clone());
        self.left = self.left.checked_sub(buffer.len() as u64).ok_or_else(damaged)?;
        self.file
            .read_exact(buffer)
            .map_err(|_| PartError::Damaged(self.part.file.clone()))?;
        self.digest.0.update(buffer);
        Ok(())
    }
}
