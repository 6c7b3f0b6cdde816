//! The file system of a stick.

use crate::area::{Area, Budget, Limits};
use crate::boot::{Boot, Unusable};
use crate::names::check_path;
use crate::partition::{self, Part};
use crate::wire::{About, CHUNK, Entry};
use fatfs::{Date, DateTime, Dir, DirEntry, FileSystem, FsOptions, Time, TimeProvider};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Largest file: "file size … 32 bits" (MS-FAT, DIR_FileSize).
pub const FILE_BYTES_MAX: u64 = u32::MAX as u64;
/// Names in a folder that are looked at.
const ENTRIES_MAX: usize = 2_000;
/// Bytes that may wait in the kernel: a slow stick would take minutes for more.
const UNSYNCED_BYTES_MAX: u64 = 32 << 20;
/// Bytes of a folder's entry.
const ENTRY_BYTES: usize = 32;
/// "ATTR_LONG_NAME … ATTR_READ_ONLY | ATTR_HIDDEN | ATTR_SYSTEM | ATTR_VOLUME_ID"
const LONG_NAME: u8 = 0x0F;
const DOT: &[u8; 11] = b".          ";
const DOT_DOT: &[u8; 11] = b"..         ";
/// Bytes of the table that are read at once.
const TABLE_CHUNK: usize = 64 << 10;

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    /// There is no file system for us.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The stick, or what is on it.
    #[error("the stick: {0}")]
    Io(#[from] std::io::Error),
    /// A path that we do not use.
    #[error("{0:?} is no path on a stick")]
    Path(String),
    /// Nothing has this name.
    #[error("there is no {0} on the stick")]
    Absent(String),
    /// Something has it.
    #[error("there is {0} on the stick already")]
    Present(String),
    /// Too much.
    #[error("a folder of the stick has more than 2,000 names: use an emptier one")]
    Crowded,
    /// More than was wanted.
    #[error("{0} on the stick is too large: {1} bytes")]
    TooLarge(String, u64),
    /// The file's chain of clusters is shorter than its size.
    #[error("{0} is damaged on the stick")]
    Damaged(String),
    /// More than fits.
    #[error("a file on a stick has less than 4 GiB")]
    Large,
}

/// The time of new files, in UTC.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn get_current_date(&self) -> Date {
        self.get_current_date_time().date
    }

    fn get_current_date_time(&self) -> DateTime {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let (date, time) = date_time(seconds);
        DateTime { date, time }
    }
}

/// FAT tells years from 1980 to 2107.
fn date_time(seconds: u64) -> (Date, Time) {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to civil date, by eras of 400 years that begin in March of the year 0 (days from there: 719,468).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let date = if (1980..=2107).contains(&year) {
        Date {
            year: year as u16,
            month: month as u16,
            day: day as u16,
        }
    } else {
        Date {
            year: 1980,
            month: 1,
            day: 1,
        }
    };
    let time = Time {
        hour: (rest / 3600) as u16,
        min: (rest / 60 % 60) as u16,
        sec: (rest % 60) as u16,
        millis: 0,
    };
    (date, time)
}

/// An open file system.
pub(crate) struct Volume {
    system: FileSystem<Area>,
    device: File,
    part: Part,
    boot: Boot,
    budget: Rc<Budget>,
}

impl Volume {
    /// Finds and opens the file system of a device.
    pub fn open(device: File, limits: Limits) -> Result<Self, VolumeError> {
        let (part, boot) = partition::find(&device)??;
        let budget = Budget::new(limits);
        let area = Area::new(device.try_clone()?, part.start, part.length, Rc::clone(&budget));
        let options = FsOptions::new().time_provider(&Clock);
        Ok(Self {
            system: FileSystem::new(area, options)?,
            device,
            part,
            boot,
            budget,
        })
    }

    /// What it is.
    pub fn about(&self) -> Result<About, VolumeError> {
        self.budget.begin();
        let free = self.free_clusters()?;
        Ok(About {
            kind: if self.boot.is_32 { "FAT32" } else { "FAT16" }.to_owned(),
            label: self.system.volume_label(),
            bytes: u64::from(self.boot.clusters) * self.boot.cluster_bytes,
            free: free * self.boot.cluster_bytes,
        })
    }

