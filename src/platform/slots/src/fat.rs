//! What of a FAT32 file system `fatfs` does not tell: where a folder lies, and which clusters nothing leads to.
//!
//! Layout as in Microsoft's "FAT: General Overview of On-Disk Format" (version 1.03), cited as MS-FAT.

use crate::volume::{Device, SECTOR, Volume};
use std::collections::BTreeSet;

/// Folders below each other.
const DEPTH_MAX: usize = 8;
/// Entries of one folder.
const ENTRIES_MAX: usize = 4096;
/// "FAT32 … high 4 bits are reserved" (MS-FAT, FAT Data Structure).
const MASK: u32 = 0x0FFF_FFFF;
/// "the FAT32 bad cluster mark is 0x0FFFFFF7"; everything above is the end of a chain.
const BAD: u32 = 0x0FFF_FFF7;
/// Attributes (MS-FAT, FAT Directory Structure).
const VOLUME: u8 = 0x08;
const FOLDER: u8 = 0x10;

/// Why the file system is not used.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// The device.
    #[error("the EFI system partition cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// It is no FAT32 of the kind that our disks have.
    #[error("this is no EFI system partition of ours: {0}")]
    Foreign(&'static str),
    /// It contradicts itself.
    #[error("the file system of the EFI system partition is damaged: {0}")]
    Damaged(&'static str),
}

/// Where what is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    sectors_per_cluster: u64,
    fat_at: u64,
    fats: u64,
    fat_sectors: u64,
    data_at: u64,
    root: u32,
    info_at: u64,
    /// One behind the last cluster's number.
    end: u32,
}

/// An entry of a folder.
struct Child {
    name: [u8; 11],
    is_folder: bool,
    first: u32,
}

impl Geometry {
    /// Reads it from the first sector.
    pub(crate) fn read<D: Device>(volume: &mut Volume<D>) -> Result<Self, FatError> {
        let mut boot = [0; SECTOR];
        volume.read_at(0, &mut boot)?;
        let byte = |at: usize| u64::from(boot.get(at).copied().unwrap_or_default());
        let short = |at: usize| byte(at) | byte(at + 1) << 8;
        let long = |at: usize| short(at) | short(at + 2) << 16;
        let sectors_per_cluster = byte(13);
        let (reserved, fats, fat_sectors, total) = (short(14), byte(16), long(36), long(32));
        let rules = [
            (short(510) == 0xAA55, "no mark at its end"),
            (short(11) == SECTOR as u64, "its sectors do not have 512 bytes"),
            (
                sectors_per_cluster.is_power_of_two() && sectors_per_cluster <= 128,
                "its clusters have no size",
            ),
            (short(17) == 0 && short(22) == 0 && fat_sectors > 0, "it is not FAT32"),
            // "Bit 7 … 0 means the FAT is mirrored at runtime into all FATs" (MS-FAT, BPB_ExtFlags)
            (short(40) & 0x80 == 0 && short(42) == 0, "its tables are not mirrored"),
            (
                reserved > 1 && (1..=2).contains(&fats),
                "it has no place for its tables",
            ),
            (
                total * SECTOR as u64 <= volume.length(),
                "it is longer than its partition",
            ),
        ];
        if let Some((_, why)) = rules.into_iter().find(|(holds, _)| !holds) {
            return Err(FatError::Foreign(why));
        }
        let data_at = reserved + fats * fat_sectors;
        let clusters = total.saturating_sub(data_at) / sectors_per_cluster;
        let entries = fat_sectors * SECTOR as u64 / 4;
        let end = u32::try_from(clusters + 2).unwrap_or(u32::MAX);
        let root = u32::try_from(long(44)).unwrap_or_default();
        if clusters < 65_525 || u64::from(end) > entries || end > BAD || !(2..end).contains(&root) {
            return Err(FatError::Foreign("its tables do not fit"));
        }
        Ok(Self {
            sectors_per_cluster,
            fat_at: reserved,
            fats,
            fat_sectors,
            data_at,
            root,
            info_at: short(48),
            end,
        })
    }

    /// Bytes of a cluster.
    pub(crate) fn cluster_bytes(&self) -> u64 {
        self.sectors_per_cluster * SECTOR as u64
    }

    /// The whole table.
    fn table<D: Device>(&self, volume: &mut Volume<D>) -> Result<Vec<u32>, FatError> {
        let mut bytes = vec![0; self.end as usize * 4];
        volume.read_at(self.fat_at * SECTOR as u64, &mut bytes)?;
        let entries = bytes.as_chunks::<4>().0.iter();
        Ok(entries.map(|entry| u32::from_le_bytes(*entry) & MASK).collect())
    }

    /// How many clusters are free.
    pub(crate) fn free<D: Device>(&self, volume: &mut Volume<D>) -> Result<u64, FatError> {
        let table = self.table(volume)?;
        Ok(table.iter().skip(2).filter(|entry| **entry == 0).count() as u64)
    }

