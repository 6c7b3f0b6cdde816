//! A table that is written: grown to the disk's end under new identifiers, or mended from its second copy.
//!
//! The copy at the end is always written first: a power cut leaves the old first copy, or none and the new second one,
//! from which firmware (UEFI Specification 2.10, 5.3.2) and [`mend`] make the first anew.

use super::{ENTRY_BYTES, GptError, HEADER_BYTES, Table, crc32, io, read_table};
use crate::ioctl;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Partitions begin and end at multiples of this.
const ALIGNMENT: u64 = 1 << 20;
/// Bytes that the entries take on every disk: 128 of them.
const ENTRIES_BYTES: u64 = 16_384;
/// UEFI Specification 2.10, 5.2.3: the protective MBR's only record and its type.
const MBR_RECORD: usize = 446;
const MBR_PROTECTIVE: u8 = 0xee;
const MBR_BYTES: usize = 512;

/// Draws new identifiers for the disk and its partitions, grows the partition `last`, which must be the last one, to the
/// disk's end, and writes both copies. What the kernel knows changes too. Durable when it returns.
pub fn renew(disk: &Path, last: &[u8; 16], mut draw: impl FnMut() -> [u8; 16]) -> Result<(), GptError> {
    let file = open(disk)?;
    let mut table = read_table(&file).map_err(io(disk))?.ok_or(GptError::Absent)?;
    let layout = Layout::of(&table).ok_or(GptError::Unfit)?;
    let mut end = None;
    for entry in table.entries.chunks_exact_mut(ENTRY_BYTES) {
        let Some(kind) = entry.first_chunk::<16>().copied().filter(|kind| *kind != [0; 16]) else {
            continue;
        };
        put(entry, 16, &version_4(draw()));
        // The last sector of a partition, at 40.
        let ends = entry
            .get(40..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |eight| u64::from_le_bytes(*eight));
        if end.is_some() || (kind != *last && ends > layout.last_of_data) {
            return Err(GptError::Unfit);
        }
        if kind == *last {
            if ends > layout.last_of_data {
                return Err(GptError::Unfit);
            }
            put(entry, 40, &layout.last_of_data.to_le_bytes());
            end = Some(ends);
        }
    }
    end.ok_or(GptError::Unfit)?;
    put(&mut table.header, 56, &version_4(draw()));
    layout.write(&file, &table, true).map_err(io(disk))?;
    grow_mbr(&file, table.disk_bytes / table.sector - 1).map_err(io(disk))?;
    ioctl::reread_partitions(&file).map_err(GptError::Kernel)
}

/// Makes the first copy anew from the second where the first is damaged; whether it did.
pub fn mend(disk: &Path) -> Result<bool, GptError> {
    let table = read_table(&File::open(disk).map_err(io(disk))?).map_err(io(disk))?;
    let Some(table) = table.filter(|table| !table.is_first) else {
        return Ok(false);
    };
    let file = open(disk)?;
    let layout = Layout::of(&table).ok_or(GptError::Unfit)?;
    layout.write(&file, &table, false).map_err(io(disk))?;
    ioctl::reread_partitions(&file).map_err(GptError::Kernel)?;
    Ok(true)
}

fn open(disk: &Path) -> Result<File, GptError> {
    File::options().read(true).write(true).open(disk).map_err(io(disk))
}

/// Where everything is on a disk of this size; in sectors.
struct Layout {
    sector: u64,
    entries_sectors: u64,
    last: u64,
    last_of_data: u64,
}

impl Layout {
    fn of(table: &Table) -> Option<Self> {
        let (sector, last) = (table.sector, (table.disk_bytes / table.sector).checked_sub(1)?);
        let entries_sectors = ENTRIES_BYTES / sector;
        let usable_end = last.checked_sub(entries_sectors)?;
        let aligned = usable_end * sector / ALIGNMENT * ALIGNMENT / sector;
        Some(Self {
            sector,
            entries_sectors,
            last,
            last_of_data: aligned.checked_sub(1)?,
        })
    }

    fn write(&self, file: &File, table: &Table, both: bool) -> std::io::Result<()> {
        let second = (self.last, 1, self.last - self.entries_sectors);
        let first = (1, self.last, 2);
        for (at, other, entries_at) in both.then_some(second).into_iter().chain([first]) {
            file.write_all_at(&table.entries, entries_at * self.sector)?;
            // The header says that the entries are whole, so it comes after them.
            file.sync_all()?;
            file.write_all_at(&self.header(table, at, other, entries_at), at * self.sector)?;
            file.sync_all()?;
        }
        Ok(())
    }