    /// Counted in the table itself: what FSInfo says may be anything.
    fn free_clusters(&self) -> Result<u64, VolumeError> {
        let width = if self.boot.is_32 { 4 } else { 2 };
        let mut area = Area::new(
            self.device.try_clone()?,
            self.part.start,
            self.part.length,
            Rc::clone(&self.budget),
        );
        let (mut at, mut free) = (self.boot.table_at + 2 * width, 0);
        let end = self.boot.table_at + (u64::from(self.boot.clusters) + 2) * width;
        let mut chunk = vec![0; TABLE_CHUNK];
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(TABLE_CHUNK).min(TABLE_CHUNK);
            let chunk = chunk.get_mut(..length).unwrap_or_default();
            std::io::Seek::seek(&mut area, std::io::SeekFrom::Start(at))?;
            area.read_exact(chunk)?;
            free += if self.boot.is_32 {
                let entries = chunk.as_chunks::<4>().0.iter();
                entries
                    .filter(|entry| u32::from_le_bytes(**entry) & 0x0FFF_FFFF == 0)
                    .count()
            } else {
                chunk
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .filter(|entry| **entry == [0; 2])
                    .count()
            } as u64;
            at += length as u64;
        }
        Ok(free)
    }

    /// The folder with this path.
    fn folder(&self, path: &str) -> Result<Dir<'_, Area>, VolumeError> {
        if !check_path(path) {
            return Err(VolumeError::Path(path.to_owned()));
        }
        let mut folder = self.system.root_dir();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let entry = entry(&folder, name)?.filter(DirEntry::is_dir);
            folder = entry.ok_or_else(|| VolumeError::Absent(path.to_owned()))?.to_dir();
        }
        Ok(folder)
    }

    /// The folder that a path is in, and the name there.
    fn parent<'p>(&self, path: &'p str) -> Result<(Dir<'_, Area>, &'p str), VolumeError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || !check_path(path) {
            return Err(VolumeError::Path(path.to_owned()));
        }
        Ok((self.folder(folder)?, name))
    }

    /// The names in a folder.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, VolumeError> {
        self.budget.begin();
        let mut entries = Vec::new();
        for entry in self.folder(path)?.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if entries.len() >= ENTRIES_MAX {
                return Err(VolumeError::Crowded);
            }
            if name != "." && name != ".." {
                entries.push(Entry {
                    name,
                    bytes: entry.len(),
                    is_folder: entry.is_dir(),
                });
            }
        }
        Ok(entries)
    }

    /// A file of at most `bytes_max` bytes for reading.
    pub fn file(&self, path: &str, bytes_max: u64) -> Result<Reading<'_>, VolumeError> {
        self.budget.begin();
        let (folder, name) = self.parent(path)?;
        let entry = entry(&folder, name)?.filter(DirEntry::is_file);
        let entry = entry.ok_or_else(|| VolumeError::Absent(path.to_owned()))?;
        if entry.len() > bytes_max {
            return Err(VolumeError::TooLarge(path.to_owned(), entry.len()));
        }
        Ok(Reading {
            file: entry.to_file(),
            left: entry.len(),
            path: path.to_owned(),
            budget: &self.budget,
        })
    }

    /// A new file. Refused where there is one of this name.
    pub fn create(&self, path: &str) -> Result<Writing<'_>, VolumeError> {
        self.budget.begin();
        let (folder, name) = self.parent(path)?;
        if entry(&folder, name)?.is_some() {
            return Err(VolumeError::Present(path.to_owned()));
        }
        Ok(Writing {
            file: folder.create_file(name)?,
            written: 0,
            unsynced: 0,
            device: &self.device,
            budget: &self.budget,
        })
    }

    /// A new folder. Refused where there is something of this name.
    pub fn make_folder(&self, path: &str) -> Result<(), VolumeError> {
        self.budget.begin();
        let (folder, name) = self.parent(path)?;
        if entry(&folder, name)?.is_some() {
            return Err(VolumeError::Present(path.to_owned()));
        }
        let made = folder.create_dir(name)?;
        self.mend_dots(&made, !path.contains('/'))?;
        Ok(self.device.sync_data()?)
    }

    /// fatfs gives `.` and `..` long names, too, and `..` the first folder's cluster, where FAT has none of the one and
    /// zero for the other: "the first two directory entries … `.` … and `..`", "if the parent is the root … zero" (MS-FAT,
    /// FAT Directory Structure). Other programs take such a folder for damaged, so they are written anew.
    fn mend_dots(&self, folder: &Dir<'_, Area>, is_in_first: bool) -> Result<(), VolumeError> {
        let (_, at) = self.budget.first_read(|| folder.iter().next().map(drop));
        let Some(at) = at else { return Ok(()) };
        let mut entries = [0; 4 * ENTRY_BYTES];
        self.device.read_exact_at(&mut entries, at)?;
        let [long, own, long_too, parent] = entries.as_chunks::<ENTRY_BYTES>().0 else {
            return Ok(());
        };
        let is_long = |entry: &[u8; ENTRY_BYTES]| entry.get(11) == Some(&LONG_NAME);
        if !(is_long(long) && own.starts_with(DOT) && is_long(long_too) && parent.starts_with(DOT_DOT)) {
            return Ok(());
        }
        let mut parent = *parent;
        if is_in_first {
            // DIR_FstClusHI, DIR_FstClusLO
            for at in [20, 21, 26, 27] {
                if let Some(byte) = parent.get_mut(at) {
                    *byte = 0;
                }
            }
        }
        let mended = [own.as_slice(), &parent, &[0; 2 * ENTRY_BYTES]].concat();
        self.device.write_all_at(&mended, at)?;
        self.budget.changed();
        Ok(())
    }

    /// Leaves it clean, and everything on the stick for good.
    pub fn close(self) -> Result<(), VolumeError> {
        self.budget.begin();
        self.system.unmount()?;
        Ok(self.device.sync_all()?)
    }
}

