//! Lists the slots, writes one, marks one good.

use crate::fat::{FatError, Geometry};
use crate::name::{Name, Slot};
use crate::volume::{Device, Order, Volume};
use aws_lc_rs::digest;
use fatfs::{Date, DateTime, Dir, FileSystem, FsOptions, Time, TimeProvider};
use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};

/// Where systemd-boot looks.
const FOLDER: &str = "EFI/Linux";
/// The same as short names.
const FOLDER_SHORT: [&[u8; 11]; 2] = [b"EFI        ", b"LINUX      "];
/// Bytes that are copied at once.
const CHUNK: usize = 65_536;
/// How many of them before the file system is left once.
const CHUNKS_AT_ONCE: usize = 64;
/// Clusters that stay free beside a new file: the folder may need one.
const SPARE_CLUSTERS: u64 = 8;
/// Names in the folder that are looked at.
const NAMES_MAX: usize = 256;

/// Every file has this date: a box's clock may be wrong, and one that is no date makes the boot loader's rename fail.
#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn get_current_date(&self) -> Date {
        Date {
            year: 2026,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        let time = Time {
            hour: 0,
            min: 0,
            sec: 0,
            millis: 0,
        };
        DateTime {
            date: self.get_current_date(),
            time,
        }
    }
}

/// Why a slot is not written or marked.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The file system.
    #[error(transparent)]
    Fat(#[from] FatError),
    /// The file system, as `fatfs` says it.
    #[error("the EFI system partition cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// The release that runs has no file, so nobody knows which slot it is.
    #[error("the slot {0} that runs is not on this disk")]
    NotThere(Slot),
    /// It is still on trial: the other slot is its fallback.
    #[error("the release that runs is not marked good yet; until then the other slot is kept for falling back")]
    OnTrial,
    /// No room.
    #[error("the EFI system partition has room for {free} bytes, and the release has {needed}")]
    NoRoom {
        /// Bytes that can be used.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// What was read is shorter, longer or another than was promised.
    #[error("the release is not the one that was checked")]
    Other,
    /// What was written is not read back.
    #[error("the disk does not give back what was written to it")]
    NotKept,
}

/// A file of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Whose, and its counter.
    pub name: Name,
    /// Its length.
    pub bytes: u64,
}

/// A file's content.
pub trait Content: Read + Seek {}

impl<T: Read + Seek> Content for T {}

/// An EFI system partition of ours.
#[derive(Debug)]
pub struct Slots<D> {
    volume: Volume<D>,
    geometry: Geometry,
}

impl<D: Device> Slots<D> {
    /// Looks at it; changes nothing.
    pub fn open(device: D) -> Result<Self, SlotError> {
        let mut volume = Volume::new(device);
        let geometry = Geometry::read(&mut volume)?;
        Ok(Self { volume, geometry })
    }

    /// The files of both slots.
    pub fn list(&mut self) -> Result<Vec<Entry>, SlotError> {
        let entries = self.inside(|folder| {
            let mut entries = Vec::new();
            for entry in folder.iter().take(NAMES_MAX) {
                let entry = entry?;
                if let Some(name) = Name::parse(&entry.file_name()) {
                    entries.push(Entry {
                        name,
                        bytes: entry.len(),
                    });
                }
            }
            Ok(entries)
        });
        // Looking is no reason to write: what `fatfs` notes about itself is forgotten.
        self.volume.forget();
        entries
    }

    /// The digest of a slot's file; `None`: it has none, or several.
    pub fn digest(&mut self, slot: Slot) -> Result<Option<[u8; 32]>, SlotError> {
        let entries = self.list()?;
        let mut own = entries.iter().filter(|entry| entry.name.slot == slot);
        let (Some(entry), None) = (own.next(), own.next()) else {
            return Ok(None);
        };
        let digest = self.inside(|folder| hash(&mut folder.open_file(&entry.name.to_string())?).map(|(_, hash)| hash));
        self.volume.forget();
        digest.map(Some)
    }

    /// Reads in a slot's file.
    pub fn look<T>(
        &mut self,
        name: &Name,
        look: impl FnOnce(&mut dyn Content) -> std::io::Result<T>,
    ) -> Result<T, SlotError> {
        let seen = self.inside(|folder| look(&mut folder.open_file(&name.to_string())?));
        self.volume.forget();
        seen
    }

