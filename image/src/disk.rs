//! Images of whole disks, written sparsely: what is zero takes no place.

use crate::file::FileError;
use crate::gpt::{self, Partition};
use crate::guid::Guid;
use lamchat_attestation::Sha256;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Blocks of zeros are not written.
const BLOCK: usize = 4096;
/// The EFI system partition of UEFI 2.10, 5.3.3.
pub const ESP: Guid = Guid::new(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B);
/// The keyring, raw: zeros until set-up.
pub const KEYRING: Guid = Guid::new(0x7D0CC9DE_5B0B_4D5D_8C3F_5B2E6F1A4C01);
/// The data, encrypted: zeros until set-up.
pub const DATA: Guid = Guid::new(0x7D0CC9DE_5B0B_4D5D_8C3F_5B2E6F1A4C02);
/// On the installer's stick: the disk's image.
pub const PAYLOAD: Guid = Guid::new(0x7D0CC9DE_5B0B_4D5D_8C3F_5B2E6F1A4C03);

/// A partition with its content; what is beyond the content is zero.
pub struct Content<'a> {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub kind: Guid,
    /// Its length in bytes at least; it is rounded up to the alignment.
    pub bytes: u64,
    /// From its start.
    pub content: &'a [u8],
}

/// Writes an image. `seed` gives its GUIDs, which an installation replaces by random ones.
pub fn write(path: &Path, seed: &str, contents: &[Content<'_>]) -> Result<(), FileError> {
    let partitions: Vec<Partition> = contents
        .iter()
        .map(|content| Partition {
            name: content.name,
            kind: content.kind,
            id: Guid::of_name(&format!("{seed} {}", content.name)),
            bytes: content.bytes.next_multiple_of(gpt::ALIGNMENT),
        })
        .collect();
    let table = gpt::lay_out(Guid::of_name(seed), &partitions);
    let write = || -> Result<(), std::io::Error> {
        let file = File::create(path)?;
        file.set_len(table.bytes)?;
        for (offset, bytes) in &table.extents {
            file.write_all_at(bytes, *offset)?;
        }
        for (content, start) in contents.iter().zip(&table.starts) {
            write_sparse(&file, *start, content.content)?;
        }
        Ok(())
    };
    write().map_err(FileError::at(path))
}

fn write_sparse(file: &File, start: u64, content: &[u8]) -> Result<(), std::io::Error> {
    let mut offset = start;
    for block in content.chunks(BLOCK) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, offset)?;
        }
        offset += BLOCK as u64;
    }
    Ok(())
}

/// A serial number for a FAT file system.
pub fn serial(seed: &str) -> u32 {
    u32::from_le_bytes(*Sha256::of(seed.as_bytes()).0.first_chunk().unwrap_or(&[0; 4]))
}
