//! Reads the frames of a backup's parts, wherever those lie, in bounded memory.
//!
//! What must never happen here: a part that is not what the manifest says, taken for whole.

use crate::frame::FRAME_BYTES_MAX;
use crate::manifest::{MANIFEST_FILE, Manifest, Part, hex};
use crate::parts::{Digest, FORMAT, PART_HEADER_BYTES, PART_MAGIC, PartError, at};
use crate::rack::Rack;
use aws_lc_rs::digest::{Context, SHA256};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Largest manifest: more than the parts of 50 TB need.
const MANIFEST_BYTES_MAX: u64 = 8 << 20;

/// Reads the frames of a backup in their order, and compares each part with the manifest at its end.
pub(crate) struct PartReader<'r> {
    rack: &'r mut dyn Rack,
    /// What the rack is called in errors.
    dir: PathBuf,
    parts: std::vec::IntoIter<Part>,
    number: u32,
    current: Option<Reading>,
}

struct Reading {
    part: Part,
    digest: Digest,
    left: u64,
}

impl<'r> PartReader<'r> {
    /// Begins with the manifest. `dir` is what the rack is called in errors.
    pub fn open(rack: &'r mut dyn Rack, dir: &Path) -> Result<Self, PartError> {
        let path = dir.join(MANIFEST_FILE);
        let mut json = Vec::new();
        match rack.begin(MANIFEST_FILE) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(PartError::NoManifest(dir.to_owned())),
            Err(error) => return Err(at(&path)(error)),
        }
        rack.take(MANIFEST_BYTES_MAX + 1)
            .read_to_end(&mut json)
            .map_err(at(&path))?;
        if json.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(PartError::Manifest("it is too large".to_owned()));
        }
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
            rack,
            dir: dir.to_owned(),
            parts: manifest.parts.into_iter(),
            number: 0,
            current: None,
        })
    }

    /// The bytes of all parts that the manifest names, each of which is there and as long as it says. Nothing is read of
    /// them.
    pub fn bytes(&mut self) -> Result<u64, PartError> {
        let mut bytes = 0u64;
        for part in self.parts.as_slice() {
            if length(self.rack, &self.dir, part)? != part.bytes {
                return Err(PartError::Damaged(part.file.clone()));
            }
            bytes = bytes.saturating_add(part.bytes);
        }
        Ok(bytes)
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
                return reading.frame(self.rack, &self.dir).map(Some);
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
        if length(self.rack, &self.dir, &part)? != part.bytes || part.bytes < PART_HEADER_BYTES {
            return Err(PartError::Damaged(part.file));
        }
        self.rack.begin(&part.file).map_err(at(&self.dir.join(&part.file)))?;
        let left = part.bytes;
        let mut reading = Reading {
            part,
            digest: Digest(Context::new(&SHA256)),
            left,
        };
        let mut header = [0u8; PART_HEADER_BYTES as usize];
        reading.fill(self.rack, &self.dir, &mut header)?;
        let (magic, number) = header.split_at(PART_MAGIC.len());
        if magic != PART_MAGIC || number != self.number.to_be_bytes() {
            return Err(PartError::Damaged(reading.part.file));
        }
        self.current = Some(reading);
        Ok(())
    }
}

fn length(rack: &mut dyn Rack, dir: &Path, part: &Part) -> Result<u64, PartError> {
    rack.length(&part.file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => PartError::Missing(part.file.clone()),
        _ => at(&dir.join(&part.file))(error),
    })
}

impl Reading {
    fn frame(&mut self, rack: &mut dyn Rack, dir: &Path) -> Result<Vec<u8>, PartError> {
        let mut length = [0u8; 4];
        self.fill(rack, dir, &mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > FRAME_BYTES_MAX || length as u64 > self.left {
            return Err(PartError::Damaged(self.part.file.clone()));
        }
        let mut frame = vec![0u8; length];
        self.fill(rack, dir, &mut frame)?;
        Ok(frame)
    }

    fn fill(&mut self, rack: &mut dyn Rack, dir: &Path, buffer: &mut [u8]) -> Result<(), PartError> {
        let damaged = || PartError::Damaged(self.part.file.clone());
        self.left = self.left.checked_sub(buffer.len() as u64).ok_or_else(damaged)?;
        rack.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(),
            _ => at(&dir.join(&self.part.file))(error),
        })?;
        self.digest.0.update(buffer);
        Ok(())
    }
}
