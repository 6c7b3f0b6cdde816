//! An encrypted block device: dm-crypt, set up by the device mapper. Kernel documentation, admin-guide/device-mapper.

use crate::device_mapper::{self, Block, MapError, SECTOR};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of a key: AES-256 twice, as XTS wants.
pub const KEY_BYTES: usize = 64;
/// Bytes that are encrypted as one: those of a page and of today's disks.
const SECTOR_BYTES: u64 = 4096;

/// Opens `partition` under a key as the device `name`; answers its node.
pub fn open(name: &str, partition: &Path, key: &[u8; KEY_BYTES]) -> Result<PathBuf, MapError> {
    let block = Block::of(partition)?;
    let sectors = block.sectors * SECTOR / SECTOR_BYTES * SECTOR_BYTES / SECTOR;
    if sectors == 0 {
        return Err(MapError::Unfit(partition.display().to_string()));
    }
    device_mapper::create(name, sectors, "crypt", &table(&block.numbers, key))
}

/// Kernel documentation, dm-crypt: `<cipher> <key> <iv_offset> <device path> <offset> [<#opt_params> <opt_params>]`.
fn table(numbers: &str, key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    let mut table = Zeroizing::new(String::with_capacity(512));
    table.push_str("aes-xts-plain64 ");
    for byte in key {
        for digit in [byte >> 4, byte & 15] {
            table.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    table.push_str(&format!(" 0 {numbers} 0 1 sector_size:{SECTOR_BYTES}"));
    table
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn tables_are_written_as_the_kernel_reads_them() {
        let table = table("8:2", &[0xa5; KEY_BYTES]);
        let words: Vec<&str> = table.split(' ').collect();
        assert_eq!(words.first(), Some(&"aes-xts-plain64"));
        assert_eq!(*words.get(1).unwrap(), "a5".repeat(64));
        assert_eq!(words.get(2..).unwrap().join(" "), "0 8:2 0 1 sector_size:4096");
    }
}
