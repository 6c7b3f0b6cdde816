//! The bytes of a log segment: its header and its frames (FORMAT.md, "The log").

use crate::changes::ChangeSet;
use crate::codec::Cut;
use crate::keys::{FrameKey, LogKey, SALT, TAG};
use crate::{Bytes, Position};
use lamchat_disk::File;
use std::io;

/// Headers and frames start at multiples of this: a write never touches a page that holds an older frame,
/// so a torn write cannot take back what was acknowledged.
pub(crate) const PAGE: usize = 4096;
pub(crate) const PAGE_BYTES: u64 = PAGE as u64;

const MAGIC: &[u8; 8] = b"LAMCHWAL";
const FORMAT: u32 = 1;
const HEADER: usize = 64;
const FRAME_HEADER: usize = 16;
/// The number under which a header is sealed; no sequence reaches it.
const HEADER_NUMBER: u64 = u64::MAX;
/// Stands for the length of the value of a deleted row.
const DELETED: u32 = u32::MAX;

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) epoch: u32,
    /// Rises with every segment, whatever its file is called.
    pub(crate) number: u64,
    /// The sequence of its first frame. Frames of older segments from there on were never acknowledged.
    pub(crate) first: u64,
}

/// The page that starts a segment, and the key of its frames.
pub(crate) fn seal_header(header: Header, salt: &[u8; SALT], log: &LogKey) -> io::Result<(Vec<u8>, FrameKey)> {
    let mut page = Vec::with_capacity(PAGE);
    page.extend_from_slice(MAGIC);
    page.extend_from_slice(&FORMAT.to_le_bytes());
    page.extend_from_slice(&header.epoch.to_le_bytes());
    page.extend_from_slice(&header.number.to_le_bytes());
    page.extend_from_slice(&header.first.to_le_bytes());
    page.extend_from_slice(salt);
    let key = log.segment(salt)?;
    let tag = key.seal(HEADER_NUMBER, &page, &mut [])?;
    page.extend_from_slice(&tag);
    page.resize(PAGE, 0);
    Ok((page, key))
}

/// Reads the header of a segment; `None` if it is not one, or not one of this key.
pub(crate) fn open_header(file: &dyn File, log: &LogKey) -> io::Result<Option<(Header, FrameKey)>> {
    if file.size()? < PAGE_BYTES {
        return Ok(None);
    }
    let mut page = [0; HEADER + TAG];
    file.read_at(0, &mut page)?;
    let parse = || {
        let (sealed, tag) = page.split_at_checked(HEADER)?;
        let mut cut = Cut(sealed);
        if &cut.array::<8>()? != MAGIC || cut.u32()? != FORMAT {
            return None;
        }
        let header = Header {
            epoch: cut.u32()?,
            number: cut.u64()?,
            first: cut.u64()?,
        };
        Some((header, cut.array::<SALT>()?, sealed, tag.to_vec()))
    };
    let Some((header, salt, sealed, mut tag)) = parse() else {
        return Ok(None);
    };
    let key = log.segment(&salt)?;
    Ok(key
        .open(HEADER_NUMBER, sealed, &mut tag)
        .is_some()
        .then_some((header, key)))
}

/// Writes the changes of a group as a frame into `page`, which is emptied before; whole pages.
pub(crate) fn seal_frame(
    pages: &mut Vec<u8>,
    key: &FrameKey,
    epoch: u32,
    sequence: u64,
    text: &[u8],
) -> io::Result<()> {
    pages.clear();
    let length = u32::try_from(text.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    pages.extend_from_slice(&length.to_le_bytes());
    pages.extend_from_slice(&epoch.to_le_bytes());
    pages.extend_from_slice(&sequence.to_le_bytes());
    pages.extend_from_slice(text);
    let (header, body) = pages
        .split_at_mut_checked(FRAME_HEADER)
        .ok_or_else(|| io::Error::other("a frame without a header"))?;
    let tag = key.seal(sequence, header, body)?;
    pages.extend_from_slice(&tag);
    pages.resize(pages.len().next_multiple_of(PAGE), 0);
    Ok(())
}

/// How many bytes of a segment the frame of `text` takes.
pub(crate) fn frame_bytes(text: &[u8]) -> u64 {
    (FRAME_HEADER + text.len() + TAG).next_multiple_of(PAGE) as u64
}

/// Reads the frames of a segment one after the other.
pub(crate) struct Frames<'a> {
    file: &'a dyn File,
    key: FrameKey,
    epoch: u32,
    next: u64,
    offset: u64,
    size: u64,
}

impl<'a> Frames<'a> {
    /// From the first frame of the segment with `header`.
    pub(crate) fn new(file: &'a dyn File, header: Header, key: FrameKey) -> io::Result<Self> {
        Ok(Self {
            file,
            key,
            epoch: header.epoch,
            next: header.first,
            offset: PAGE_BYTES,
            size: file.size()?,
        })
    }

