//! Which partition is which: the GUID partition table, UEFI Specification 2.10, section 5.3.

mod write;

pub use write::{Beside, copy_layout, mend, renew, room};

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_BYTES: usize = 92;
const ENTRY_BYTES: usize = 128;
/// UEFI Specification: "a minimum of 16,384 bytes"; everybody makes 128 entries, and no more are read.
const ENTRIES_MAX: usize = 128;
const SECTOR_SIZES: [u64; 2] = [512, 4096];
const NAME_UNITS: usize = 36;

/// Why a disk has no table.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// It cannot be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The disk.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither of its two copies is whole.
    #[error("the disk has no GUID partition table")]
    Absent,
    /// It cannot be grown: the partition is not there, is not the last one, or the disk has no room for the table.
    #[error("the disk's partitions are not those of the image, or the disk is too small")]
    Unfit,
    /// The kernel does not take the new table.
    #[error("the kernel does not read the partition table again: {0}")]
    Kernel(nix::errno::Errno),
}

/// The type of an EFI system partition, UEFI Specification 2.10, table 5.7: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
pub const ESP_KIND: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// What it is for, as the bytes on the disk.
    pub kind: [u8; 16],
    /// Its own name that nobody else has: PARTUUID.
    pub id: [u8; 16],
    /// The label: anybody can write one.
    pub label: String,
    /// Bytes from the disk's begin.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// A GUID as it is written: the first three groups are little-endian.
pub fn text(id: &[u8; 16]) -> String {
    let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, rest @ ..] = *id;
    let tail: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{a3:02x}{a2:02x}{a1:02x}{a0:02x}-{b1:02x}{b0:02x}-{c1:02x}{c0:02x}-{d0:02x}{d1:02x}-{tail}")
}

/// The partitions of a disk, and the bytes of the blocks that its table counts in: at least 512.
pub fn read_with_block(disk: &Path) -> Result<(u64, Vec<Partition>), GptError> {
    let file = File::open(disk).map_err(io(disk))?;
    let table = read_table(&file).map_err(io(disk))?.ok_or(GptError::Absent)?;
    Ok((table.sector, parse_entries(&table.entries, table.sector)))
}

/// The partitions of a disk.
pub fn read(disk: &Path) -> Result<Vec<Partition>, GptError> {
    read_with_block(disk).map(|(_, partitions)| partitions)
}

/// The partitions of an open device or file; none where it has no table.
pub fn read_open(file: &File) -> std::io::Result<Vec<Partition>> {
    let table = read_table(file)?;
    Ok(table.map_or_else(Vec::new, |table| parse_entries(&table.entries, table.sector)))
}

fn io(disk: &Path) -> impl Fn(std::io::Error) -> GptError {
    let path = disk.to_owned();
    move |source| GptError::Io {
        path: path.clone(),
        source,
    }
}

/// A copy of the table that is whole.
struct Table {
    sector: u64,
    header: Vec<u8>,
    entries: Vec<u8>,
    /// Whether it is the one at the disk's begin.
    is_first: bool,
    disk_bytes: u64,
}

/// The first copy, else the one at the disk's end.
fn read_table(file: &File) -> std::io::Result<Option<Table>> {
    let disk_bytes = length(file)?;
    for sector in SECTOR_SIZES {
        for place in [Some(sector), disk_bytes.checked_sub(sector)].into_iter().flatten() {
            if let Some((header, entries)) = read_copy(file, place, sector)? {
                return Ok(Some(Table {
                    sector,
                    header,
                    entries,
                    is_first: place == sector,
                    disk_bytes,
                }));
            }
        }
    }
    Ok(None)
}

fn length(file: &File) -> std::io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    let mut file = file;
    file.seek(SeekFrom::End(0))
}

fn at(file: &File, offset: u64, length: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Header and entries, if both are whole.
fn read_copy(file: &File, place: u64, sector: u64) -> std::io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let Some(bytes) = at(file, place, HEADER_BYTES)? else {
        return Ok(None);
    };
    let Some(header) = Header::parse(&bytes) else {
        return Ok(None);
    };
    let Some(offset) = header
        .entries_at
        .checked_mul(sector)
        .filter(|_| header.at.checked_mul(sector) == Some(place))
    else {
        return Ok(None);
    };
    let Some(entries) = at(file, offset, header.count * ENTRY_BYTES)? else {
        return Ok(None);
    };
    Ok((crc32(&entries) == header.entries_crc).then_some((bytes, entries)))
}

struct Header {
    at: u64,
    entries_at: u64,
    count: usize,
    entries_crc: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let four = |at: usize| bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four));
        let eight = |at: usize| bytes.get(at..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight));
        let mut cleared = bytes.get(..HEADER_BYTES)?.to_vec();
        // "This value is computed by setting this field to 0".
        cleared.get_mut(16..20)?.fill(0);
        let right = bytes.starts_with(SIGNATURE)
            && usize::try_from(four(12)?).ok()? == HEADER_BYTES
            && four(16)? == crc32(&cleared)
            && usize::try_from(four(84)?).ok()? == ENTRY_BYTES;
        let count = usize::try_from(four(80)?).ok()?;
        (right && (1..=ENTRIES_MAX).contains(&count)).then_some(())?;
        Some(Self {
            at: eight(24)?,
            entries_at: eight(72)?,
            count,
            entries_crc: four(88)?,
        })
    }
}

fn parse_entries(entries: &[u8], sector: u64) -> Vec<Partition> {
    let parse = |(number, entry): (u32, &[u8])| {
        let kind: [u8; 16] = entry.first_chunk().copied()?;
        let eight = |at: usize| entry.get(at..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight));
        let (first, last) = (eight(32)?, eight(40)?);
        // "A value of zero defines that this partition entry is not being used."
        (kind != [0; 16]).then_some(())?;
        let sectors = last.checked_sub(first)?.checked_add(1)?;
        let units = entry.get(56..)?.chunks_exact(2).take(NAME_UNITS);
        let units = units.map(|pair| pair.first_chunk().map_or(0, |pair| u16::from_le_bytes(*pair)));
        let name = char::decode_utf16(units.take_while(|unit| *unit != 0)).map(|letter| letter.unwrap_or('?'));
        Some(Partition {
            number,
            kind,
            id: entry.get(16..)?.first_chunk().copied()?,
            label: name.filter(|letter| !letter.is_control()).collect(),
            offset: first.checked_mul(sector)?,
            length: sectors.checked_mul(sector)?,
        })
    };
    (1u32..)
        .zip(entries.chunks_exact(ENTRY_BYTES))
        .filter_map(parse)
        .collect()
}

/// CRC-32 as UEFI takes it: the polynomial of Ethernet, reflected.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// The block device of a partition: `sda` and 2 make `/dev/sda2`, `nvme0n1` and 2 make `/dev/nvme0n1p2`.
pub fn device(disk: &Path, number: u32) -> PathBuf {
    let name = disk.to_string_lossy();
    let middle = if name.ends_with(|last: char| last.is_ascii_digit()) {
        "p"
    } else {
        ""
    };
    PathBuf::from(format!("{name}{middle}{number}"))
}

/// The disks of this machine, in /dev: everything that has blocks and is not made of others.
pub fn disks() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let made = ["dm-", "loop", "ram", "md", "zram", "sr", "fd"];
    let mut found: Vec<String> = names
        .filter(|name| !made.iter().any(|made| name.starts_with(made)))
        .collect();
    found.sort();
    found.into_iter().map(|name| Path::new("/dev").join(name)).collect()
}

#[cfg(test)]
mod tests;
