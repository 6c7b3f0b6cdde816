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
    pub(super) ignored_syncs: Option<String>,
    pub(super) operations: u64,
}

impl State {
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

    pub(super) fn change_name(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.unsynced.push(change);
    }

    pub(super) fn cut_power(&mut self) {
        self.boot += 1;
        self.power_cut_after = None;
        self.locks.clear();
        // A journal keeps the order within a folder: some first part of the changes is there.
        let mut kept: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for change in std::mem::take(&mut self.unsynced) {
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
}