    /// UEFI Specification 2.10, table 5.5.
    fn header(&self, table: &Table, at: u64, other: u64, entries_at: u64) -> Vec<u8> {
        let mut header = table.header.clone();
        let last_usable = self.last - self.entries_sectors - 1;
        for (offset, value) in [(24, at), (32, other), (48, last_usable), (72, entries_at)] {
            put(&mut header, offset, &value.to_le_bytes());
        }
        put(&mut header, 88, &crc32(&table.entries).to_le_bytes());
        put(&mut header, 16, &[0; 4]);
        let crc = crc32(header.get(..HEADER_BYTES).unwrap_or_default());
        put(&mut header, 16, &crc.to_le_bytes());
        // "The rest of the block is reserved by UEFI and must be zero."
        header.resize(usize::try_from(self.sector).unwrap_or(MBR_BYTES), 0);
        header
    }
}

/// The protective MBR covers the whole disk, or as much of it as it can say.
fn grow_mbr(file: &File, sectors: u64) -> std::io::Result<()> {
    let mut mbr = [0; MBR_BYTES];
    file.read_exact_at(&mut mbr, 0)?;
    if mbr.get(MBR_RECORD + 4) == Some(&MBR_PROTECTIVE) {
        let sectors = u32::try_from(sectors).unwrap_or(u32::MAX);
        put(&mut mbr, MBR_RECORD + 12, &sectors.to_le_bytes());
        file.write_all_at(&mbr, 0)?;
        file.sync_all()?;
    }
    Ok(())
}

/// RFC 9562, 5.4: a random identifier, in the byte order of a GUID.
fn version_4(mut id: [u8; 16]) -> [u8; 16] {
    if let Some(byte) = id.get_mut(7) {
        *byte = *byte & 0x0f | 0x40;
    }
    if let Some(byte) = id.get_mut(8) {
        *byte = *byte & 0x3f | 0x80;
    }
    id
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::tests::disk;
    use super::*;
    use crate::gpt::read;

    const DISK_BYTES: u64 = 8 << 20;

    /// A file of 8 MiB with the table of a smaller disk at its begin.
    fn larger() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let small = disk();
        file.as_file().write_all_at(&small, 0).unwrap();
        // What was the small disk's end is data now.
        file.as_file().set_len(DISK_BYTES).unwrap();
        file
    }

    fn grown(file: &tempfile::NamedTempFile) {
        let mut count = 0;
        let refused = renew(file.path(), &[7; 16], || {
            count += 1;
            [count; 16]
        });
        // A file has no partitions that a kernel could know.
        assert!(matches!(refused, Err(GptError::Kernel(_))), "{refused:?}");
    }

    #[test]
    fn the_last_partition_grows_to_the_end_under_a_new_name() {
        let file = larger();
        let before = read(file.path()).unwrap();
        grown(&file);
        let after = read(file.path()).unwrap();
        let (old, new) = (before.first().unwrap(), after.first().unwrap());
        assert_eq!((after.len(), new.offset, new.kind), (1, old.offset, old.kind));
        assert_eq!(new.offset + new.length, DISK_BYTES - ALIGNMENT);
        assert_ne!(new.id, old.id);
        assert_eq!((new.id.get(7), new.id.get(8)), (Some(&0x41), Some(&0x81)));
        let mut size = [0; 4];
        file.as_file().read_exact_at(&mut size, 446 + 12).unwrap();
        assert_eq!(u64::from(u32::from_le_bytes(size)), DISK_BYTES / 512 - 1);
    }

    #[test]
    fn a_damaged_first_copy_is_made_anew() {
        let file = larger();
        grown(&file);
        let whole = read(file.path()).unwrap();
        let head = |file: &tempfile::NamedTempFile| {
            let mut bytes = vec![0; 34 * 512];
            file.as_file().read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        let before = head(&file);
        assert!(!mend(file.path()).unwrap());
        for damaged in [512, 1024 + 40] {
            file.as_file().write_all_at(&[0xff; 8], damaged).unwrap();
            assert_eq!(read(file.path()).unwrap(), whole, "from the second copy");
            assert!(matches!(mend(file.path()), Err(GptError::Kernel(_))));
            assert_eq!(head(&file), before, "to the last byte");
        }
    }

    #[test]
    fn only_the_images_last_partition_grows() {
        let file = larger();
        let refused = renew(file.path(), &[8; 16], || [0; 16]);
        assert!(matches!(refused, Err(GptError::Unfit)));
        file.as_file().set_len(80 * 512).unwrap();
        let refused = renew(file.path(), &[7; 16], || [0; 16]);
        assert!(matches!(refused, Err(GptError::Unfit)), "no room");
    }
}
