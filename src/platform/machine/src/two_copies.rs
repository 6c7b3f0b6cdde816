//! A small partition that holds one thing, twice: two areas with checksums, of which the older one is overwritten. A power
//! cut at any time leaves the old content or the new.
//!
//! An area, big-endian: 8 bytes `LAMKEYPT`, u32 version 1, u32 length of the content, u64 generation, 32 bytes SHA-256 of
//! these 24 bytes and the content; zeros up to 4,096; the content.

use aws_lc_rs::digest::{Context, SHA256};
use std::fs::File;
use std::os::unix::fs::FileExt;

const VERSION: u32 = 1;
const FIELDS_BYTES: usize = 24;
const HEADER_BYTES: usize = 4096;
/// Bytes from a thing's first copy to its second.
const DISTANCE: u64 = 2 << 20;

/// One of the things that lie on the partition. Each has one writer, so that nobody needs to ask another one.
#[derive(Debug, Clone, Copy)]
pub struct Thing {
    magic: &'static [u8; 8],
    /// Bytes from the partition's begin to the first copy.
    offset: u64,
    /// Longest content.
    pub content_bytes_max: usize,
}

/// The files of the key holder, which writes them.
pub const KEYRING: Thing = Thing {
    magic: b"LAMKEYPT",
    offset: 0,
    content_bytes_max: 1 << 20,
};

/// What process 1 has to know before the keys are open, and writes.
pub const RECORD: Thing = Thing {
    magic: b"LAMBOXRC",
    offset: 3 << 19,
    content_bytes_max: 64 << 10,
};

/// Why there is no content.
#[derive(Debug, thiserror::Error)]
pub enum TwoCopiesError {
    /// The device.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is longer than an area takes.
    #[error("{0} bytes are too many for the partition")]
    TooLong(usize),
    /// Something was written, but neither area is whole.
    #[error("neither copy is whole")]
    Broken,
}

/// What an area holds.
#[derive(Debug, PartialEq, Eq)]
enum Area {
    /// Zeros: never written.
    Blank,
    Whole {
        generation: u64,
        content: Vec<u8>,
    },
    Broken,
}

/// The newest whole content; `None` when nothing was ever written, or nothing wholly.
pub fn read(device: &File, thing: &Thing) -> Result<Option<Vec<u8>>, TwoCopiesError> {
    match both(device, thing)? {
        // A first write that was cut off. Once one has returned, the second copy is not blank any more.
        [Area::Blank | Area::Broken, Area::Blank] => Ok(None),
        areas => newest(areas)
            .map(|(_, content)| Some(content))
            .ok_or(TwoCopiesError::Broken),
    }
}

/// Writes new content; durable when it returns.
pub fn write(device: &File, thing: &Thing, content: &[u8]) -> Result<(), TwoCopiesError> {
    write_after(device, thing, content, 0)
}

/// The newest whole content of several partitions that hold the same; `None` when nothing was ever written to any. One
/// that cannot be read, or was never written, is passed over; an error where none of them gives a content but one should.
pub fn read_newest(devices: &[File], thing: &Thing) -> Result<Option<Vec<u8>>, TwoCopiesError> {
    match newest_of(devices, thing)? {
        Some((_, content)) => Ok(Some(content)),
        None => Ok(None),
    }
}

/// Writes new content to all; what went wrong where it did not come to its end. Durable on one at least, unless all of
/// them failed, which is the error.
pub fn write_each(devices: &[File], thing: &Thing, content: &[u8]) -> Result<Vec<TwoCopiesError>, TwoCopiesError> {
    // Newer than what any of them has, so that no partition that misses this one is taken for the newest.
    let before = generations(devices, thing).into_iter().flatten().max().unwrap_or(0);
    let results = devices.iter().map(|device| write_after(device, thing, content, before));
    let mut failed: Vec<TwoCopiesError> = results.filter_map(Result::err).collect();
    match failed.pop() {
        Some(error) if failed.len() + 1 == devices.len() => Err(error),
        last => Ok(failed.into_iter().chain(last).collect()),
    }
}

