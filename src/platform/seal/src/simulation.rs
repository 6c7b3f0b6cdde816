//! A simulated disk for tests: it remembers what was synced, and loses a random part of the rest when its power is cut.
//!
//! What a cut keeps is drawn from a seed: of file contents each 512-byte sector written since the last sync of the
//! file, of names each entry changed since the last sync of the folder, independently. That is harsher than real file
//! systems, which at least keep the order of their journal.

use crate::disk::{Disk, DiskFile};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SECTOR: usize = 512;

/// Which promise of a real disk the simulated one breaks, to show that a test would notice a missing sync.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// None.
    #[default]
    None,
    /// Syncing a file does nothing.
    FileSyncIgnored,
    /// Syncing a folder does nothing.
    DirSyncIgnored,
}

/// A disk in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    names: Both<BTreeMap<PathBuf, u64>>,
    files: BTreeMap<u64, Both<Vec<u8>>>,
    next: u64,
    operations: u64,
    /// After so many changing operations everything fails, as if the power were gone.
    stop_after: Option<u64>,
    /// How many bytes fit.
    bytes_max: Option<u64>,
    failing_syncs: u64,
}

/// What a reader sees, and what a power cut keeps for certain.
#[derive(Debug, Default, Clone)]
struct Both<T> {
    live: T,
    durable: T,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk that breaks a promise.
    pub fn with_fault(fault: Fault) -> Self {
        let disk = Self::default();
        disk.0.lock().fault = fault;
        disk
    }

    /// How many changing operations there were.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Lets every operation fail after `operations` changing ones, counted from the start.
    pub fn stop_after(&self, operations: u64) {
        self.0.lock().stop_after = Some(operations);
    }

    /// Makes the disk full at so many bytes of file contents; `None` makes room again.
    pub fn fill_at(&self, bytes_max: Option<u64>) {
        self.0.lock().bytes_max = bytes_max;
    }

    /// Lets the next `count` syncs of files fail. What they should have kept is not kept.
    pub fn fail_syncs(&self, count: u64) {
        self.0.lock().failing_syncs = count;
    }

    /// All files as a reader sees them.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.0.lock();
        let content = |id: &u64| state.files.get(id).map(|file| file.live.clone()).unwrap_or_default();
        state
            .names
            .live
            .iter()
            .map(|(path, id)| (path.clone(), content(id)))
            .collect()
    }

    /// Flips one bit of a file, durably.
    pub fn flip_bit(&self, path: &Path, bit: usize) {
        let mut state = self.0.lock();
        let Some(id) = state.names.live.get(path).copied() else {
            return;
        };
        if let Some(file) = state.files.get_mut(&id) {
            for content in [&mut file.live, &mut file.durable] {
                if let Some(byte) = content.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    /// The disk after a power cut: all that was synced, and of the rest what `seed` chooses.
    #[must_use]
    pub fn cut_power(&self, seed: u64) -> Self {
        let state = self.0.lock();
        let mut dice = Dice(seed);
        let mut names = BTreeMap::new();
        let paths: BTreeSet<&PathBuf> = state.names.live.keys().chain(state.names.durable.keys()).collect();
        for path in paths {
            let (live, durable) = (state.names.live.get(path), state.names.durable.get(path));
            if let Some(id) = if dice.coin() { live } else { durable } {
                names.insert(path.clone(), *id);
            }
        }
        let mut files = BTreeMap::new();
        for (id, file) in &state.files {
            let content = mix(file, &mut dice);
            files.insert(
                *id,
                Both {
                    live: content.clone(),
                    durable: content,
                },
            );
        }
        let names = Both {
            live: names.clone(),
            durable: names,
        };
        Self(Arc::new(Mutex::new(State {
            names,
            files,
            next: state.next,
            ..State::default()
        })))
    }
}

/// Of each sector either what was durable or what was written last.
fn mix(file: &Both<Vec<u8>>, dice: &mut Dice) -> Vec<u8> {
    let length = if dice.coin() {
        file.live.len()
    } else {
        file.durable.len()
    };
    let mut content = vec![0u8; length];
    for (number, sector) in content.chunks_mut(SECTOR).enumerate() {
        let source = if dice.coin() { &file.live } else { &file.durable };
        let old = source.get(number * SECTOR..).unwrap_or_default();
        sector.iter_mut().zip(old).for_each(|(to, from)| *to = *from);
    }
    content
}

/// SplitMix64.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) & 1 == 1
    }
}

impl State {
    fn change(&mut self) -> io::Result<()> {
        self.check()?;
        self.operations += 1;
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        match self.stop_after {
            Some(limit) if self.operations >= limit => Err(io::Error::other("the power is gone")),
            _ => Ok(()),
        }
    }

    fn id(&self, path: &Path) -> io::Result<u64> {
        self.check()?;
        self.names
            .live
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimulatedDisk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.0.lock();
        let id = state.id(path)?;
        Ok(state.files.get(&id).map(|file| file.live.clone()).unwrap_or_default())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.extend(path)?;
        let mut state = self.0.lock();
        let id = state.id(path)?;
        state.files.entry(id).or_default().live.clear();
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = self.0.lock().id(path)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), id }))
    }

    fn extend(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.change()?;
        let id = match state.names.live.get(path) {
            Some(id) => *id,
            None => {
                state.next += 1;
                let id = state.next;
                state.names.live.insert(path.to_owned(), id);
                state.files.insert(id, Both::default());
                id
            }
        };
        Ok(Box::new(SimulatedFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        let id = state.names.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.live.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        state
            .names
            .live
            .remove(path)
            .map(|_| ())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        if state.fault != Fault::DirSyncIgnored {
            let names = &mut state.names;
            names.durable.retain(|path, _| path.parent() != Some(dir));
            let live = names.live.iter().filter(|(path, _)| path.parent() == Some(dir));
            names.durable.extend(live.map(|(path, id)| (path.clone(), *id)));
        }
        Ok(())
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        // Folders are not simulated: creating one is durable by the trait's contract.
        self.0.lock().check()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        state.check()?;
        let inside = state.names.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    id: u64,
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.change()?;
        let used: u64 = state.files.values().map(|file| file.live.len() as u64).sum();
        if state.bytes_max.is_some_and(|limit| used + bytes.len() as u64 > limit) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = &mut state.files.entry(self.id).or_default().live;
        let start = offset as usize;
        if content.len() < start + bytes.len() {
            content.resize(start + bytes.len(), 0);
        }
        if let Some(place) = content.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.change()?;
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            return Err(io::Error::other("the disk could not write"));
        }
        if state.fault != Fault::FileSyncIgnored {
            let file = state.files.entry(self.id).or_default();
            file.durable.clone_from(&file.live);
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock();
        state.check()?;
        let content = state
            .files
            .get(&self.id)
            .and_then(|file| file.live.get(offset as usize..))
            .unwrap_or_default();
        let count = content.len().min(buffer.len());
        buffer.iter_mut().zip(content).for_each(|(to, from)| *to = *from);
        Ok(count)
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.disk.0.lock();
        Ok(state.files.get(&self.id).map_or(0, |file| file.live.len() as u64))
    }
}
