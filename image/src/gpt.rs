//! Partition tables: GPT (UEFI 2.10, 5.3) with sectors of 512 bytes.

use crate::guid::Guid;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Partitions start at multiples of this.
pub const ALIGNMENT: u64 = 1 << 20;
/// Entries of a table, and the bytes of each.
const ENTRIES: u32 = 128;
const ENTRY_BYTES: u32 = 128;
/// Sectors of a table's entries.
const TABLE_SECTORS: u64 = 32;

/// A partition of an image.
#[derive(Debug, Clone)]
pub struct Partition {
    /// Its name, at most 36 characters of ASCII.
    pub name: &'static str,
    /// What it is for.
    pub kind: Guid,
    /// Its own GUID, PARTUUID.
    pub id: Guid,
    /// Its length in bytes, a multiple of [`ALIGNMENT`].
    pub bytes: u64,
}

/// What is written where: offset in bytes, content.
pub type Extent = (u64, Vec<u8>);

/// A table over partitions that lie one behind the other.
pub struct Table {
    /// The whole disk's length in bytes.
    pub bytes: u64,
    /// Where each partition starts, in bytes.
    pub starts: Vec<u64>,
    /// The protective MBR and both copies of the table.
    pub extents: Vec<Extent>,
}

/// Lays partitions out on a disk that is just as large as they need.
pub fn lay_out(disk: Guid, partitions: &[Partition]) -> Table {
    let mut starts = Vec::new();
    let mut next = ALIGNMENT;
    for partition in partitions {
        starts.push(next);
        next += partition.bytes;
    }
    let bytes = next + ALIGNMENT;
    let sectors = bytes / SECTOR;
    let mut entries = Vec::new();
    for (partition, start) in partitions.iter().zip(&starts) {
        let first = start / SECTOR;
        let last = (start + partition.bytes) / SECTOR - 1;
        entries.extend_from_slice(&partition.kind.0);
        entries.extend_from_slice(&partition.id.0);
        entries.extend_from_slice(&first.to_le_bytes());
        entries.extend_from_slice(&last.to_le_bytes());
        entries.extend_from_slice(&[0; 8]);
        let mut name: Vec<u8> = partition.name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        name.resize(72, 0);
        entries.extend(name);
    }
    entries.resize((ENTRIES * ENTRY_BYTES) as usize, 0);
    let checksum = crc32fast::hash(&entries);
    let backup = sectors - 1;
    let copies = [(1, backup, 2), (backup, 1, backup - TABLE_SECTORS)];
    let mut extents = vec![(0, protective_mbr(sectors))];
    for (here, other, table) in copies {
        let header = header(&Header {
            here,
            other,
            last_usable: backup - TABLE_SECTORS - 1,
            disk,
            table,
            checksum,
        });
        extents.push((here * SECTOR, header));
        extents.push((table * SECTOR, entries.clone()));
    }
    Table { bytes, starts, extents }
}

struct Header {
    here: u64,
    other: u64,
    last_usable: u64,
    disk: Guid,
    table: u64,
    checksum: u32,
}

fn header(header: &Header) -> Vec<u8> {
    let with = |checksum: u32| {
        let mut bytes = b"EFI PART\0\0\x01\0\x5C\0\0\0".to_vec();
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for field in [header.here, header.other, 2 + TABLE_SECTORS, header.last_usable] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&header.disk.0);
        bytes.extend_from_slice(&header.table.to_le_bytes());
        for field in [ENTRIES, ENTRY_BYTES, header.checksum] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes
    };
    let mut bytes = with(crc32fast::hash(&with(0)));
    bytes.resize(SECTOR as usize, 0);
    bytes
}

/// One entry of type 0xEE over the whole disk.
fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut bytes = vec![0; 446];
    bytes.extend_from_slice(&[0x00, 0x00, 0x02, 0x00, 0xEE, 0xFF, 0xFF, 0xFF]);
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(sectors - 1).unwrap_or(u32::MAX).to_le_bytes());
    bytes.resize(510, 0);
    bytes.extend_from_slice(&[0x55, 0xAA]);
    bytes
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::*;
    use std::os::unix::fs::FileExt;

    /// The reader is the box's own: what it does not find, nobody boots from.
    #[test]
    fn the_box_reads_both_copies_of_the_table() {
        let partition = |name, bytes| Partition {
            name,
            kind: Guid::of_name("kind"),
            id: Guid::of_name(name),
            bytes,
        };
        let table = lay_out(
            Guid::of_name("disk"),
            &[partition("one", 3 << 20), partition("two", 1 << 20)],
        );
        assert_eq!(table.starts, [1 << 20, 4 << 20]);
        assert_eq!(table.bytes, 6 << 20);
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(table.bytes).unwrap();
        for (offset, bytes) in &table.extents {
            assert!(offset + bytes.len() as u64 <= table.bytes);
            assert!(
                *offset + bytes.len() as u64 <= 1 << 20 || *offset >= 5 << 20,
                "over a partition"
            );
            file.as_file().write_all_at(bytes, *offset).unwrap();
        }
        let found = lamchat_machine::gpt::read(file.path()).unwrap();
        let seen: Vec<(&str, u64, u64)> = found
            .iter()
            .map(|one| (one.label.as_str(), one.offset, one.length))
            .collect();
        assert_eq!(seen, [("one", 1 << 20, 3 << 20), ("two", 4 << 20, 1 << 20)]);
        assert!(found.iter().all(|one| one.kind == Guid::of_name("kind").0));
        file.as_file().write_all_at(&[0; 512], 512).unwrap();
        assert_eq!(
            lamchat_machine::gpt::read(file.path()).unwrap(),
            found,
            "the copy at the end"
        );
        let mut end = [0; 2];
        file.as_file().read_exact_at(&mut end, 510).unwrap();
        assert_eq!(end, [0x55, 0xAA]);
    }
}