/// Gives the newest content to those of several partitions that miss it; how many did.
pub fn level(devices: &[File], thing: &Thing) -> Result<usize, TwoCopiesError> {
    let Some((newest, content)) = newest_of(devices, thing)? else {
        return Ok(0);
    };
    let mut behind = 0;
    for (device, generation) in devices.iter().zip(generations(devices, thing)) {
        if generation.is_none_or(|generation| generation < newest) {
            write_after(device, thing, &content, newest.saturating_sub(1))?;
            behind += 1;
        }
    }
    Ok(behind)
}

fn newest_of(devices: &[File], thing: &Thing) -> Result<Option<(u64, Vec<u8>)>, TwoCopiesError> {
    let (mut found, mut failed) = (None::<(u64, Vec<u8>)>, None);
    for device in devices {
        match both(device, thing) {
            Ok([Area::Blank | Area::Broken, Area::Blank]) => {}
            Ok(areas) => match newest(areas) {
                Some(one) if found.as_ref().is_none_or(|(generation, _)| one.0 > *generation) => found = Some(one),
                Some(_) => {}
                None => failed = Some(TwoCopiesError::Broken),
            },
            Err(error) => failed = Some(error),
        }
    }
    match (found, failed) {
        (None, Some(error)) => Err(error),
        (found, _) => Ok(found),
    }
}

/// The newest generation of each; `None` where there is none, or none that can be read.
fn generations(devices: &[File], thing: &Thing) -> Vec<Option<u64>> {
    let of = |device: &File| newest(both(device, thing).ok()?).map(|(generation, _)| generation);
    devices.iter().map(of).collect()
}

/// Writes under a generation that is greater than `before` and than the device's own.
fn write_after(device: &File, thing: &Thing, content: &[u8], before: u64) -> Result<(), TwoCopiesError> {
    let length = u32::try_from(content.len())
        .ok()
        .filter(|_| content.len() <= thing.content_bytes_max);
    let length = length.ok_or(TwoCopiesError::TooLong(content.len()))?;
    let areas = both(device, thing)?;
    let generations = areas.each_ref().map(|area| match area {
        Area::Whole { generation, .. } => Some(*generation),
        _ => None,
    });
    // Over the one that is not whole, else over the older one.
    let target = u64::from(match generations {
        [None, _] => false,
        [_, None] => true,
        [Some(first), Some(second)] => second < first,
    });
    let newest = generations.into_iter().flatten().max().unwrap_or(0);
    let generation = newest.max(before).saturating_add(1);
    let area = |generation: u64| {
        let mut area = thing.magic.to_vec();
        area.extend(VERSION.to_be_bytes());
        area.extend(length.to_be_bytes());
        area.extend(generation.to_be_bytes());
        let digest = digest(&area, content);
        area.extend(digest);
        area.resize(HEADER_BYTES, 0);
        area.extend(content);
        area
    };
    // What was never written has no former content that a torn write could leave: there are two copies from the first
    // write on, and a reader who finds no second one knows that the first write was cut off.
    if let [Area::Blank | Area::Broken, Area::Blank] = areas {
        device.write_all_at(&area(generation.saturating_sub(1)), thing.offset)?;
        device.sync_all()?;
        device.write_all_at(&area(generation), thing.offset + DISTANCE)?;
    } else {
        device.write_all_at(&area(generation), thing.offset + target * DISTANCE)?;
    }
    device.sync_all()?;
    Ok(())
}

/// Forgets a thing: both copies read as never written. A power cut leaves the content, the one before it, or nothing: the
/// second copy goes for good before the first.
pub fn blank(device: &File, thing: &Thing) -> Result<(), TwoCopiesError> {
    for copy in [DISTANCE, 0] {
        device.write_all_at(&vec![0; HEADER_BYTES + thing.content_bytes_max], thing.offset + copy)?;
        device.sync_all()?;
    }
    Ok(())
}

fn both(device: &File, thing: &Thing) -> Result<[Area; 2], TwoCopiesError> {
    Ok([read_area(device, thing, 0)?, read_area(device, thing, DISTANCE)?])
}

