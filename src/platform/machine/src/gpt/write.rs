//! A table that is written: grown to the disk's end under new identifiers, or mended from its second copy.
//!
//! The copy at the end is always written first: a power cut leaves the old first copy, or none and the new second one,
//! from which firmware (UEFI Specification 2.10, 5.3.2) and [`mend`] make the first anew.

use super::{ENTRY_BYTES, GptError, HEADER_BYTES, Table, crc32, io, read_table};
use crate::ioctl;
use nix::errno::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a partition may be in use before its disk's table is read again.
const BUSY_MAX: Duration = Duration::from_secs(60);
/// Between two looks at that.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Partitions begin and end at multiples of this.
const ALIGNMENT: u64 = 1 << 20;
/// Bytes that the entries take on every disk: 128 of them.
const ENTRIES_BYTES: u64 = 16_384;
/// UEFI Specification 2.10, 5.2.3: the protective MBR's only record and its type.
const MBR_RECORD: usize = 446;
const MBR_PROTECTIVE: u8 = 0xee;
const MBR_BYTES: usize = 512;
/// UEFI Specification 2.10, 5.3.3: bits 48 to 63 of a partition's attributes belong to whoever defines its type. This one:
/// a set-up made the partition, and the next one may take it away.
const MADE_HERE: u64 = 1 << 48;

/// A partition that is made behind the image's last one.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
    /// What it is for.
    pub kind: [u8; 16],
    /// Its label, at most 36 letters of ASCII.
    pub label: &'static str,
    /// Its length, a multiple of the alignment.
    pub bytes: u64,
    /// The length of the one before it, a multiple of the alignment: disks that mirror each other have the same.
    pub before: u64,
}

/// Draws new identifiers for the disk and its partitions, grows the partition `last`, which must be the last one, to the
/// disk's end, and writes both copies. With `beside`, the last partition gets the length that it says and is followed by
/// one more; without, one that was made so before goes. What the kernel knows changes too. Durable when it returns.
pub fn renew(
    disk: &Path,
    last: &[u8; 16],
    beside: Option<&Beside>,
    mut draw: impl FnMut() -> [u8; 16],
) -> Result<(), GptError> {
    let file = open(disk)?;
    let mut table = read_table(&file).map_err(io(disk))?.ok_or(GptError::Absent)?;
    let layout = Layout::of(&table).ok_or(GptError::Unfit)?;
    layout.lay_out(&mut table, last, beside).ok_or(GptError::Unfit)?;
    name_anew(&mut table, &mut draw);
    layout.write(&file, &table, true).map_err(io(disk))?;
    grow_mbr(&file, table.disk_bytes / table.sector - 1).map_err(io(disk))?;
    read_again(&file)
}

/// How long the partition `last` can be on this disk if one of `beside` bytes follows it: a multiple of the alignment.
pub fn room(disk: &Path, last: &[u8; 16], beside: u64) -> Result<u64, GptError> {
    let table = read_table(&File::open(disk).map_err(io(disk))?).map_err(io(disk))?;
    let table = table.ok_or(GptError::Absent)?;
    let layout = Layout::of(&table).ok_or(GptError::Unfit)?;
    let mut entries = table.entries.chunks_exact(ENTRY_BYTES);
    let entry = entries.find(|entry| entry.starts_with(last)).ok_or(GptError::Unfit)?;
    let bytes = (layout.last_of_data + 1).checked_sub(eight(entry, 32));
    let bytes = bytes.and_then(|sectors| (sectors * table.sector).checked_sub(beside));
    bytes.filter(|bytes| *bytes > 0).ok_or(GptError::Unfit)
}

/// Gives `to`, whatever is on it, the partitions of `from` in their places, under new identifiers. Nothing is copied into
/// them. Durable when it returns; a power cut leaves a disk without a table, or with it.
pub fn copy_layout(from: &Path, to: &Path, mut draw: impl FnMut() -> [u8; 16]) -> Result<(), GptError> {
    let source = File::open(from).map_err(io(from))?;
    let mut table = read_table(&source).map_err(io(from))?.ok_or(GptError::Absent)?;
    let file = open(to)?;
    table.disk_bytes = super::length(&file).map_err(io(to))?;
    let layout = Layout::of(&table).ok_or(GptError::Unfit)?;
    let used = table.entries.chunks_exact(ENTRY_BYTES).filter(|entry| is_used(entry));
    if used.clone().any(|entry| eight(entry, 40) > layout.last_of_data) {
        return Err(GptError::Unfit);
    }
    name_anew(&mut table, &mut draw);
    let blank = |at: u64| file.write_all_at(&vec![0; usize::try_from(ALIGNMENT).unwrap_or_default()], at);
    let mut mbr = [0; MBR_BYTES];
    let written = source
        .read_exact_at(&mut mbr, 0)
        // Both copies of an older table go first.
        .and_then(|()| blank(0))
        .and_then(|()| blank(table.disk_bytes - ALIGNMENT))
        .and_then(|()| file.sync_all())
        .and_then(|()| file.write_all_at(&mbr, 0))
        .and_then(|()| layout.write(&file, &table, true))
        .and_then(|()| grow_mbr(&file, table.disk_bytes / table.sector - 1));
    written.map_err(io(to))?;
    read_again(&file)
}

fn is_used(entry: &[u8]) -> bool {
    entry.first_chunk::<16>().is_some_and(|kind| *kind != [0; 16])
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..).and_then(|rest| rest.first_chunk());
    eight.map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// New identifiers for everything in a table.
