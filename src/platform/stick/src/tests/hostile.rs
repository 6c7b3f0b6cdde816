//! A stick whose every byte may have been chosen. Whatever it says: an answer in time, or the end of the process.

use super::{MIB, device, start};
use crate::server::Limits;
use fatfs::FatType;
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Far less than a real step may take, so that a circle ends soon.
const LIMITS: Limits = Limits {
    accesses: 400_000,
    time: Duration::from_secs(5),
};
/// Everything that is tried on one stick.
const TOGETHER: Duration = Duration::from_secs(60);

/// Reads and writes as the console does. Every answer is one; panics of fatfs end the process, and that is one, too.
fn use_anyhow(file: &File) {
    let since = Instant::now();
    let works: [fn(&mut crate::Stick); 5] = [
        |stick| drop(stick.about()),
        |stick| {
            let entries = stick.list("").unwrap_or_default();
            for entry in entries.iter().take(20) {
                drop(stick.list(&entry.name));
                drop(stick.read_small(&entry.name, 16 << 20));
            }
        },
        |stick| drop(stick.make_folder("folder")),
        |stick| drop(stick.write_small("a file with a long name", &[7; 100_000])),
        |stick| drop(stick.read_small("lamchat/one", 16 << 20)),
    ];
    for work in works {
        let (mut stick, thread) = start(file, LIMITS);
        work(&mut stick);
        drop(stick.close());
        // Its end may be a panic of fatfs: on the box it takes a process with it that has nothing else.
        drop(thread.join());
    }
    assert!(since.elapsed() < TOGETHER, "{:?}", since.elapsed());
}

/// A stick with a folder and two files, and where its tables and its first folder are.
fn stick(kind: FatType) -> File {
    let bytes = if kind == FatType::Fat32 { 40 * MIB } else { 16 * MIB };
    let file = device(bytes, 0, bytes, kind);
    let (mut stick, thread) = start(&file, Limits::default());
    stick.make_folder("lamchat").unwrap();
    stick.write_small("lamchat/one", &[1; 10_000]).unwrap();
    stick.write_small("two", &[2; 70_000]).unwrap();
    stick.close().unwrap();
    thread.join().unwrap().unwrap();
    file
}

fn short(file: &File, at: u64) -> u64 {
    let mut bytes = [0; 2];
    file.read_exact_at(&mut bytes, at).unwrap();
    u16::from_le_bytes(bytes).into()
}

/// Every chain of a FAT32 stick leads into a circle.
#[test]
fn circles_end() {
    let file = stick(FatType::Fat32);
    let table = short(&file, 14) * 512;
    for cluster in 2..400u64 {
        let next: u32 = if cluster % 2 == 0 {
            cluster as u32 + 1
        } else {
            cluster as u32 - 1
        };
        file.write_all_at(&next.to_le_bytes(), table + cluster * 4).unwrap();
    }
    use_anyhow(&file);
}

/// A folder that goes on for ever, full of names that were deleted.
#[test]
fn a_folder_in_a_circle_ends() {
    let file = stick(FatType::Fat32);
    let table = short(&file, 14) * 512;
    let mut root = [0; 4];
    file.read_exact_at(&mut root, 44).unwrap();
    file.write_all_at(&root, table + u64::from(u32::from_le_bytes(root)) * 4)
        .unwrap();
    let mut sectors = [0; 4];
    file.read_exact_at(&mut sectors, 36).unwrap();
    let data = table + 2 * 512 * u64::from(u32::from_le_bytes(sectors));
    for fill in [0xE5, 0x0F, b'A'] {
        let at = data + (u64::from(u32::from_le_bytes(root)) - 2) * 512;
        file.write_all_at(&[fill; 512], at).unwrap();
        use_anyhow(&file);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The first sectors: partition table, BIOS parameter block, FSInfo.
    #[test]
    fn any_first_sectors(changes in prop::collection::vec((0u64..1024, any::<u8>()), 1..12), is_32: bool) {
        let file = stick(if is_32 { FatType::Fat32 } else { FatType::Fat16 });
        for (at, byte) in changes {
            // Half of them where the numbers are.
            let at = if byte % 2 == 0 { at % 90 } else { at };
            file.write_all_at(&[byte], at).unwrap();
        }
        use_anyhow(&file);
    }

    /// Tables and folders.
    #[test]
    fn any_tables(changes in prop::collection::vec((0u64..3_000_000, any::<u32>()), 1..2_000), is_32: bool, near: bool) {
        let file = stick(if is_32 { FatType::Fat32 } else { FatType::Fat16 });
        for (at, value) in changes {
            let (at, value) = if near { (at % 40_000, value % 5_000) } else { (at, value) };
            file.write_all_at(&value.to_le_bytes(), 512 * 2 + at * 4 % 3_000_000).unwrap();
        }
        use_anyhow(&file);
    }

    /// Tables of partitions, old and new.
    #[test]
    fn any_partitions(first: [u8; 32], second: Vec<u8>, protective: bool) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 * MIB).unwrap();
        file.write_all_at(&first, 446).unwrap();
        file.write_all_at(&[0x55, 0xAA], 510).unwrap();
        if protective {
            file.write_all_at(&[0xEE], 446 + 4).unwrap();
            file.write_all_at(b"EFI PART", 512).unwrap();
            file.write_all_at(&second, 520).unwrap();
        }
        use_anyhow(&file);
    }
}