fn newest(areas: [Area; 2]) -> Option<(u64, Vec<u8>)> {
    let whole = areas.into_iter().filter_map(|area| match area {
        Area::Whole { generation, content } => Some((generation, content)),
        _ => None,
    });
    whole.max_by_key(|(generation, _)| *generation)
}

fn read_area(device: &File, thing: &Thing, copy: u64) -> Result<Area, TwoCopiesError> {
    let offset = thing.offset + copy;
    let mut header = vec![0; HEADER_BYTES];
    device.read_exact_at(&mut header, offset)?;
    if header.iter().all(|byte| *byte == 0) {
        return Ok(Area::Blank);
    }
    let fields = header.get(..FIELDS_BYTES).unwrap_or_default();
    let four = |at: usize| fields.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied();
    let length = four(12).map_or(usize::MAX, |four| {
        usize::try_from(u32::from_be_bytes(four)).unwrap_or(usize::MAX)
    });
    let generation = fields.last_chunk::<8>().map_or(0, |eight| u64::from_be_bytes(*eight));
    if !fields.starts_with(thing.magic) || four(8) != Some(VERSION.to_be_bytes()) || length > thing.content_bytes_max {
        return Ok(Area::Broken);
    }
    let mut content = vec![0; length];
    let start = offset + u64::try_from(HEADER_BYTES).unwrap_or_default();
    device.read_exact_at(&mut content, start)?;
    let kept = header.get(FIELDS_BYTES..FIELDS_BYTES + 32).unwrap_or_default();
    Ok(if kept == digest(fields, &content) {
        Area::Whole { generation, content }
    } else {
        Area::Broken
    })
}

