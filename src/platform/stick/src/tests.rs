//! Sticks as they are sold, and as somebody means harm with them.

mod hostile;

use crate::server::{Limits, serve};
use crate::{Stick, StickError};
use fatfs::{FatType, FormatVolumeOptions};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) const MIB: u64 = 1 << 20;

/// Bytes of a device from `start` on.
struct Slice {
    file: File,
    start: u64,
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Write for Slice {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.file.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for Slice {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(at + self.start),
            other => other,
        };
        Ok(self.file.seek(to)? - self.start)
    }
}

/// A device of so many bytes with a file system from `start` on that takes `bytes`.
pub(crate) fn device(length: u64, start: u64, bytes: u64, kind: FatType) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(length).unwrap();
    let mut slice = Slice {
        file: file.try_clone().unwrap(),
        start,
    };
    slice.seek(SeekFrom::Start(0)).unwrap();
    let options = FormatVolumeOptions::new()
        .fat_type(kind)
        .bytes_per_cluster(if kind == FatType::Fat32 { 512 } else { 2048 })
        .total_sectors(u32::try_from(bytes / 512).unwrap())
        .volume_label(*b"STICK      ");
    fatfs::format_volume(&mut slice, options).unwrap();
    file
}

/// The process, as a thread.
pub(crate) fn start(device: &File, limits: Limits) -> (Stick, JoinHandle<std::io::Result<()>>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let device = device.try_clone().unwrap();
    let thread = std::thread::spawn(move || serve(device, &mut theirs, limits));
    (Stick::new(ours).unwrap(), thread)
}

fn limits() -> Limits {
    Limits::default()
}

/// Bytes that repeat nowhere near.
fn content(length: usize) -> Vec<u8> {
    (0..length as u32)
        .flat_map(|at| (at.wrapping_mul(2_654_435_761)).to_be_bytes())
        .take(length)
        .collect()
}

/// Writes, reads back in another process, and refuses what it must.
fn use_it(device: &File, kind: &str) {
    let (mut stick, thread) = start(device, limits());
    let before = stick.about().unwrap();
    assert_eq!((before.kind.as_str(), before.label.as_str()), (kind, "STICK"));
    assert!(before.free > before.bytes * 9 / 10, "{before:?}");
    stick.make_folder("lamchat 2026").unwrap();
    for (name, length) in [
        ("empty", 0),
        ("small.txt", 5),
        ("part-00001", 300_001),
        ("part-00002", 65_536),
    ] {
        stick
            .write_small(&format!("lamchat 2026/{name}"), &content(length))
            .unwrap();
    }
    let taken = stick.write_small("LAMCHAT 2026/Small.TXT", b"").unwrap_err();
    assert!(taken.to_string().contains("already"), "{taken}");
    assert!(stick.make_folder("lamchat 2026").is_err());
    assert!(stick.write_small("nowhere/x", b"").is_err());
    assert!(stick.write_small("lamchat 2026", b"").is_err());
    assert!(matches!(stick.read("../etc", 9), Err(StickError::Refused(_))));
    assert!(stick.about().unwrap().free < before.free - 360_000);
    stick.close().unwrap();
    thread.join().unwrap().unwrap();

    let (mut stick, thread) = start(device, limits());
    let mut entries = stick.list("lamchat 2026").unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let seen: Vec<(&str, u64)> = entries.iter().map(|entry| (entry.name.as_str(), entry.bytes)).collect();
    assert_eq!(
        seen,
        [
            ("empty", 0),
            ("part-00001", 300_001),
            ("part-00002", 65_536),
            ("small.txt", 5)
        ]
    );
    for (name, length) in seen {
        let path = format!("lamchat 2026/{name}");
        assert!(
            stick.read_small(&path, length).unwrap() == content(length as usize),
            "{name}"
        );
    }
    assert!(
        stick.read_small("lamchat 2026/part-00002", 65_535).is_err(),
        "the limit"
    );
    assert!(
        stick
            .list("")
            .unwrap()
            .iter()
            .any(|entry| entry.is_folder && entry.name == "lamchat 2026")
    );
    assert!(stick.read("lamchat 2026", 9).is_err(), "a folder is no file");
    assert!(stick.list("lamchat 2026/empty").is_err(), "a file is no folder");
    drop(stick);
    thread.join().unwrap().unwrap();
}