    /// Writes a release of `bytes` bytes into the slot that does not run, with a new counter. `sha256` is what was
    /// checked before. What is there is replaced in one sector; a cut before that leaves it as it was.
    pub fn write(
        &mut self,
        running: Slot,
        release: &mut dyn Read,
        bytes: u64,
        sha256: &[u8; 32],
    ) -> Result<Name, SlotError> {
        let entries = self.list()?;
        match entries.iter().find(|entry| entry.name.slot == running) {
            None => return Err(SlotError::NotThere(running)),
            Some(entry) if entry.name.tries.is_some() => return Err(SlotError::OnTrial),
            Some(_) => {}
        }
        let fresh = Name::fresh(running.other());
        self.place(&fresh, release, bytes, sha256)?;
        Ok(fresh)
    }

    /// Writes a release under a name in place of all that its slot has.
    pub(crate) fn place(
        &mut self,
        to: &Name,
        release: &mut dyn Read,
        bytes: u64,
        sha256: &[u8; 32],
    ) -> Result<(), SlotError> {
        let slot = to.slot;
        let entries = self.list()?;
        let unfinished = slot.unfinished();
        self.clean(&unfinished)?;
        let names = self.names()?;
        self.make_room(slot, bytes)?;
        self.inside(|folder| folder.create_file(&unfinished).map(drop))?;
        self.volume.commit(&names, Order::NamesLast)?;
        self.fill(&unfinished, release, bytes, sha256, &names)?;
        // From the disk's side of the file system again; not from what this process remembers.
        let kept = self.inside(|folder| hash(&mut folder.open_file(&unfinished)?))?;
        self.volume.forget();
        if kept != (bytes, *sha256) {
            return Err(SlotError::NotKept);
        }
        self.inside(|folder| {
            for old in entries.iter().filter(|entry| entry.name.slot == slot) {
                remove(folder, &old.name.to_string())?;
            }
            folder.rename(&unfinished, folder, &to.to_string())
        })?;
        Ok(self.volume.commit(&names, Order::NamesFirst)?)
    }

    /// Gives a file of a slot another name of that slot.
    pub(crate) fn rename(&mut self, from: &Name, to: &Name) -> Result<(), SlotError> {
        let names = self.names()?;
        self.inside(|folder| folder.rename(&from.to_string(), folder, &to.to_string()))?;
        Ok(self.volume.commit(&names, Order::NamesFirst)?)
    }

    /// Takes the counter off the slot that runs: from now on nothing falls back from it. Nothing where it has none.
    pub fn mark_good(&mut self, running: Slot) -> Result<(), SlotError> {
        self.rename_counted(running, Name::good(running))
    }

    /// Gives the slot that runs all of its attempts back, so that this start does not count. Nothing where it is good.
    pub fn hold(&mut self, running: Slot) -> Result<(), SlotError> {
        self.rename_counted(running, Name::fresh(running))
    }

    /// Gives the slot that runs back the attempt that this start took. Nothing where it is good.
    pub fn uncount(&mut self, running: Slot) -> Result<(), SlotError> {
        self.recount(running, |left, made| Some((left.checked_add(1)?, made.checked_sub(1)?)))
    }

    /// Takes it again. Nothing where the slot is good.
    pub fn count(&mut self, running: Slot) -> Result<(), SlotError> {
        self.recount(running, |left, made| Some((left.checked_sub(1)?, made.checked_add(1)?)))
    }

    /// Changes attempts left and made, where that is possible.
    fn recount(&mut self, running: Slot, to: impl FnOnce(u32, u32) -> Option<(u32, u32)>) -> Result<(), SlotError> {
        let entries = self.list()?;
        let mut own = entries.iter().filter(|entry| entry.name.slot == running);
        let tries = own.find_map(|entry| entry.name.tries);
        match tries.and_then(|(left, made)| to(left, made)) {
            Some(tries) => self.rename_counted(
                running,
                Name {
                    slot: running,
                    tries: Some(tries),
                },
            ),
            None => Ok(()),
        }
    }

    /// Whether the boot loader would start the other slot once this one has no attempts left.
    pub fn has_fallback(&mut self, running: Slot) -> Result<bool, SlotError> {
        let other = running.other();
        let entries = self.list()?;
        let mut others = entries.iter().filter(|entry| entry.name.slot == other);
        Ok(others.any(|entry| entry.name.tries.is_none_or(|(left, _)| left > 0)))
    }

    /// Gives the file of the slot that runs another name, if it has a counter.
    fn rename_counted(&mut self, running: Slot, to: Name) -> Result<(), SlotError> {
        let entries = self.list()?;
        let own = entries.iter().filter(|entry| entry.name.slot == running);
        let (mut good, mut counted) = (false, Vec::new());
        for entry in own {
            match entry.name.tries {
                None => good = true,
                Some(_) => counted.push(entry.name),
            }
        }
        if good {
            return Ok(());
        }
        let name = *counted.first().ok_or(SlotError::NotThere(running))?;
        if name == to {
            return Ok(());
        }
        let names = self.names()?;
        self.inside(|folder| folder.rename(&name.to_string(), folder, &to.to_string()))?;
        Ok(self.volume.commit(&names, Order::NamesFirst)?)
    }

