//! A file of the overlay: what it is below, and blocks of it that were changed, in memory.
//!
//! What must never happen here: a write to the file below, or more memory than there is room for.

use crate::File;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is kept of a file that was changed, in bytes: a page of redb's, of which it writes whole ones.
pub(super) const BLOCK_BYTES: usize = 4096;

/// How many bytes may still be changed.
#[derive(Debug)]
pub(super) struct Room(AtomicUsize);

impl Room {
    pub(super) fn of(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    pub(super) fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "more was changed than memory keeps of a disk that can only be read",
            )),
        }
    }

    fn give(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A file of which blocks were changed.
#[derive(Debug)]
pub(super) struct Changed {
    below: Option<Arc<dyn File>>,
    state: Mutex<State>,
    room: Arc<Room>,
}

#[derive(Debug)]
struct State {
    size: u64,
    /// So many bytes of the file below are still this file's.
    below_size: u64,
    /// Blocks that were changed, whole.
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Changed {
    /// A file as it is below, or an empty one.
    pub(super) fn new(below: Option<Arc<dyn File>>, room: Arc<Room>) -> io::Result<Self> {
        let size = below.as_ref().map_or(Ok(0), |file| file.size())?;
        Ok(Self {
            below,
            state: Mutex::new(State {
                size,
                below_size: size,
                blocks: BTreeMap::new(),
            }),
            room,
        })
    }

    /// Fills `buffer` from `offset` with what the file below has; zeros behind its end.
    fn read_below(&self, below_size: u64, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(below_size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (data, zeros) = buffer.split_at_mut(there.min(buffer.len()));
        zeros.fill(0);
        match &self.below {
            Some(file) if !data.is_empty() => file.read_at(offset, data),
            _ => Ok(()),
        }
    }

    /// Calls `work` with every block that the range touches, made if need be, and with the part of both.
    fn change(
        &self,
        state: &mut State,
        offset: u64,
        length: u64,
        work: &mut dyn FnMut(&mut [u8], std::ops::Range<usize>),
    ) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let (number, start) = place(offset + done);
            let part = (length - done).min((BLOCK_BYTES - start) as u64);
            if !state.blocks.contains_key(&number) {
                self.room.take(BLOCK_BYTES)?;
                let mut block = vec![0; BLOCK_BYTES].into_boxed_slice();
                let read = self.read_below(state.below_size, number * BLOCK_BYTES as u64, &mut block);
                if let Err(error) = read {
                    self.room.give(BLOCK_BYTES);
                    return Err(error);
                }
                state.blocks.insert(number, block);
            }
            if let Some(block) = state.blocks.get_mut(&number) {
                // At most a block.
                let end = start + part as usize;
                work(
                    block.get_mut(start..end).unwrap_or_default(),
                    done as usize..(done + part) as usize,
                );
            }
            done += part;
        }
        Ok(())
    }
}

/// The number of the block with this byte, and its place in the block.
fn place(offset: u64) -> (u64, usize) {
    (offset / BLOCK_BYTES as u64, (offset % BLOCK_BYTES as u64) as usize)
}

impl File for Changed {
    fn size(&self) -> io::Result<u64> {
        Ok(self.state.lock().size)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= state.size);
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_below(state.below_size, offset, buffer)?;
        let (first, _) = place(offset);
        for (number, block) in state.blocks.range(first..) {
            let start = number * BLOCK_BYTES as u64;
            // The part of the buffer that is the block's.
            let (from, skip) = match start.checked_sub(offset) {
                Some(from) => (usize::try_from(from).unwrap_or(usize::MAX), 0),
                None => (0, (offset - start) as usize),
            };
            let (Some(to), Some(block)) = (buffer.get_mut(from..), block.get(skip..)) else {
                break;
            };
            if to.is_empty() {
                break;
            }
            let length = to.len().min(block.len());
            for (to, byte) in to.iter_mut().zip(block.iter().take(length)) {
                *to = *byte;
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset
            .checked_add(data.len() as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut state = self.state.lock();
        self.change(&mut state, offset, data.len() as u64, &mut |block, part| {
            if let Some(data) = data.get(part) {
                block.copy_from_slice(data);
            }
        })?;
        state.size = state.size.max(end);
        Ok(())
    }

    fn erase(&self, offset: u64, length: u64) -> io::Result<()> {
        self.change(&mut self.state.lock(), offset, length, &mut |block, _| block.fill(0))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        if length < state.size {
            let (number, start) = place(length);
            state.below_size = state.below_size.min(length);
            let mut gone = state.blocks.split_off(&number);
            if start > 0
                && let Some(mut block) = gone.remove(&number)
            {
                block.iter_mut().skip(start).for_each(|byte| *byte = 0);
                state.blocks.insert(number, block);
            }
            self.room.give(gone.len() * BLOCK_BYTES);
        }
        state.size = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        self.room.give(self.state.get_mut().blocks.len() * BLOCK_BYTES);
    }
}
