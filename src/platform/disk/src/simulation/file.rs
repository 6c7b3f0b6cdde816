//! An open file of the simulated disk.

use super::platter::State;
use super::{Dice, SimulatedDisk};
use crate::File;
use std::io;
use std::path::Path;

#[derive(Debug)]
pub(super) struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    path: String,
}

impl SimulatedFile {
    pub(super) fn new(disk: &SimulatedDisk, inode: usize, path: &Path) -> Self {
        Self {
            disk: disk.clone(),
            inode,
            path: path.display().to_string(),
        }
    }

    fn operate<T>(&self, operation: impl FnOnce(&mut State, &str) -> io::Result<T>) -> io::Result<T> {
        self.disk.operate(|state| operation(state, &self.path))
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
}

impl File for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        self.operate(|state, _| {
            Ok(state
                .inodes
                .get(self.inode)
                .map_or(0, |inode| inode.current.len() as u64))
        })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.operate(|state, _| {
            let start = place(offset)?;
            let contents = state
                .inodes
                .get(self.inode)
                .and_then(|i| i.current.get(start..start + buffer.len()));
            buffer.copy_from_slice(contents.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.operate(|state, _| {
            let start = place(offset)?;
            let size = state.inodes.get(self.inode).map_or(0, |inode| inode.current.len());
            state.room_for((start + data.len()).saturating_sub(size) as u64)?;
            if let Some(inode) = state.inodes.get_mut(self.inode) {
                inode.write(start, data);
            }
            Ok(())
        })
    }

    fn erase(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_at(offset, &vec![0; place(length)?])
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.operate(|state, _| {
            let length = place(length)?;
            let size = state.inodes.get(self.inode).map_or(0, |inode| inode.current.len());
            state.room_for(length.saturating_sub(size) as u64)?;
            if let Some(inode) = state.inodes.get_mut(self.inode) {
                inode.set_len(length);
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.operate(|state, path| {
            if state
                .ignored_syncs
                .as_ref()
                .is_some_and(|part| path.contains(part.as_str()))
            {
                return Ok(());
            }
            let failing = match &mut state.failing_syncs {
                Some((part, left)) if *left > 0 && path.contains(part.as_str()) => {
                    *left -= 1;
                    true
                }
                _ => false,
            };
            let chance = state.dice.below(101);
            let mut dice = Dice::new(state.dice.roll());
            let Some(inode) = state.inodes.get_mut(self.inode) else {
                return Ok(());
            };
            if failing {
                // As Linux does it: the pages count as clean afterwards, although they are not on the disk.
                for sector in std::mem::take(&mut inode.dirty) {
                    if dice.below(100) < chance {
                        inode.settle(sector);
                    }
                }
                return Err(io::Error::other("input/output error (simulated)"));
            }
            inode.sync();
            Ok(())
        })
    }
}