    /// Puts right what a power cut left over.
    fn clean(&mut self, unfinished: &str) -> Result<(), SlotError> {
        let names = self.names()?;
        self.inside(|folder| remove(folder, unfinished))?;
        self.volume.commit(&names, Order::NamesFirst)?;
        self.geometry.reclaim(&mut self.volume)?;
        Ok(self.volume.commit(&names, Order::NamesFirst)?)
    }

    /// Deletes the old release of the slot already now, if there is no room for both beside the one that runs.
    fn make_room(&mut self, slot: Slot, bytes: u64) -> Result<(), SlotError> {
        let cluster = self.geometry.cluster_bytes();
        let needed = bytes.div_ceil(cluster) + SPARE_CLUSTERS;
        if self.geometry.free(&mut self.volume)? >= needed {
            return Ok(());
        }
        let old: Vec<Entry> = self
            .list()?
            .into_iter()
            .filter(|entry| entry.name.slot == slot)
            .collect();
        let gained: u64 = old.iter().map(|entry| entry.bytes.div_ceil(cluster)).sum();
        let free = self.geometry.free(&mut self.volume)? + gained;
        if free < needed {
            return Err(SlotError::NoRoom {
                free: free.saturating_sub(SPARE_CLUSTERS) * cluster,
                needed: bytes,
            });
        }
        let names = self.names()?;
        self.inside(|folder| old.iter().try_for_each(|entry| remove(folder, &entry.name.to_string())))?;
        Ok(self.volume.commit(&names, Order::NamesFirst)?)
    }

    /// Writes a file's content, its places before its length.
    fn fill(
        &mut self,
        name: &str,
        release: &mut dyn Read,
        bytes: u64,
        sha256: &[u8; 32],
        names: &BTreeSet<u64>,
    ) -> Result<(), SlotError> {
        let mut release = release.take(bytes);
        let (mut context, mut chunk) = (digest::Context::new(&digest::SHA256), vec![0; CHUNK]);
        let mut written = 0;
        loop {
            // Some MiB at a time, so that they need not all wait in memory.
            let part = self.inside(|folder| {
                let mut file = folder.open_file(name)?;
                file.seek(SeekFrom::End(0))?;
                let mut part = 0;
                for _ in 0..CHUNKS_AT_ONCE {
                    let read = release.read(&mut chunk)?;
                    let read = chunk.get(..read).unwrap_or_default();
                    context.update(read);
                    file.write_all(read)?;
                    part += read.len() as u64;
                }
                file.flush()?;
                Ok(part)
            })?;
            written += part;
            if part == 0 {
                break;
            }
            self.volume.relieve(names)?;
        }
        if written != bytes || context.finish().as_ref() != sha256 {
            self.volume.forget();
            return Err(SlotError::Other);
        }
        Ok(self.volume.commit(names, Order::NamesLast)?)
    }

    /// The sectors with the names of the folder's files.
    fn names(&mut self) -> Result<BTreeSet<u64>, SlotError> {
        Ok(self.geometry.folder_sectors(&mut self.volume, &FOLDER_SHORT)?)
    }

    /// Works in the folder; what changes waits.
    fn inside<T>(&mut self, work: impl FnOnce(&Dir<'_, &mut Volume<D>>) -> std::io::Result<T>) -> Result<T, SlotError> {
        // `fatfs` wants to stand at the start.
        self.volume.seek(SeekFrom::Start(0))?;
        let options = FsOptions::new().time_provider(&Fixed).update_accessed_date(false);
        let system = FileSystem::new(&mut self.volume, options)?;
        let result = system.root_dir().open_dir(FOLDER).and_then(|folder| work(&folder));
        let unmounted = system.unmount();
        let result = result.and_then(|value| unmounted.map(|()| value));
        if result.is_err() {
            self.volume.forget();
        }
        Ok(result?)
    }
}

fn remove<D: Device>(folder: &Dir<'_, &mut Volume<D>>, name: &str) -> std::io::Result<()> {
    match folder.remove(name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Length and digest of what there is to read.
fn hash(from: &mut dyn Read) -> std::io::Result<(u64, [u8; 32])> {
    let (mut context, mut chunk, mut length) = (digest::Context::new(&digest::SHA256), vec![0; CHUNK], 0);
    loop {
        let read = from.read(&mut chunk)?;
        let read = chunk.get(..read).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        context.update(read);
        length += read.len() as u64;
    }
    let mut sha256 = [0; 32];
    sha256
        .iter_mut()
        .zip(context.finish().as_ref())
        .for_each(|(to, from)| *to = *from);
    Ok((length, sha256))
}