fn digest(fields: &[u8], content: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(fields);
    context.update(content);
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn partition() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * DISTANCE).unwrap();
        file
    }

    #[test]
    fn the_newest_whole_copy_counts() {
        let device = partition();
        assert_eq!(read(&device, &KEYRING).unwrap(), None);
        for content in [&b"one"[..], b"", b"three", b"four"] {
            write(&device, &KEYRING, content).unwrap();
            assert_eq!(read(&device, &KEYRING).unwrap().unwrap(), content);
        }
        assert!(write(&device, &KEYRING, &vec![0; KEYRING.content_bytes_max + 1]).is_err());
    }

    /// Each prefix of a write that was cut leaves the content before it, whatever else is there.
    #[test]
    fn a_write_that_is_cut_leaves_the_old_content() {
        let device = partition();
        write(&device, &KEYRING, b"old").unwrap();
        let (mut before, mut after) = (vec![0; 8192], vec![0; 8192]);
        device.read_exact_at(&mut before, 0).unwrap();
        write(&device, &KEYRING, b"new content").unwrap();
        device.read_exact_at(&mut after, 0).unwrap();
        assert_ne!(before, after);
        for cut in [0, 1, 8, 20, 30, 60, 4095, 4096, 4100, 4106] {
            let mut torn = before.clone();
            torn.get_mut(..cut).unwrap().copy_from_slice(after.get(..cut).unwrap());
            device.write_all_at(&torn, 0).unwrap();
            assert_eq!(read(&device, &KEYRING).unwrap().unwrap(), b"old", "cut at {cut}");
            // And it can be written again.
            write(&device, &KEYRING, b"again").unwrap();
            assert_eq!(read(&device, &KEYRING).unwrap().unwrap(), b"again");
            write(&device, &KEYRING, b"old").unwrap();
        }
    }

    /// Sectors of the very first write are there or not: there is no content then, and the partition is not broken.
    #[test]
    fn a_first_write_that_is_cut_leaves_nothing() {
        let whole = partition();
        write(&whole, &RECORD, b"begun").unwrap();
        let mut area = vec![0; HEADER_BYTES + 512];
        whole.read_exact_at(&mut area, RECORD.offset).unwrap();
        // The header's first sector and the content's: what else there is are zeros.
        for (sector, kept) in [(0, true), (HEADER_BYTES, true), (0, false)] {
            let device = partition();
            if kept {
                let bytes = area.get(sector..sector + 512).unwrap();
                device.write_all_at(bytes, RECORD.offset + sector as u64).unwrap();
            }
            assert_eq!(read(&device, &RECORD).unwrap(), None, "{sector}");
            write(&device, &RECORD, b"begun").unwrap();
            assert_eq!(read(&device, &RECORD).unwrap().unwrap(), b"begun");
        }
        // After it, either copy may be lost.
        for copy in [0, DISTANCE] {
            let device = partition();
            write(&device, &RECORD, b"begun").unwrap();
            device.write_all_at(&[1; 512], RECORD.offset + copy).unwrap();
            assert_eq!(read(&device, &RECORD).unwrap().unwrap(), b"begun");
        }
    }

    #[test]
    fn two_broken_copies_are_told_from_none() {
        let device = partition();
        device.write_all_at(&[1], DISTANCE).unwrap();
        assert!(matches!(read(&device, &KEYRING), Err(TwoCopiesError::Broken)));
        device.write_all_at(&[1], 0).unwrap();
        assert!(matches!(read(&device, &KEYRING), Err(TwoCopiesError::Broken)));
        device.write_all_at(b"LAMKEYPT\0\0\0\x01\xff\xff\xff\xff", 0).unwrap();
        assert!(matches!(read(&device, &KEYRING), Err(TwoCopiesError::Broken)));
    }

    #[test]
    fn things_do_not_touch_each_other() {
        let device = partition();
        let (largest, record) = (vec![7; KEYRING.content_bytes_max], vec![8; RECORD.content_bytes_max]);
        for _ in 0..2 {
            write(&device, &KEYRING, &largest).unwrap();
            write(&device, &RECORD, &record).unwrap();
        }
        assert_eq!(read(&device, &KEYRING).unwrap().unwrap(), largest);
        assert_eq!(read(&device, &RECORD).unwrap().unwrap(), record);
        blank(&device, &KEYRING).unwrap();
        assert_eq!(read(&device, &KEYRING).unwrap(), None);
        assert_eq!(read(&device, &RECORD).unwrap().unwrap(), record);
    }

    #[test]
    fn of_several_partitions_the_newest_counts_and_the_others_follow() {
        let all = [partition(), partition()];
        let [first, second] = &all;
        assert_eq!(read_newest(&all, &KEYRING).unwrap(), None);
        assert!(write_each(&all, &KEYRING, b"both").unwrap().is_empty());
        // The second one was away for a while, and the first one was written more than once.
        for content in [&b"one"[..], b"two", b"three"] {
            assert!(
                write_each(std::slice::from_ref(first), &KEYRING, content)
                    .unwrap()
                    .is_empty()
            );
        }
        assert_eq!(read_newest(&all, &KEYRING).unwrap().unwrap(), b"three");
        assert_eq!((level(&all, &KEYRING).unwrap(), level(&all, &KEYRING).unwrap()), (1, 0));
        assert_eq!(read(second, &KEYRING).unwrap().unwrap(), b"three");
        // And now the other way round, although the second one has fewer generations of its own.
        write(second, &KEYRING, b"four").unwrap();
        assert_eq!(level(&all, &KEYRING).unwrap(), 1);
        assert_eq!(read(first, &KEYRING).unwrap().unwrap(), b"four");
        // One that is broken is passed over and made anew.
        for at in [0, DISTANCE] {
            first.write_all_at(&[0xff; 64], at).unwrap();
        }
        assert_eq!(read_newest(&all, &KEYRING).unwrap().unwrap(), b"four");
        assert_eq!(level(&all, &KEYRING).unwrap(), 1);
        assert_eq!(read(first, &KEYRING).unwrap().unwrap(), b"four");
    }

    #[test]
    fn a_partition_that_fails_is_told_and_all_of_them_are_an_error() {
        let whole = partition();
        // Too short: what is written is read back as its end.
        let failing = || File::open("/dev/null").unwrap();
        let pair = [failing(), whole];
        assert_eq!(write_each(&pair, &KEYRING, b"x").unwrap().len(), 1);
        assert_eq!(read_newest(&pair, &KEYRING).unwrap().unwrap(), b"x");
        write_each(&[failing(), failing()], &KEYRING, b"x").unwrap_err();
        read_newest(&[failing()], &KEYRING).unwrap_err();
    }
}