/// A table of the old kind with one entry, in blocks of 512 bytes.
fn old_table(device: &File, kind: u8, start: u64, length: u64) {
    let block = |bytes: u64| u32::try_from(bytes / 512).unwrap().to_le_bytes();
    let entry = [&[0, 0, 0, 0, kind, 0, 0, 0], block(start).as_slice(), &block(length)].concat();
    device.write_all_at(&entry, 446).unwrap();
    device.write_all_at(&[0x55, 0xAA], 510).unwrap();
}

#[test]
fn a_stick_without_a_table_is_used() {
    use_it(&device(64 * MIB, 0, 64 * MIB, FatType::Fat32), "FAT32");
    use_it(&device(32 * MIB, 0, 32 * MIB, FatType::Fat16), "FAT16");
}

#[test]
fn a_stick_with_an_old_table_is_used() {
    let file = device(64 * MIB, MIB, 40 * MIB, FatType::Fat32);
    old_table(&file, 0x0C, MIB, 40 * MIB);
    use_it(&file, "FAT32");
}

#[test]
fn what_is_beside_the_file_system_is_never_written() {
    let file = device(64 * MIB, MIB, 40 * MIB, FatType::Fat32);
    old_table(&file, 0x0C, MIB, 40 * MIB);
    let marks = vec![0xA5; MIB as usize];
    file.write_all_at(&marks, 41 * MIB).unwrap();
    use_it(&file, "FAT32");
    let (mut stick, thread) = start(&file, limits());
    stick.create("big").unwrap();
    // More than fits: 40 MiB are all that there is.
    for _ in 0..41 * MIB / 65_536 {
        stick.push(&[7; 65_536]).unwrap();
    }
    let error = stick.end().unwrap_err();
    assert!(error.to_string().contains("space"), "{error}");
    drop(stick);
    thread.join().unwrap().unwrap();
    let mut after = vec![0; MIB as usize];
    file.read_exact_at(&mut after, 41 * MIB).unwrap();
    assert!(after == marks);
}

#[test]
fn other_file_systems_are_named() {
    for (name, expected) in [(b"EXFAT   ", "exFAT"), (b"NTFS    ", "NTFS")] {
        let file = device(64 * MIB, MIB, 40 * MIB, FatType::Fat32);
        old_table(&file, 0x07, MIB, 40 * MIB);
        file.write_all_at(name, MIB + 3).unwrap();
        let (mut stick, thread) = start(&file, limits());
        let error = stick.about().unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("mkfs.vfat"), "{error}");
        drop(stick);
        thread.join().unwrap().unwrap();
    }
    let empty = tempfile::tempfile().unwrap();
    for length in [0, 100, MIB] {
        empty.set_len(length).unwrap();
        let (mut stick, _thread) = start(&empty, limits());
        assert!(matches!(stick.list(""), Err(StickError::Refused(_))));
    }
}

#[test]
fn a_file_that_is_left_in_the_middle_is_not_taken_for_an_answer() {
    let file = device(32 * MIB, 0, 32 * MIB, FatType::Fat16);
    let (mut stick, _thread) = start(&file, limits());
    stick.write_small("a", &content(300_000)).unwrap();
    let mut reader = stick.read("a", 400_000).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    assert!(matches!(stick.list(""), Err(StickError::Left)));
}

#[test]
fn a_step_has_an_end() {
    let file = device(32 * MIB, 0, 32 * MIB, FatType::Fat16);
    for limits in [
        Limits {
            accesses: 3,
            ..Limits::default()
        },
        Limits {
            time: Duration::ZERO,
            ..Limits::default()
        },
    ] {
        let (mut stick, _thread) = start(&file, limits);
        let error = stick.list("").unwrap_err().to_string();
        assert!(error.contains("circles"), "{error}");
    }
}
