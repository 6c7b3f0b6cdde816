//! The data's file system: made from a template, grown while mounted, looked at for its error flag.

use super::ioctl;
use nix::errno::Errno;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes of a block of the template.
const BLOCK_BYTES: usize = 4096;
/// The template's mark.
const MAGIC: &[u8; 8] = b"LAMEXT4T";
/// Largest template: 16 GiB of blocks that are mostly not in it.
const BLOCKS_MAX: u64 = 1 << 22;
/// Linux, fs/ext4/ext4.h: the superblock begins at 1,024; `s_state` at 58, of which 2 is `EXT4_ERROR_FS`.
const STATE_OFFSET: u64 = 1024 + 58;
const ERROR_FS: u16 = 2;

/// Why the file system is not made.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Reading or writing.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The template is none.
    #[error("the template of the file system is malformed")]
    Malformed,
    /// The device is smaller than the template.
    #[error("the device has {has} bytes, and the template needs {needs}")]
    Small {
        /// Length of the device.
        has: u64,
        /// Length of the template.
        needs: u64,
    },
}

/// Writes a template to a device: `LAMEXT4T`, the number of blocks (u64, little-endian), then each block that is not zeros
/// behind its number. What is not in the template is zeroed, so that nothing older is taken for a part of it.
pub fn write_template(mut template: impl Read, device: &mut File) -> Result<(), TemplateError> {
    let mut head = [0; 16];
    template.read_exact(&mut head)?;
    let (magic, count) = head.split_at(8);
    let count = count.first_chunk().map_or(0, |count| u64::from_le_bytes(*count));
    if magic != MAGIC || count == 0 || count > BLOCKS_MAX {
        return Err(TemplateError::Malformed);
    }
    let block_bytes = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
    let (has, needs) = (device.seek(SeekFrom::End(0))?, count * block_bytes);
    if has < needs {
        return Err(TemplateError::Small { has, needs });
    }
    device.seek(SeekFrom::Start(0))?;
    let zeros = [0; BLOCK_BYTES];
    let mut next = 0;
    let mut record = [0; 8 + BLOCK_BYTES];
    while let Some((number, block)) = read_record(&mut template, &mut record)? {
        if number < next || number >= count {
            return Err(TemplateError::Malformed);
        }
        for _ in next..number {
            device.write_all(&zeros)?;
        }
        device.write_all(block)?;
        next = number + 1;
    }
    for _ in next..count {
        device.write_all(&zeros)?;
    }
    device.sync_all()?;
    Ok(())
}

/// The next block; `None` at the end.
fn read_record<'a>(
    template: &mut impl Read,
    record: &'a mut [u8; 8 + BLOCK_BYTES],
) -> Result<Option<(u64, &'a [u8])>, TemplateError> {
    let mut length = 0;
    while length < record.len() {
        match template.read(record.get_mut(length..).unwrap_or_default())? {
            0 if length == 0 => return Ok(None),
            0 => return Err(TemplateError::Malformed),
            read => length += read,
        }
    }
    let (number, block) = record.split_at(8);
    Ok(number.first_chunk().map(|number| (u64::from_le_bytes(*number), block)))
}

/// Grows the file system that is mounted on a folder to its device's whole size.
pub fn grow(folder: &Path, device_bytes: u64) -> Result<(), Errno> {
    let opened = File::open(folder).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
    let blocks = device_bytes / u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
    ioctl::resize_ext4(&opened, blocks)
}

/// Whether the kernel found errors since the file system was made.
pub fn has_errors(device: &mut File) -> std::io::Result<bool> {
    let mut state = [0; 2];
    device.seek(SeekFrom::Start(STATE_OFFSET))?;
    device.read_exact(&mut state)?;
    Ok(u16::from_le_bytes(state) & ERROR_FS != 0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt;

    fn template(count: u64, blocks: &[(u64, u8)]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(count.to_le_bytes());
        for (number, byte) in blocks {
            bytes.extend(number.to_le_bytes());
            bytes.extend([*byte; BLOCK_BYTES]);
        }
        bytes
    }

    fn device(blocks: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        for number in 0..blocks {
            file.write_all_at(&[9; BLOCK_BYTES], number * 4096).unwrap();
        }
        file
    }

    #[test]
    fn blocks_are_written_and_holes_zeroed() {
        let mut device = device(5);
        write_template(template(4, &[(1, 5), (3, 6)]).as_slice(), &mut device).unwrap();
        let mut bytes = [0; 5 * BLOCK_BYTES];
        device.read_exact_at(&mut bytes, 0).unwrap();
        let firsts: Vec<u8> = bytes.chunks(BLOCK_BYTES).map(|block| *block.last().unwrap()).collect();
        assert_eq!(firsts, [0, 5, 0, 6, 9]);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for bytes in [
            template(4, &[(4, 1)]),
            template(4, &[(2, 1), (1, 1)]),
            template(0, &[]),
            template(u64::MAX, &[]),
            vec![0; 16],
            template(4, &[(1, 1)]).get(..100).unwrap().to_vec(),
        ] {
            assert!(matches!(
                write_template(bytes.as_slice(), &mut device(4)),
                Err(TemplateError::Malformed)
            ));
        }
        let small = write_template(template(4, &[]).as_slice(), &mut device(3));
        assert!(matches!(small, Err(TemplateError::Small { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = write_template(bytes.as_slice(), &mut device(1));
        }
    }
}
