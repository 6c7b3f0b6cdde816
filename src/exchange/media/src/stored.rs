//! Content as a backup sees it: encrypted extents of files, copied without being opened.

use crate::blob::stored_length;
use crate::media::{Media, file_id, file_name, files_folder, packs_folder};
use crate::pack::{pack_name, pack_number};
use crate::row::{Blob, Content, ITEM, Item, Place, THUMBNAIL, Thumb};
use lamchat_disk::Disk;
use lamchat_store::{KeyRange, Order, Read, ReadError, ReadExt, Table};
use std::io;
use std::path::{Path, PathBuf};

/// Rows that are read at once.
const PAGE: usize = 1_000;

/// A stretch of a file below the media folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// `files/NAME` or `packs/NAME`.
    pub file: String,
    /// Where it starts, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// Why an extent could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The content of a row is missing or shorter than it should be.
    #[error("the stored file {0} is missing or too short")]
    Missing(String),
    /// Not a name of this crate's.
    #[error("{0:?} is no file of the media folder")]
    Name(String),
    /// The disk refused.
    #[error("media could not be copied: {0}")]
    Io(#[from] io::Error),
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Media {
    /// All content that rows of `read` name, in no useful order.
    pub fn extents(read: &dyn Read) -> Result<Vec<Extent>, ReadError> {
        let mut extents = Vec::new();
        visit_blobs(read, &mut |blob| extents.push(extent(blob)))?;
        Ok(extents)
    }

    /// Reads a part of an extent as it is on disk, encrypted. Fills all of `buffer`. Blocks.
    pub fn read_extent(&self, file: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoredError> {
        let path = extent_path(&self.0.options.dir, file)?;
        let read = self
            .0
            .disk
            .open_to_read(&path)
            .and_then(|opened| opened.read_at(offset, buffer));
        read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => StoredError::Missing(file.to_owned()),
            _ => error.into(),
        })
    }
}

/// Writes a part of an extent into a media folder that no [`Media`] has open. Durable after [`restore_sync`]. Blocks.
pub fn restore_extent(disk: &dyn Disk, dir: &Path, file: &str, offset: u64, bytes: &[u8]) -> Result<(), StoredError> {
    let path = extent_path(dir, file)?;
    disk.create_dir(path.parent().unwrap_or(dir))?;
    Ok(disk.open_or_create(&path)?.write_at(offset, bytes)?)
}

/// Makes all files of a media folder durable. Blocks.
pub fn restore_sync(disk: &dyn Disk, dir: &Path) -> Result<(), StoredError> {
    for folder in [files_folder(dir), packs_folder(dir)] {
        disk.create_dir(&folder)?;
        for name in disk.list(&folder)? {
            disk.open(&folder.join(name))?.sync_data()?;
        }
        disk.sync_dir(&folder)?;
    }
    Ok(())
}

/// Visits the blobs of all rows. Blocks.
pub(crate) fn visit_blobs(read: &dyn Read, visit: &mut dyn FnMut(&Blob)) -> Result<(), ReadError> {
    visit_rows(read, ITEM, &mut |row| {
        if let Content::There { blob, .. } = Item::decode(row)?.content {
            visit(&blob);
        }
        Ok(())
    })?;
    visit_rows(read, THUMBNAIL, &mut |row| {
        visit(&Thumb::decode(row)?.blob);
        Ok(())
    })
}

fn visit_rows(
    read: &dyn Read,
    table: Table,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut range = KeyRange::all();
    loop {
        let rows = read.rows(table, &range, Order::Ascending, PAGE)?;
        for (_, row) in &rows {
            visit(row)?;
        }
        match rows.last() {
            // The smallest key above the last one.
            Some((key, _)) if rows.len() == PAGE => range.start = [key, [0].as_slice()].concat(),
            _ => return Ok(()),
        }
    }
}

pub(crate) fn extent(blob: &Blob) -> Extent {
    let (file, offset) = match blob.place {
        Place::File => (format!("files/{}", file_name(&blob.id)), 0),
        Place::Pack { number, offset } => (format!("packs/{}", pack_name(number)), offset),
    };
    Extent {
        file,
        offset,
        length: stored_length(blob.size),
    }
}

/// A path below `dir`, for names that this crate makes and no others.
fn extent_path(dir: &Path, file: &str) -> Result<PathBuf, StoredError> {
    match file.split_once('/') {
        Some(("files", name)) if file_id(name).is_some() => Ok(files_folder(dir).join(name)),
        Some(("packs", name)) if pack_number(name).is_some() => Ok(packs_folder(dir).join(name)),
        _ => Err(StoredError::Name(file.to_owned())),
    }
}
