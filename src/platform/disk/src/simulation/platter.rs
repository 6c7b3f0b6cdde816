//! What the simulated disk holds: what programs see, what is durable, and what lies between.

use super::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a disk writes as a whole or not at all.
pub(super) const SECTOR: usize = 512;

/// A change of a folder's names that a power cut may take back.
#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Link(path, _) | Self::Unlink(path) | Self::Rename(_, path) => path.parent(),
        }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (one, other) = match self {
            Self::Link(path, _) | Self::Unlink(path) => (path, None),
            Self::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(one).chain(other).map(PathBuf::as_path)
    }

    pub(super) fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, inode) => {
                names.insert(path, inode);
            }
            Self::Unlink(path) => {
                names.remove(&path);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
        }
    }
}

/// A file's contents: as the programs see them, and as they are on the platter.
#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) current: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) dirty: BTreeSet<usize>,
}

impl Inode {
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.current.len() < end {
            self.current.resize(end, 0);
        }
        if let Some(place) = self.current.get_mut(offset..end) {
            place.copy_from_slice(data);
        }
        if end > offset {
            self.dirty.extend(offset / SECTOR..=(end - 1) / SECTOR);
        }
    }

    /// Cuts the file off, or lets it grow by zeros.
    pub(super) fn set_len(&mut self, length: usize) {
        let before = self.current.len();
        self.current.resize(length, 0);
        self.dirty.retain(|sector| sector * SECTOR < length);
        // What lies beyond the end is gone: should the file grow again, it reads as zeros.
        if length < before {
            self.dirty.extend(length / SECTOR..=before / SECTOR);
        }
    }

    /// Lets a sector through to the platter.
    pub(super) fn settle(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.current.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        if let (Some(to), Some(from)) = (self.durable.get_mut(start..end), self.current.get(start..end)) {
            to.copy_from_slice(from);
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.current.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.settle(sector);
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) dice: Dice,
    pub(super) inodes: Vec<Inode>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) durable_names: BTreeMap<PathBuf, usize>,
    pub(super) unsynced: Vec<NameChange>,
    pub(super) locks: BTreeMap<PathBuf, Arc<AtomicBool>>,
    /// Handles of an earlier boot are dead.
    pub(super) boot: u64,
    pub(super) power_cut_after: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) failing_syncs: Option<(String, u64)>,
    pub(super) failing_dir_syncs: Option<(String, u64)>,
    pub(super) ignored_syncs: Option<String>,
    pub(super) ignored_dir_syncs: Option<String>,
    pub(super) operations: u64,
}

impl State {
    pub(super) fn new(dice: Dice) -> Self {
        Self {
            dice,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced: Vec::new(),
            locks: BTreeMap::new(),
            boot: 0,
            power_cut_after: None,
            capacity: None,
            failing_syncs: None,
            failing_dir_syncs: None,
            ignored_syncs: None,
            ignored_dir_syncs: None,
            operations: 0,
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|inode| self.inodes.get(*inode))
            .map(|inode| inode.current.len() as u64)
            .sum()
    }

    pub(super) fn room_for(&self, growth: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if growth > 0 && self.used() + growth > capacity => {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// The file at `path`, which is made if need be.
    pub(super) fn find_or_link(&mut self, path: &Path) -> usize {
        if let Some(inode) = self.names.get(path) {
            return *inode;
        }
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.change_name(NameChange::Link(path.to_owned(), inode));
        inode
    }

    pub(super) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let contents = |inode: &usize| self.inodes.get(*inode).map(|inode| inode.current.clone());
        self.names
            .iter()
            .filter_map(|(path, inode)| Some((path.clone(), contents(inode)?)))
            .collect()
    }

    pub(super) fn flip_bit(&mut self, path: &Path, bit: usize) {
        let Some(inode) = self.names.get(path).and_then(|inode| self.inodes.get_mut(*inode)) else {
            return;
        };
        for contents in [&mut inode.current, &mut inode.durable] {
            if let Some(byte) = contents.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    pub(super) fn change_name(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.unsynced.push(change);
    }

    pub(super) fn cut_power(&mut self) {
        self.boot += 1;
        self.power_cut_after = None;
        self.locks.clear();
        self.settle_names();
        for inode in &mut self.inodes {
            // Nothing, a quarter, half or everything of the cached sectors reached the platter.
            let chance = match self.dice.below(4) {
                0 => 0,
                1 => 25,
                2 => 50,
                _ => 100,
            };
            if inode.current.len() < inode.durable.len() && self.dice.below(2) == 0 {
                inode.durable.truncate(inode.current.len());
            }
            for sector in std::mem::take(&mut inode.dirty) {
                if sector * SECTOR < inode.current.len() && self.dice.below(100) < chance {
                    inode.settle(sector);
                }
            }
            inode.current.clone_from(&inode.durable);
        }
        self.names.clone_from(&self.durable_names);
    }

    /// Lets some of the names that changed through.
    fn settle_names(&mut self) {
        let unsynced = std::mem::take(&mut self.unsynced);
        if self.dice.below(2) == 0 {
            // A file system that promises nothing: each name is the old or the new one, whatever the others are.
            for path in unsynced.iter().flat_map(NameChange::paths) {
                if self.dice.below(2) == 0 {
                    match self.names.get(path) {
                        Some(inode) => self.durable_names.insert(path.to_owned(), *inode),
                        None => self.durable_names.remove(path),
                    };
                }
            }
            return;
        }
        // A journal keeps the order within a folder: some first part of the changes is there.
        let mut kept: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for change in unsynced {
            let folder = change.folder().map(Path::to_owned).unwrap_or_default();
            let dice = &mut self.dice;
            let left = kept.entry(folder).or_insert_with(|| dice.below(6));
            if *left > 0 {
                *left -= 1;
                change.apply(&mut self.durable_names);
            } else {
                // Nothing after the first lost one comes through.
                *left = 0;
            }
        }
    }
}