fn name_anew(table: &mut Table, draw: &mut dyn FnMut() -> [u8; 16]) {
    for entry in table
        .entries
        .chunks_exact_mut(ENTRY_BYTES)
        .filter(|entry| is_used(entry))
    {
        put(entry, 16, &version_4(draw()));
    }
    put(&mut table.header, 56, &version_4(draw()));
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
    read_again(&file)?;
    Ok(true)
}

/// Has the kernel read the table again, once nobody uses a partition any more: another process may just be reading one.
fn read_again(disk: &File) -> Result<(), GptError> {
    let since = Instant::now();
    loop {
        match ioctl::reread_partitions(disk) {
            Err(Errno::EBUSY) if since.elapsed() < BUSY_MAX => std::thread::sleep(BUSY_PAUSE),
            result => return result.map_err(GptError::Kernel),
        }
    }
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

    /// Lets the partition `last` end where it shall; `None` where it cannot.
    fn lay_out(&self, table: &mut Table, last: &[u8; 16], beside: Option<&Beside>) -> Option<()> {
        let mut entries: Vec<&mut [u8]> = table.entries.chunks_exact_mut(ENTRY_BYTES).collect();
        // One that an earlier set-up made.
        let at = entries.iter().position(|entry| entry.starts_with(last))?;
        for entry in entries.iter_mut().skip(at + 1) {
            if eight(entry, 48) == MADE_HERE {
                entry.fill(0);
            }
        }
        if entries.iter().skip(at + 1).any(|entry| is_used(entry))
            || entries
                .iter()
                .any(|entry| is_used(entry) && eight(entry, 40) > self.last_of_data)
        {
            return None;
        }
        let first = eight(entries.get(at)?, 32);
        let mut end = self.last_of_data;
        if let Some(beside) = beside {
            end = first.checked_add(beside.before / self.sector)?.checked_sub(1)?;
            let beside_end = end.checked_add(beside.bytes / self.sector)?;
            if beside_end > self.last_of_data || end < first {
                return None;
            }
            let entry = entries.get_mut(at + 1)?;
            put(entry, 0, &beside.kind);
            for (offset, value) in [(32, end + 1), (40, beside_end), (48, MADE_HERE)] {
                put(entry, offset, &value.to_le_bytes());
            }
            let label: Vec<u8> = beside.label.encode_utf16().flat_map(u16::to_le_bytes).collect();
            put(entry, 56, &label);
        }
        put(entries.get_mut(at)?, 40, &end.to_le_bytes());
        Some(())
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
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
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
        laid_out(file, None);
    }

    fn laid_out(file: &tempfile::NamedTempFile, beside: Option<&Beside>) {
        let mut count = 0;
        let refused = renew(file.path(), &[7; 16], beside, || {
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
        let refused = renew(file.path(), &[8; 16], None, || [0; 16]);
        assert!(matches!(refused, Err(GptError::Unfit)));
        file.as_file().set_len(80 * 512).unwrap();
        let refused = renew(file.path(), &[7; 16], None, || [0; 16]);
        assert!(matches!(refused, Err(GptError::Unfit)), "no room");
    }

    #[test]
    fn halves_of_a_mirror_have_the_length_of_the_smaller() {
        let (small, large) = (larger(), larger());
        large.as_file().set_len(DISK_BYTES * 2).unwrap();
        let rooms = [&small, &large].map(|file| room(file.path(), &[7; 16], ALIGNMENT).unwrap());
        assert_eq!(rooms.first().unwrap() + DISK_BYTES, *rooms.last().unwrap());
        let beside = Beside {
            kind: [9; 16],
            label: "beside",
            bytes: ALIGNMENT,
            before: *rooms.first().unwrap(),
        };
        // The second set-up finds what the first one made.
        for _ in 0..2 {
            for file in [&small, &large] {
                laid_out(file, Some(&beside));
                let found = read(file.path()).unwrap();
                let [data, extra] = found.as_slice() else {
                    panic!("{found:?}")
                };
                assert_eq!((data.length, extra.length), (beside.before, ALIGNMENT));
                assert_eq!((extra.offset, extra.kind), (data.offset + data.length, [9; 16]));
                assert_eq!((extra.label.as_str(), extra.number), ("beside", data.number + 1));
                assert_ne!(extra.id, data.id);
            }
        }
        let refused = renew(
            small.path(),
            &[7; 16],
            Some(&Beside {
                before: beside.before + ALIGNMENT,
                ..beside
            }),
            || [0; 16],
        );
        assert!(matches!(refused, Err(GptError::Unfit)));
        // Alone again.
        grown(&small);
        assert_eq!(read(small.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_blank_disk_gets_the_layout_of_another() {
        let (from, to) = (larger(), tempfile::NamedTempFile::new().unwrap());
        grown(&from);
        to.as_file().set_len(DISK_BYTES - ALIGNMENT).unwrap();
        let copy = || copy_layout(from.path(), to.path(), || [5; 16]);
        assert!(matches!(copy(), Err(GptError::Unfit)), "too small");
        to.as_file().set_len(DISK_BYTES * 3).unwrap();
        to.as_file().write_all_at(&[0xff; 4096], 0).unwrap();
        assert!(matches!(copy(), Err(GptError::Kernel(_))));
        let place = |file: &tempfile::NamedTempFile| {
            let all = read(file.path()).unwrap();
            all.iter()
                .map(|one| (one.number, one.kind, one.offset, one.length))
                .collect::<Vec<_>>()
        };
        assert_eq!(place(&from), place(&to));
        assert_ne!(
            read(from.path()).unwrap(),
            read(to.path()).unwrap(),
            "other identifiers"
        );
        assert!(!mend(to.path()).unwrap(), "both copies are whole");
    }
}
