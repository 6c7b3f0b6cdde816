//! A disk in memory that forgets what was not synced: for tests of everything that must survive a power cut.
//!
//! It keeps, for each file, which sectors of 512 bytes were written since its last sync, and for each folder
//! which names changed since. A power cut lets a random part of them through. It can also run full,
//! fail a sync, or ignore syncs of files or folders (to prove that a test would notice a missing one).

use crate::{Disk, File, Lock};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod dice;
mod file;
mod platter;

pub use dice::Dice;
use file::SimulatedFile;
use platter::{NameChange, State};

/// A simulated disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    boot: u64,
}

impl SimulatedDisk {
    /// An empty disk; `seed` decides what its power cuts keep.
    pub fn new(seed: u64) -> Self {
        let state = State::new(Dice::new(seed));
        Self {
            state: Arc::new(Mutex::new(state)),
            boot: 0,
        }
    }

    /// Cuts the power now. Every handle, this one included, answers with errors from then on;
    /// [`SimulatedDisk::power_on`] gives one that works.
    pub fn cut_power(&self) {
        self.state.lock().cut_power();
    }

    /// Cuts the power in the middle of the operation after next `operations` ones.
    pub fn cut_power_after(&self, operations: u64) {
        self.state.lock().power_cut_after = Some(operations);
    }

    /// The disk as the next boot finds it. Cuts the power first if it is still on.
    #[must_use]
    pub fn power_on(&self) -> Self {
        let mut state = self.state.lock();
        if state.boot == self.boot {
            state.cut_power();
        }
        state.power_cut_after = None;
        let boot = state.boot;
        drop(state);
        Self {
            state: self.state.clone(),
            boot,
        }
    }

    /// Whether the power of this handle's boot was cut.
    pub fn is_off(&self) -> bool {
        self.state.lock().boot != self.boot
    }

    /// How much room there is in all, in bytes of file lengths; `None` for no limit.
    pub fn limit_capacity(&self, capacity: Option<u64>) {
        self.state.lock().capacity = capacity;
    }

    /// The bytes that all files take now.
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// The next `count` syncs of files whose path contains `part` fail, and lose what they should have saved.
    pub fn fail_syncs(&self, part: &str, count: u64) {
        self.state.lock().failing_syncs = Some((part.to_owned(), count));
    }

    /// The next `count` syncs of folders whose path ends in `part` fail, and save no name.
    pub fn fail_dir_syncs(&self, part: &str, count: u64) {
        self.state.lock().failing_dir_syncs = Some((part.to_owned(), count));
    }

    /// Syncs of files whose path contains `part` answer success and do nothing. A mistake to be noticed by tests.
    pub fn ignore_syncs(&self, part: Option<&str>) {
        self.state.lock().ignored_syncs = part.map(str::to_owned);
    }

    /// Syncs of folders whose path ends in `part` answer success and do nothing. A mistake to be noticed by tests.
    pub fn ignore_dir_syncs(&self, part: Option<&str>) {
        self.state.lock().ignored_dir_syncs = part.map(str::to_owned);
    }

    /// All files as programs see them, by path.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.state.lock().files()
    }

    /// Flips one bit of a file, durably; nothing happens beyond its end.
    pub fn flip_bit(&self, path: &Path, bit: usize) {
        self.state.lock().flip_bit(path, bit);
    }

    /// How many operations there were so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Runs an operation, unless the power is off or goes off with it.
    fn operate<T>(&self, operation: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        if state.boot != self.boot {
            return Err(off());
        }
        state.operations += 1;
        let result = operation(&mut state);
        match &mut state.power_cut_after {
            Some(0) => {
                state.cut_power();
                Err(off())
            }
            Some(left) => {
                *left -= 1;
                result
            }
            None => result,
        }
    }
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

