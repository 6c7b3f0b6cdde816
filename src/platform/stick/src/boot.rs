//! The first sector of a file system: whether it is one that we can use, and why not.
//!
//! Layout as in Microsoft's "FAT: General Overview of On-Disk Format" (version 1.03), cited as MS-FAT.

/// Bytes of a boot sector that are looked at.
pub(crate) const BOOT_BYTES: usize = 512;
/// What a refusal ends with.
const REFORMAT: &str = "format the stick with FAT32 (Windows: \"FAT32\" up to 32 GB; macOS: \"MS-DOS (FAT)\" with the \
scheme \"Master Boot Record\"; Linux: mkfs.vfat -F 32)";

/// Why a file system is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// One that we cannot read.
    #[error("the stick has {0}, which is not supported: {REFORMAT}")]
    Other(&'static str),
    /// Nothing that is known.
    #[error("no file system was found on the stick: {REFORMAT}")]
    Nothing,
    /// FAT that contradicts itself.
    #[error("the stick's FAT file system is damaged ({0}): repair it on a computer, or {REFORMAT}")]
    Damaged(&'static str),
}

/// How a FAT file system is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Whether an entry of its table has 32 bits; else 16.
    pub is_32: bool,
    /// Where its table begins, in bytes.
    pub table_at: u64,
    /// How many clusters there are.
    pub clusters: u32,
    /// Bytes of a cluster.
    pub cluster_bytes: u64,
}

impl Boot {
    /// Reads it from the first sector of `length` bytes.
    pub fn parse(sector: &[u8; BOOT_BYTES], length: u64) -> Result<Self, Unusable> {
        let named = |name: &[u8]| sector.get(3..3 + name.len()) == Some(name);
        // exFAT file system specification, 3.1.2: "FileSystemName … shall be "EXFAT   "".
        if named(b"EXFAT   ") {
            return Err(Unusable::Other("an exFAT file system"));
        }
        if named(b"NTFS    ") {
            return Err(Unusable::Other("an NTFS file system"));
        }
        let byte = |at: usize| u64::from(sector.get(at).copied().unwrap_or_default());
        let short = |at: usize| byte(at) | byte(at + 1) << 8;
        let long = |at: usize| short(at) | short(at + 2) << 16;
        let sector_bytes = short(11);
        let (per_cluster, reserved, tables, root_entries) = (byte(13), short(14), byte(16), short(17));
        // MS-FAT: BS_jmpBoot is EB ?? 90 or E9 ?? ??; the signature is at 510 whatever the size of a sector.
        let is_fat = short(510) == 0xAA55
            && matches!(byte(0), 0xEB | 0xE9)
            && matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
            && per_cluster.is_power_of_two()
            && (1..=2).contains(&tables);
        if !is_fat {
            return Err(Unusable::Nothing);
        }
        let either = |short_at: usize, long_at: usize| match short(short_at) {
            0 => long(long_at),
            sectors => sectors,
        };
        let (total, table_sectors) = (either(19, 32), either(22, 36));
        // "RootDirSectors = ((BPB_RootEntCnt * 32) + (BPB_BytsPerSec – 1)) / BPB_BytsPerSec"
        let root_sectors = (root_entries * 32).div_ceil(sector_bytes);
        let data_at = reserved + tables * table_sectors + root_sectors;
        let clusters = total.saturating_sub(data_at) / per_cluster;
        // "if(CountofClusters < 4085) FAT12 … else if(CountofClusters < 65525) FAT16 … else FAT32"
        let is_32 = clusters >= 65_525;
        if clusters < 4085 {
            return Err(Unusable::Other("a FAT12 file system, as only tiny sticks have it"));
        }
        let entry_bytes = if is_32 { 4 } else { 2 };
        let (root, info) = (long(44), short(48));
        let rules = [
            (reserved > 0, "no place for its first sector"),
            (
                total * sector_bytes <= length,
                "it is longer than its partition, as if it was cut off",
            ),
            (
                (clusters + 2) * entry_bytes <= table_sectors * sector_bytes,
                "its table is too short",
            ),
            // "0x0FFFFFF7 is the bad cluster mark"
            (clusters < 0x0FFF_FFF5, "it has too many clusters"),
            (
                is_32 == (short(22) == 0) && is_32 == (root_entries == 0),
                "it is neither FAT16 nor FAT32",
            ),
            (
                !is_32 || (2..clusters + 2).contains(&root),
                "its first folder is nowhere",
            ),
            (
                !is_32 || (1..reserved).contains(&info),
                "its count of free space is nowhere",
            ),
            // "Bit 7 … 1 means only one FAT is active; it is the one referenced in bits 0-3."
            (
                !is_32 || short(40) & 0x80 == 0 || short(40) & 0xF < tables,
                "the table that counts is not there",
            ),
            (!is_32 || short(42) == 0, "it is of a version that nobody knows"),
        ];
        if let Some((_, why)) = rules.into_iter().find(|(holds, _)| !holds) {
            return Err(Unusable::Damaged(why));
        }
        let active = if is_32 && short(40) & 0x80 != 0 {
            short(40) & 0xF
        } else {
            0
        };
        Ok(Self {
            is_32,
            table_at: (reserved + active * table_sectors) * sector_bytes,
            clusters: u32::try_from(clusters).map_err(|_| Unusable::Damaged("it has too many clusters"))?,
            cluster_bytes: per_cluster * sector_bytes,
        })
    }
}
