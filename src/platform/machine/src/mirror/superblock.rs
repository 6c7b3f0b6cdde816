//! dm-raid's superblock, as far as a start has to know it (Linux, drivers/md/dm-raid.c, `struct dm_raid_superblock`;
//! numbers are little-endian).
//!
//! After a power cut the halves differ where writes were under way, and either may be read: what one start has read, the
//! next one may not find. The bitmap knows these places. But dm-raid looks at it only up to `array_resync_offset`, and
//! leaves that at the end once the halves were alike, also while they are written to: so nothing is made alike after a cut.
//! With an offset of 0 it goes through the whole bitmap, and copies what is marked in it and nothing else. Until it has come
//! by a place, it reads that from the first half.

use super::Half;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that dm-raid writes of it, in the first block.
const BYTES: usize = 512;
/// "DmRd".
const MAGIC: [u8; 4] = *b"DmRd";
/// Halves that failed: a bit of each. And, of this half, up to where it was filled; of the array, up to where it was made
/// alike: both in sectors.
const FAILED_AT: usize = 24;
const FILLED_AT: usize = 32;
const ALIKE_AT: usize = 40;
/// Everything was.
const END: u64 = u64::MAX;

/// Has both halves made alike where writes were under way when they were used last. Does nothing where one of them is new,
/// has failed or is being filled: it gets everything of the other one anyway. Durable when it returns; whether anything was
/// written. Not while the array is in use.
pub fn doubt(halves: [&Half; 2]) -> io::Result<bool> {
    let mut blocks = Vec::new();
    for half in halves {
        let device = File::options().read(true).write(true).open(&half.metadata)?;
        let mut block = [0; BYTES];
        device.read_exact_at(&mut block, 0)?;
        if !is_whole(&block) {
            return Ok(false);
        }
        blocks.push((device, block));
    }
    for (device, mut block) in blocks {
        set(&mut block, ALIKE_AT, 0);
        device.write_all_at(&block, 0)?;
        device.sync_all()?;
    }
    Ok(true)
}

/// Whether a half that was in use has everything, and the array was alike.
fn is_whole(block: &[u8; BYTES]) -> bool {
    block.starts_with(&MAGIC)
        && number(block, FAILED_AT) == Some(0)
        && number(block, FILLED_AT) == Some(END)
        && number(block, ALIKE_AT).is_some()
}

fn number(block: &[u8; BYTES], at: usize) -> Option<u64> {
    block.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn set(block: &mut [u8; BYTES], at: usize, value: u64) {
    for (to, from) in block.iter_mut().skip(at).zip(value.to_le_bytes()) {
        *to = from;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::path::Path;

    /// As dm-raid writes it: two devices, this position, seven events.
    fn superblock(position: u32) -> [u8; BYTES] {
        let mut block = [0; BYTES];
        let start: Vec<u8> = MAGIC
            .into_iter()
            .chain([1u32, 2, position].iter().flat_map(|number| number.to_le_bytes()))
            .collect();
        block[..16].copy_from_slice(&start);
        for (at, value) in [(16, 7), (FAILED_AT, 0), (FILLED_AT, END), (ALIKE_AT, END)] {
            set(&mut block, at, value);
        }
        block
    }

    fn half(folder: &Path, name: &str, block: &[u8; BYTES]) -> Half {
        let metadata = folder.join(name);
        std::fs::write(&metadata, [block.as_slice(), b"the bitmap"].concat()).unwrap();
        Half {
            metadata,
            data: folder.join("data"),
        }
    }

    #[test]
    fn the_bitmap_of_both_halves_is_gone_through_from_its_begin() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (
            half(folder.path(), "a", &superblock(0)),
            half(folder.path(), "b", &superblock(1)),
        );
        for _ in 0..2 {
            assert!(doubt([&a, &b]).unwrap());
            for (half, position) in [(&a, 0), (&b, 1)] {
                let mut expected = superblock(position);
                expected[ALIKE_AT..ALIKE_AT + 8].fill(0);
                let expected = [expected.as_slice(), b"the bitmap"].concat();
                assert_eq!(std::fs::read(&half.metadata).unwrap(), expected);
            }
        }
    }

    #[test]
    fn a_half_that_gets_everything_anyway_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let a = half(folder.path(), "a", &superblock(0));
        let (mut failed, mut filling) = (superblock(1), superblock(1));
        set(&mut failed, FAILED_AT, 2);
        set(&mut filling, FILLED_AT, 4096);
        for block in [failed, filling, [0; BYTES]] {
            let b = half(folder.path(), "b", &block);
            for halves in [[&a, &b], [&b, &a]] {
                assert!(!doubt(halves).unwrap());
            }
            assert!(std::fs::read(&a.metadata).unwrap().starts_with(&superblock(0)));
            assert!(std::fs::read(&b.metadata).unwrap().starts_with(&block));
        }
        std::fs::write(&a.metadata, b"short").unwrap();
        assert!(doubt([&a, &a]).is_err());
    }
}
