//! Where on a device file systems may be: everywhere (no table at all), in a GUID partition table, or in a table of the
//! old kind.

use crate::boot::{BOOT_BYTES, Boot, Unusable};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// Where the four entries of the old table are: UEFI Specification 2.10, table 5.1 "Legacy MBR".
const ENTRIES_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
/// "OSType … 0xEE … GPT Protective"
const PROTECTIVE: u8 = 0xEE;
/// Extended partitions, CHS and LBA: a list of further tables.
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];
/// The table counts in the device's blocks, of which one cannot see the size.
const BLOCKS: [u64; 2] = [512, 4096];

/// A part of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub start: u64,
    pub length: u64,
}

/// The first part with a file system that can be used; otherwise what comes nearest to one.
pub(crate) fn find(device: &File) -> std::io::Result<Result<(Part, Boot), Unusable>> {
    let mut end = device;
    let length = end.seek(SeekFrom::End(0))?;
    let mut reason = Unusable::Nothing;
    for part in parts(device, length)? {
        match look(device, part)? {
            Ok(boot) => return Ok(Ok((part, boot))),
            Err(Unusable::Nothing) => {}
            // The first one that is any file system is what the operator means.
            Err(why) if reason == Unusable::Nothing => reason = why,
            Err(_) => {}
        }
    }
    Ok(Err(reason))
}

fn look(device: &File, part: Part) -> std::io::Result<Result<Boot, Unusable>> {
    Ok(match sector(device, part.start)? {
        Some(sector) => Boot::parse(&sector, part.length),
        None => Err(Unusable::Nothing),
    })
}

fn sector(device: &File, at: u64) -> std::io::Result<Option<[u8; BOOT_BYTES]>> {
    let mut bytes = [0; BOOT_BYTES];
    match device.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Candidates in the order in which they are tried; none of them leads out of the device.
fn parts(device: &File, length: u64) -> std::io::Result<Vec<Part>> {
    let whole = Part { start: 0, length };
    let Some(first) = sector(device, 0)? else {
        return Ok(Vec::new());
    };
    if Boot::parse(&first, length) != Err(Unusable::Nothing) {
        return Ok(vec![whole]);
    }
    let inside = |part: &Part| {
        part.length > 0 && part.start > 0 && part.start.checked_add(part.length).is_some_and(|end| end <= length)
    };
    let table = first.get(ENTRIES_AT..).unwrap_or_default().as_chunks::<ENTRY_BYTES>().0;
    if first.ends_with(&[0x55, 0xAA]) && table.iter().take(4).any(|entry| kind(entry) == PROTECTIVE) {
        let partitions = lamchat_machine::gpt::read_open(device)?
            .into_iter()
            .map(|partition| Part {
                start: partition.offset,
                length: partition.length,
            });
        return Ok(partitions.filter(inside).collect());
    }
    if !first.ends_with(&[0x55, 0xAA]) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for block in BLOCKS {
        for entry in table.iter().take(4) {
            let [.., s0, s1, s2, s3, n0, n1, n2, n3] = *entry;
            let part = Part {
                start: u64::from(u32::from_le_bytes([s0, s1, s2, s3])) * block,
                length: u64::from(u32::from_le_bytes([n0, n1, n2, n3])) * block,
            };
            if kind(entry) != 0 && !EXTENDED.contains(&kind(entry)) && inside(&part) {
                found.push(part);
            }
        }
    }
    Ok(found)
}

/// "OSType: Type of partition" (UEFI Specification 2.10, table 5.2).
fn kind(entry: &[u8; ENTRY_BYTES]) -> u8 {
    let [_, _, _, _, kind, ..] = *entry;
    kind
}