/// The entry of a folder with this name; case does not count on FAT.
fn entry<'v>(folder: &Dir<'v, Area>, name: &str) -> Result<Option<DirEntry<'v, Area>>, VolumeError> {
    for (number, entry) in folder.iter().enumerate() {
        let entry = entry?;
        if entry.file_name().eq_ignore_ascii_case(name) || entry.short_file_name().eq_ignore_ascii_case(name) {
            return Ok(Some(entry));
        }
        if number >= ENTRIES_MAX {
            return Err(VolumeError::Crowded);
        }
    }
    Ok(None)
}

/// A file that is read.
pub(crate) struct Reading<'v> {
    file: fatfs::File<'v, Area>,
    /// Bytes that are still to come.
    pub left: u64,
    path: String,
    budget: &'v Budget,
}

impl Reading<'_> {
    /// The next bytes; none at the end.
    pub fn next(&mut self) -> Result<Vec<u8>, VolumeError> {
        self.budget.begin();
        let mut chunk = vec![0; usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK)];
        let mut filled = 0;
        while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read(rest)? {
                0 => return Err(VolumeError::Damaged(self.path.clone())),
                length => filled += length,
            }
        }
        self.left -= filled as u64;
        Ok(chunk)
    }
}

/// A file that is written.
pub(crate) struct Writing<'v> {
    file: fatfs::File<'v, Area>,
    written: u64,
    unsynced: u64,
    device: &'v File,
    budget: &'v Budget,
}

impl Writing<'_> {
    /// The next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), VolumeError> {
        self.budget.begin();
        self.written += bytes.len() as u64;
        if self.written > FILE_BYTES_MAX {
            return Err(VolumeError::Large);
        }
        self.file.write_all(bytes)?;
        self.unsynced += bytes.len() as u64;
        if self.unsynced > UNSYNCED_BYTES_MAX {
            self.device.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// The end: on the stick for good.
    pub fn finish(mut self) -> Result<(), VolumeError> {
        self.budget.begin();
        self.file.flush()?;
        Ok(self.device.sync_data()?)
    }
}

/// Whether a device can be read at all; a card reader without a card cannot.
pub(crate) fn is_readable(device: &File) -> std::io::Result<()> {
    device.read_exact_at(&mut [0; 512], 0)
}

#[cfg(test)]
mod tests {
    use super::date_time;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, (1980, 1, 1)),
            (951_782_400, (2000, 2, 29)),
            (1_795_771_800, (2026, 11, 27)),
            (4_102_444_799, (2099, 12, 31)),
            (u64::MAX / 2, (1980, 1, 1)),
        ] {
            let (found, _) = date_time(seconds);
            assert_eq!((found.year, found.month, found.day), date, "{seconds}");
        }
        assert_eq!(date_time(1_795_771_800).1.hour, 9);
    }
}