    /// A chain from its first cluster on. One that ends in a free cluster is what a power cut left of a file.
    fn chain(&self, table: &[u32], first: u32) -> Result<Vec<u32>, FatError> {
        let (mut chain, mut at) = (Vec::new(), first);
        while (2..self.end).contains(&at) {
            if chain.len() > table.len() {
                return Err(FatError::Damaged("a file never ends"));
            }
            chain.push(at);
            at = match table.get(at as usize).copied() {
                None | Some(0) => break,
                Some(next) if next >= BAD => break,
                Some(next) if (2..self.end).contains(&next) => next,
                Some(_) => return Err(FatError::Damaged("a file leads out of the partition")),
            };
        }
        Ok(chain)
    }

    fn sectors(&self, cluster: u32) -> std::ops::Range<u64> {
        let first = self.data_at + u64::from(cluster.saturating_sub(2)) * self.sectors_per_cluster;
        first..first + self.sectors_per_cluster
    }

    fn children<D: Device>(&self, volume: &mut Volume<D>, table: &[u32], folder: u32) -> Result<Vec<Child>, FatError> {
        let (mut children, mut bytes) = (Vec::new(), [0; SECTOR]);
        for sector in self
            .chain(table, folder)?
            .into_iter()
            .flat_map(|cluster| self.sectors(cluster))
        {
            volume.read_at(sector * SECTOR as u64, &mut bytes)?;
            for entry in bytes.as_chunks::<32>().0 {
                let [n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, attributes, ..] = *entry;
                let name = [n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10];
                match n0 {
                    // "DIR_Name[0] == 0x00 … there are no allocated directory entries after this one"
                    0 => return Ok(children),
                    // "0xE5 … the directory entry is free"; `.` and `..` lead back.
                    0xE5 | b'.' => continue,
                    // Long names have this bit, too.
                    _ if attributes & VOLUME != 0 => continue,
                    _ => {}
                }
                if children.len() >= ENTRIES_MAX {
                    return Err(FatError::Damaged("a folder has too many entries"));
                }
                let [.., h0, h1, _, _, _, _, l0, l1, _, _, _, _] = *entry;
                children.push(Child {
                    name,
                    is_folder: attributes & FOLDER != 0,
                    first: u32::from_le_bytes([l0, l1, h0, h1]),
                });
            }
        }
        Ok(children)
    }

    /// The sectors that hold the names of the folder with this path of short names.
    pub(crate) fn folder_sectors<D: Device>(
        &self,
        volume: &mut Volume<D>,
        path: &[&[u8; 11]],
    ) -> Result<BTreeSet<u64>, FatError> {
        let table = self.table(volume)?;
        let mut at = self.root;
        for name in path {
            let children = self.children(volume, &table, at)?;
            let child = children.iter().find(|child| child.is_folder && child.name == **name);
            at = child.ok_or(FatError::Foreign("it has no folder EFI/Linux"))?.first;
        }
        let chain = self.chain(&table, at)?;
        Ok(chain.into_iter().flat_map(|cluster| self.sectors(cluster)).collect())
    }

    /// Frees what nothing leads to, as a power cut leaves it, and forgets the count of free clusters that may be wrong
    /// after it. Answers how many clusters that were; nothing is written yet.
    pub(crate) fn reclaim<D: Device>(&self, volume: &mut Volume<D>) -> Result<u64, FatError> {
        let table = self.table(volume)?;
        let mut reached = vec![false; table.len()];
        let mut folders = vec![(self.root, 0)];
        self.reach(&table, self.root, &mut reached)?;
        while let Some((folder, depth)) = folders.pop() {
            for child in self.children(volume, &table, folder)? {
                self.reach(&table, child.first, &mut reached)?;
                if child.is_folder && depth >= DEPTH_MAX {
                    return Err(FatError::Damaged("its folders are nested too deeply"));
                }
                if child.is_folder && child.first != 0 {
                    folders.push((child.first, depth + 1));
                }
            }
        }
        let lost = (0..).zip(&table).zip(&reached).skip(2);
        let lost = lost.filter(|((_, entry), reached)| **entry != 0 && **entry != BAD && !**reached);
        let lost: Vec<u64> = lost.map(|((cluster, _), _)| cluster).collect();
        for cluster in &lost {
            for fat in 0..self.fats {
                let at = (self.fat_at + fat * self.fat_sectors) * SECTOR as u64 + cluster * 4;
                volume.change(at, &[0; 4])?;
            }
        }
        self.forget_count(volume)?;
        Ok(lost.len() as u64)
    }

    fn reach(&self, table: &[u32], first: u32, reached: &mut [bool]) -> Result<(), FatError> {
        for cluster in self.chain(table, first)? {
            let Some(reached) = reached.get_mut(cluster as usize) else {
                continue;
            };
            if *reached {
                return Err(FatError::Damaged("two files share a place"));
            }
            *reached = true;
        }
        Ok(())
    }

    /// "FSI_Free_Count … If the value is 0xFFFFFFFF, then the free count is unknown" (MS-FAT, FSInfo); the same for the
    /// hint behind it.
    fn forget_count<D: Device>(&self, volume: &mut Volume<D>) -> Result<(), FatError> {
        if self.info_at == 0 || self.info_at >= self.fat_at {
            return Ok(());
        }
        let at = self.info_at * SECTOR as u64 + 488;
        let mut now = [0; 8];
        volume.read_at(at, &mut now)?;
        if now != [0xFF; 8] {
            volume.change(at, &[0xFF; 8])?;
        }
        Ok(())
    }
}
