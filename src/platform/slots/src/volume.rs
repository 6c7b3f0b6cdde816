//! Between the file system and the device: what changes waits in memory until it may go out, in an order that is ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: usize = 512;
/// Sectors that wait at most while a file is written: 8 MiB.
const WAITING_MAX: usize = 16_384;

/// Where the partition is.
pub trait Device {
    /// Its length in bytes.
    fn length(&self) -> u64;
    /// Reads all of `buffer` from `offset` on.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()>;
    /// Writes a sector.
    fn write_sector(&mut self, sector: u64, bytes: &[u8; SECTOR]) -> std::io::Result<()>;
    /// Returns when everything that was written is on the disk for good.
    fn sync(&mut self) -> std::io::Result<()>;
}

impl<D: Device> Device for &mut D {
    fn length(&self) -> u64 {
        (**self).length()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        (**self).read_at(offset, buffer)
    }

    fn write_sector(&mut self, sector: u64, bytes: &[u8; SECTOR]) -> std::io::Result<()> {
        (**self).write_sector(sector, bytes)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        (**self).sync()
    }
}

/// A partition's device, or a file with its bytes.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    length: u64,
}

impl FileDevice {
    /// Of an open file or block device.
    pub fn new(mut file: File) -> std::io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, length })
    }
}

impl Device for FileDevice {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_sector(&mut self, sector: u64, bytes: &[u8; SECTOR]) -> std::io::Result<()> {
        self.file.write_all_at(bytes, sector * SECTOR as u64)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.file.sync_data()
    }
}

/// What is on the disk first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Something is added: no name leads to what is not there yet.
    NamesLast,
    /// Something is removed: no name leads to what is free already.
    NamesFirst,
}

/// A device with what has changed and is not written yet.
#[derive(Debug)]
pub(crate) struct Volume<D> {
    device: D,
    waiting: BTreeMap<u64, [u8; SECTOR]>,
    position: u64,
}

impl<D: Device> Volume<D> {
    pub(crate) fn new(device: D) -> Self {
        Self {
            device,
            waiting: BTreeMap::new(),
            position: 0,
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.device.length()
    }

    /// Forgets what is not written.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Reads from any place, with what is not written yet.
    pub(crate) fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.device.read_at(offset, buffer)?;
        let end = offset + buffer.len() as u64;
        for (sector, bytes) in self.waiting.range(offset / SECTOR as u64..end.div_ceil(SECTOR as u64)) {
            let start = sector * SECTOR as u64;
            for (index, byte) in (start..).zip(bytes) {
                let place = index.checked_sub(offset).and_then(|place| usize::try_from(place).ok());
                if let Some(place) = place.and_then(|place| buffer.get_mut(place)) {
                    *place = *byte;
                }
            }
        }
        Ok(())
    }

    /// Changes bytes anywhere; they wait.
    pub(crate) fn change(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (sector, within) = (offset / SECTOR as u64, (offset % SECTOR as u64) as usize);
            let (part, more) = rest.split_at(rest.len().min(SECTOR - within));
            let mut whole = [0; SECTOR];
            if part.len() < SECTOR {
                self.read_at(sector * SECTOR as u64, &mut whole)?;
            }
            for (to, from) in whole.iter_mut().skip(within).zip(part) {
                *to = *from;
            }
            self.waiting.insert(sector, whole);
            offset += part.len() as u64;
            rest = more;
        }
        Ok(())
    }

    /// Writes everything, in two groups, the first for good before the second: the sectors of `names`, and all others.
    /// Never the first sector: a flag there would be all that changes, and every start depends on it.
    pub(crate) fn commit(&mut self, names: &BTreeSet<u64>, order: Order) -> std::io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let (names, others): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .filter(|(sector, _)| *sector != 0)
            .partition(|(sector, _)| names.contains(sector));
        let groups = match order {
            Order::NamesLast => [others, names],
            Order::NamesFirst => [names, others],
        };
        for group in groups {
            for (sector, bytes) in &group {
                self.device.write_sector(*sector, bytes)?;
            }
            if !group.is_empty() {
                self.device.sync()?;
            }
        }
        Ok(())
    }

    /// Writes what no name leads to, if much of it waits.
    pub(crate) fn relieve(&mut self, names: &BTreeSet<u64>) -> std::io::Result<()> {
        if self.waiting.len() < WAITING_MAX {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        for (sector, bytes) in waiting {
            if sector == 0 || names.contains(&sector) {
                self.waiting.insert(sector, bytes);
            } else {
                self.device.write_sector(sector, &bytes)?;
            }
        }
        Ok(())
    }
}

impl<D: Device> Read for Volume<D> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.length().saturating_sub(self.position);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..length).unwrap_or_default();
        self.read_at(self.position, part)?;
        self.position += length as u64;
        Ok(length)
    }
}

impl<D: Device> Write for Volume<D> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.position + bytes.len() as u64 > self.length() {
            return Err(Error::new(ErrorKind::WriteZero, "behind the end of the partition"));
        }
        self.change(self.position, bytes)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    /// Nothing: [`Volume::commit`] decides when.
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<D: Device> Seek for Volume<D> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(distance) => self.length().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = place.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "before the start"))?;
        Ok(self.position)
    }
}