    /// The next frame: its sequence and its text. `None` at the first one that is not whole, or not of this segment.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let mut start = [0; FRAME_HEADER];
        if self.offset + PAGE_BYTES > self.size {
            return Ok(None);
        }
        self.file.read_at(self.offset, &mut start)?;
        let mut cut = Cut(&start);
        let (Some(length), Some(epoch), Some(sequence)) = (cut.length(), cut.u32(), cut.u64()) else {
            return Ok(None);
        };
        let end = self.offset + (FRAME_HEADER + length + TAG) as u64;
        if epoch != self.epoch || sequence != self.next || end > self.size {
            return Ok(None);
        }
        let mut sealed = vec![0; length + TAG];
        self.file.read_at(self.offset + FRAME_HEADER as u64, &mut sealed)?;
        if self.key.open(sequence, &start, &mut sealed).is_none() {
            return Ok(None);
        }
        sealed.truncate(length);
        self.offset = end.next_multiple_of(PAGE_BYTES);
        self.next += 1;
        Ok(Some((sequence, sealed)))
    }
}

/// Writes what a frame says: the newest position, and each changed row.
pub(crate) fn write_changes(text: &mut Vec<u8>, position: Position, changes: &ChangeSet) {
    text.clear();
    text.extend_from_slice(&position.0.to_le_bytes());
    for (table, key, value) in changes.iter() {
        text.extend_from_slice(&table.to_le_bytes());
        text.extend_from_slice(&length(key).to_le_bytes());
        let value_length = value.as_ref().map_or(DELETED, length);
        text.extend_from_slice(&value_length.to_le_bytes());
        text.extend_from_slice(key);
        text.extend_from_slice(value.as_deref().unwrap_or_default());
    }
}

/// Frames are limited to 4 GiB as a whole, which `seal_frame` checks; so the lengths in it fit.
fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(DELETED - 1)
}

/// A changed row: table, key, value (`None`: deleted).
pub(crate) type ChangedRow = (u16, Bytes, Option<Bytes>);

/// Reads what a frame says; `None` if it is malformed.
pub(crate) fn read_changes(text: Vec<u8>) -> Option<(Position, Vec<ChangedRow>)> {
    // The rows keep parts of the text alive together: they are dropped together as well, after their checkpoint.
    let text = Bytes::from(text);
    let mut cut = Cut(&text);
    let position = Position(cut.u64()?);
    let mut rows = Vec::new();
    while !cut.0.is_empty() {
        let table = cut.u16()?;
        let key_length = cut.length()?;
        let value_length = cut.u32()?;
        let key = text.slice_ref(cut.bytes(key_length)?);
        let value = match value_length {
            DELETED => None,
            length => Some(text.slice_ref(cut.bytes(usize::try_from(length).ok()?)?)),
        };
        rows.push((table, key, value));
    }
    Some((position, rows))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::{Frames, Header, PAGE_BYTES, open_header, read_changes, seal_frame, seal_header, write_changes};
    use crate::changes::ChangeSet;
    use crate::keys::LogKey;
    use crate::{Bytes, Position};
    use lamchat_base::Secret;
    use lamchat_disk::Disk;
    use lamchat_disk::simulation::SimulatedDisk;
    use std::path::Path;

    #[test]
    fn frames_come_back_until_the_first_bad_one() {
        let log = LogKey::new(&Secret::new([3; 64]));
        let header = Header {
            epoch: 4,
            number: 9,
            first: 100,
        };
        let file = SimulatedDisk::new(0).create(Path::new("/s")).unwrap();
        let (page, key) = seal_header(header, &[5; 32], &log).unwrap();
        file.write_at(0, &page).unwrap();
        file.set_len(10 * PAGE_BYTES).unwrap();
        let mut offset = PAGE_BYTES;
        let mut starts = Vec::new();
        for (sequence, length) in [(100, 0), (101, 5000), (102, 10)] {
            let mut pages = Vec::new();
            seal_frame(&mut pages, &key, 4, sequence, &vec![1; length]).unwrap();
            file.write_at(offset, &pages).unwrap();
            starts.push(offset);
            offset += pages.len() as u64;
        }
        let read = || {
            let (found, key) = open_header(&*file, &log).unwrap().unwrap();
            assert_eq!(found, header);
            let mut frames = Frames::new(&*file, found, key).unwrap();
            let mut lengths = Vec::new();
            while let Some((sequence, text)) = frames.next().unwrap() {
                lengths.push((sequence, text.len()));
            }
            lengths
        };
        assert_eq!(read(), [(100, 0), (101, 5000), (102, 10)]);
        file.write_at(starts[1] + 4500, &[7]).unwrap();
        assert_eq!(read(), [(100, 0)]);
        file.write_at(20, &[7]).unwrap();
        assert!(open_header(&*file, &log).unwrap().is_none());
    }

    #[test]
    fn changes_come_back() {
        let mut changes = ChangeSet::default();
        changes.set(7, Bytes::from_static(b"k"), Some(Bytes::from_static(b"v")));
        changes.set(7, Bytes::from_static(b""), Some(Bytes::new()));
        changes.set(900, Bytes::from_static(b"gone"), None);
        let mut text = Vec::new();
        write_changes(&mut text, Position(77), &changes);
        let (position, rows) = read_changes(text.clone()).unwrap();
        assert_eq!(position, Position(77));
        assert_eq!(rows, changes.into_changes().collect::<Vec<_>>());
        text.pop();
        assert!(read_changes(text).is_none());
    }
}
