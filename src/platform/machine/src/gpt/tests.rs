//! Tables of a small disk, whole and damaged.
#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;

/// A disk of 64 sectors with one partition and both copies of the table.
pub(super) fn disk() -> Vec<u8> {
    let mut entries = vec![0; ENTRIES_MAX * ENTRY_BYTES];
    entries.get_mut(..16).unwrap().fill(7);
    entries
        .get_mut(16..32)
        .unwrap()
        .copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    entries.get_mut(32..40).unwrap().copy_from_slice(&34u64.to_le_bytes());
    entries.get_mut(40..48).unwrap().copy_from_slice(&40u64.to_le_bytes());
    for (at, byte) in b"data".iter().enumerate() {
        *entries.get_mut(56 + 2 * at).unwrap() = *byte;
    }
    let mut disk = vec![0; 512 * 80];
    *disk.get_mut(446 + 4).unwrap() = 0xee;
    let length = disk.len();
    for (header_at, entries_at) in [(1u64, 2u64), (79, 46)] {
        let mut header = vec![0; HEADER_BYTES];
        header.get_mut(..8).unwrap().copy_from_slice(SIGNATURE);
        header.get_mut(12..16).unwrap().copy_from_slice(&92u32.to_le_bytes());
        header
            .get_mut(24..32)
            .unwrap()
            .copy_from_slice(&header_at.to_le_bytes());
        header
            .get_mut(72..80)
            .unwrap()
            .copy_from_slice(&entries_at.to_le_bytes());
        header.get_mut(80..84).unwrap().copy_from_slice(&128u32.to_le_bytes());
        header.get_mut(84..88).unwrap().copy_from_slice(&128u32.to_le_bytes());
        header
            .get_mut(88..92)
            .unwrap()
            .copy_from_slice(&crc32(&entries).to_le_bytes());
        let crc = crc32(&header);
        header.get_mut(16..20).unwrap().copy_from_slice(&crc.to_le_bytes());
        let at = usize::try_from(header_at).unwrap() * 512;
        disk.get_mut(at..at + HEADER_BYTES).unwrap().copy_from_slice(&header);
        let at = usize::try_from(entries_at).unwrap() * 512;
        let end = (at + entries.len()).min(length);
        disk.get_mut(at..end)
            .unwrap()
            .copy_from_slice(entries.get(..end - at).unwrap());
    }
    disk
}

fn read_bytes(bytes: &[u8]) -> Result<Vec<Partition>, GptError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    read(file.path())
}

#[test]
fn both_copies_are_read() {
    let mut disk = disk();
    let found = read_bytes(&disk).unwrap();
    let one = found.first().unwrap();
    assert_eq!((found.len(), one.number, one.label.as_str()), (1, 1, "data"));
    assert_eq!((one.offset, one.length), (34 * 512, 7 * 512));
    assert_eq!(text(&one.id), "04030201-0605-0807-090a-0b0c0d0e0f10");
    *disk.get_mut(600).unwrap() ^= 1;
    assert!(matches!(read_bytes(&disk), Ok(_) | Err(GptError::Absent)));
    disk.get_mut(512..1024).unwrap().fill(0);
    let second = read_bytes(&disk);
    assert_eq!(second.unwrap(), found, "the copy at the end");
    disk.get_mut(79 * 512..).unwrap().fill(0);
    assert!(matches!(read_bytes(&disk), Err(GptError::Absent)));
}

#[test]
fn checksums_are_the_usual_ones() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn partitions_have_devices() {
    assert_eq!(device(Path::new("/dev/sda"), 2), Path::new("/dev/sda2"));
    assert_eq!(device(Path::new("/dev/nvme0n1"), 3), Path::new("/dev/nvme0n1p3"));
}

proptest! {
    #[test]
    fn any_table_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 512usize..2000) {
        let mut disk = disk();
        let end = (at + bytes.len()).min(disk.len());
        disk.get_mut(at..end).unwrap().copy_from_slice(bytes.get(..end - at).unwrap());
        let _ = read_bytes(&disk);
        parse_entries(&bytes, 4096);
    }
}