impl Disk for SimulatedDisk {
    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        self.operate(|state| {
            Ok(state
                .capacity
                .map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
        })
    }

    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        // Folders are made once, at the first start; losing one is not simulated.
        self.operate(|_| Ok(()))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = self.operate(|state| state.find(path))?;
        Ok(Arc::new(SimulatedFile::new(self, inode, path)))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = self.operate(|state| Ok(state.find_or_link(path)))?;
        Ok(Arc::new(SimulatedFile::new(self, inode, path)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = self.operate(|state| {
            let inode = state.find_or_link(path);
            if let Some(inode) = state.inodes.get_mut(inode) {
                inode.set_len(0);
            }
            Ok(inode)
        })?;
        Ok(Arc::new(SimulatedFile::new(self, inode, path)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(|state| {
            state.find(from)?;
            state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(|state| {
            state.find(path)?;
            state.change_name(NameChange::Unlink(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operate(|state| {
            if matches!(&state.ignored_dir_syncs, Some(part) if path.ends_with(part)) {
                return Ok(());
            }
            if let Some((part, left)) = &mut state.failing_dir_syncs
                && *left > 0
                && path.ends_with(part)
            {
                *left -= 1;
                return Err(io::Error::other("input/output error (simulated)"));
            }
            let all = std::mem::take(&mut state.unsynced);
            for change in all {
                if change.folder() == Some(path) {
                    change.apply(&mut state.durable_names);
                } else {
                    state.unsynced.push(change);
                }
            }
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.operate(|state| {
            let inside = state.names.keys().filter(|name| name.parent() == Some(path));
            Ok(inside
                .filter_map(|name| Some(name.file_name()?.to_str()?.to_owned()))
                .collect())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.operate(|state| {
            let held = state.locks.entry(path.to_owned()).or_default();
            if held.swap(true, Ordering::AcqRel) {
                return Ok(None);
            }
            Ok(Some(Box::new(SimulatedLock(held.clone())) as Box<dyn Lock>))
        })
    }
}

#[derive(Debug)]
struct SimulatedLock(Arc<AtomicBool>);

impl Lock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::SimulatedDisk;
    use crate::{Disk, read_file, replace_file};
    use std::path::Path;

    #[test]
    fn what_was_synced_is_there_and_the_rest_may_not_be() {
        let mut lost = 0;
        for seed in 0..40 {
            let disk = SimulatedDisk::new(seed);
            let file = disk.create(Path::new("/d/a")).unwrap();
            file.write_at(0, b"kept").unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_at(1000, b"perhaps").unwrap();
            disk.create(Path::new("/d/b")).unwrap();
            disk.cut_power();
            assert!(file.size().is_err());
            let disk = disk.power_on();
            let file = disk.open(Path::new("/d/a")).unwrap();
            let mut start = [0; 4];
            file.read_at(0, &mut start).unwrap();
            assert_eq!(&start, b"kept");
            lost += u64::from(file.size().unwrap() < 1007) + u64::from(disk.open(Path::new("/d/b")).is_err());
        }
        assert!((10..70).contains(&lost), "{lost}");
    }

    #[test]
    fn a_replaced_file_is_old_or_new() {
        for operations in 0..20 {
            let disk = SimulatedDisk::new(operations);
            replace_file(&disk, Path::new("/d/a"), b"old").unwrap();
            disk.cut_power_after(operations);
            let replaced = replace_file(&disk, Path::new("/d/a"), b"new").is_ok();
            let found = read_file(&disk.power_on(), Path::new("/d/a"), 10).unwrap();
            assert!(found == b"new" || (!replaced && found == b"old"));
        }
    }

    #[test]
    fn a_full_disk_says_so() {
        let disk = SimulatedDisk::new(0);
        disk.limit_capacity(Some(10));
        let file = disk.create(Path::new("/d/a")).unwrap();
        file.write_at(0, &[1; 10]).unwrap();
        assert_eq!(
            file.write_at(10, &[1]).unwrap_err().kind(),
            std::io::ErrorKind::StorageFull
        );
        file.write_at(0, &[2; 10]).unwrap();
        disk.limit_capacity(None);
        file.write_at(10, &[1]).unwrap();
    }
}
