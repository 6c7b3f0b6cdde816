//! Two disks that hold the same: dm-raid's raid1. Kernel documentation, admin-guide/device-mapper/dm-raid.
//!
//! Each half has a small partition beside its data for dm-raid's superblock and its bitmap of what was written; it is all
//! zeros when the half is new. By the superblocks dm-raid knows a half that missed something, and fills it again.

mod superblock;

use crate::device_mapper::{self, Block, MapError};
use std::path::{Path, PathBuf};

/// Bytes of the partition for dm-raid's own: the superblock (4 KiB), and a bitmap of at most 2^21 bits, which is what
/// dm-raid makes of an array of any size; rounded up to what partitions are aligned to.
pub const METADATA_BYTES: u64 = 4 << 20;

/// One half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Half {
    /// The partition for dm-raid's own.
    pub metadata: PathBuf,
    /// The partition with the data.
    pub data: PathBuf,
}

/// How an array begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Both halves are new: nothing is read that was not written before, so they need not be made alike.
    New,
    /// As the superblocks say.
    Known,
    /// This half is new, or is treated as if it was: it is filled from the other one.
    Fill(usize),
}

/// How a half is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfState {
    /// It has everything.
    Whole,
    /// It is being filled.
    Filling,
    /// It failed.
    Failed,
    /// It was not there when the array began.
    Absent,
}

/// What dm-raid tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorStatus {
    /// Both halves.
    pub halves: [HalfState; 2],
    /// Sectors that are alike, and all.
    pub alike: (u64, u64),
    /// Whether nothing is being made alike.
    pub is_idle: bool,
}

/// Opens an array as the device `name`, of as many sectors of 512 bytes as were recorded; answers its node. Where the power
/// went, what was being written is made alike in the background.
pub fn open(name: &str, sectors: u64, halves: &[Option<Half>; 2], begin: Begin) -> Result<PathBuf, MapError> {
    if let (Begin::Known, [Some(first), Some(second)]) = (begin, halves) {
        superblock::doubt([first, second]).map_err(|source| MapError::Io {
            path: first.metadata.clone(),
            source,
        })?;
    }
    device_mapper::create(name, sectors, "raid", &table(sectors, halves, begin)?)
}

/// Changes the halves of an array that is in use.
pub fn replace(name: &str, sectors: u64, halves: &[Option<Half>; 2], begin: Begin) -> Result<(), MapError> {
    device_mapper::replace(name, sectors, "raid", &table(sectors, halves, begin)?)
}

/// How an array is. Asks memory, not the disks.
pub fn status(name: &str) -> Result<MirrorStatus, MapError> {
    parse(&device_mapper::status(name)?).ok_or_else(|| MapError::Unfit(name.to_owned()))
}

fn table(sectors: u64, halves: &[Option<Half>; 2], begin: Begin) -> Result<String, MapError> {
    let mut numbers = Vec::new();
    for half in halves {
        numbers.push(match half {
            Some(half) => {
                let data = fits(&half.data, sectors)?;
                Some([fits(&half.metadata, METADATA_BYTES / device_mapper::SECTOR)?, data])
            }
            None => None,
        });
    }
    Ok(line(&numbers, begin))
}

/// The numbers of a device that holds at least so much.
fn fits(device: &Path, sectors: u64) -> Result<String, MapError> {
    let block = Block::of(device)?;
    let numbers = (block.sectors >= sectors).then_some(block.numbers);
    numbers.ok_or_else(|| MapError::Unfit(device.display().to_string()))
}

/// `<raid_type> <#raid_params> <raid_params> <#raid_devs> <metadata_dev0> <dev0> [<metadata_dev1> <dev1>]`; the first
/// parameter is the chunk size, which raid1 has not.
fn line(halves: &[Option<[String; 2]>], begin: Begin) -> String {
    let parameters = match begin {
        Begin::New => "2 0 nosync".to_owned(),
        Begin::Known => "1 0".to_owned(),
        Begin::Fill(half) => format!("3 0 rebuild {half}"),
    };
    let devices: Vec<String> = halves
        .iter()
        .map(|half| match half {
            Some([metadata, data]) => format!("{metadata} {data}"),
            None => "- -".to_owned(),
        })
        .collect();
    format!("raid1 {parameters} {} {}", devices.len(), devices.join(" "))
}

/// `<raid_type> <#devices> <health_chars> <sync_ratio> <sync_action> <mismatch_cnt> …`
fn parse(text: &str) -> Option<MirrorStatus> {
    let mut words = text.split_whitespace();
    let ("raid1", "2", health, ratio) = (words.next()?, words.next()?, words.next()?, words.next()?) else {
        return None;
    };
    let mut halves = health.chars().map(|letter| match letter {
        'A' => Some(HalfState::Whole),
        'a' => Some(HalfState::Filling),
        'D' => Some(HalfState::Failed),
        '-' => Some(HalfState::Absent),
        _ => None,
    });
    let mut both = [halves.next()??, halves.next()??];
    // After a power cut what was being written is made alike, and dm-raid says `a` of both for that time (Linux,
    // drivers/md/dm-raid.c, `rs_get_progress`). Neither misses anything that was acknowledged: none is to be filled.
    if both == [HalfState::Filling; 2] {
        both = [HalfState::Whole; 2];
    }
    let (done, all) = ratio.split_once('/')?;
    let is_idle = words.next()? == "idle";
    Some(MirrorStatus {
        halves: both,
        alike: (done.parse().ok()?, all.parse().ok()?),
        is_idle,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn tables_are_written_as_the_kernel_reads_them() {
        let half = |disk: u32| Some([format!("{disk}:4"), format!("{disk}:3")]);
        assert_eq!(
            line(&[half(8), half(9)], Begin::New),
            "raid1 2 0 nosync 2 8:4 8:3 9:4 9:3"
        );
        assert_eq!(line(&[half(8), None], Begin::Known), "raid1 1 0 2 8:4 8:3 - -");
        assert_eq!(
            line(&[half(8), half(9)], Begin::Fill(1)),
            "raid1 3 0 rebuild 1 2 8:4 8:3 9:4 9:3"
        );
    }

    #[test]
    fn what_dm_raid_tells_is_read() {
        use HalfState::{Absent, Failed, Filling, Whole};
        let halves = |text: &str| parse(text).map(|status| status.halves);
        assert_eq!(halves("raid1 2 AA 100/100 idle 0 0 -"), Some([Whole, Whole]));
        assert_eq!(halves("raid1 2 AD 100/100 idle 0"), Some([Whole, Failed]));
        assert_eq!(halves("raid1 2 -A 100/100 idle 0 0 -"), Some([Absent, Whole]));
        let filling = parse("raid1 2 Aa 25/100 recover 0 0 -").unwrap();
        assert_eq!((filling.halves, filling.alike), ([Whole, Filling], (25, 100)));
        assert!(!filling.is_idle && parse("raid1 2 AA 4/4 idle 0 0 -").unwrap().is_idle);
        let alike = parse("raid1 2 aa 25/100 resync 0 0 -").unwrap();
        assert_eq!(
            (alike.halves, alike.is_idle),
            ([Whole, Whole], false),
            "after a power cut"
        );
        for wrong in [
            "",
            "raid1 2 A 1/1",
            "raid5 3 AAA 1/1 idle 0",
            "raid1 2 AX 1/1 idle",
            "raid1 2 AA 1 idle",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
