//! The bytes of one file system on the device: nothing beside them is reachable, and nobody works on them without an end.

use std::cell::Cell;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Bytes that are read ahead for short reads: FAT entries come four bytes at a time.
const PAGE: usize = 4096;

/// How much work one step may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Reads and writes of any length. A chain that leads in circles ends here.
    pub accesses: u64,
    /// Time. A device that takes long for each access ends here.
    pub time: Duration,
}

impl Default for Limits {
    /// A step is a folder, a chunk of a file, or the search for a free cluster: at most all entries of a FAT.
    fn default() -> Self {
        Self {
            accesses: 16_000_000,
            time: Duration::from_secs(60),
        }
    }
}

/// What is left of a step.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    left: Cell<u64>,
    until: Cell<Instant>,
    /// Where something was read first since somebody asked, from the device's begin.
    first_read: Cell<Option<u64>>,
    /// Counts what was changed beside the areas, which then read anew.
    changes: Cell<u64>,
}

impl Budget {
    pub fn new(limits: Limits) -> Rc<Self> {
        let budget = Self {
            limits,
            left: Cell::new(0),
            until: Cell::new(Instant::now()),
            first_read: Cell::new(None),
            changes: Cell::new(0),
        };
        budget.begin();
        Rc::new(budget)
    }

    /// Another step begins.
    pub fn begin(&self) {
        self.left.set(self.limits.accesses);
        self.until.set(Instant::now() + self.limits.time);
    }

    /// Where `work` reads first.
    pub fn first_read<T>(&self, work: impl FnOnce() -> T) -> (T, Option<u64>) {
        self.first_read.set(None);
        let result = work();
        (result, self.first_read.take())
    }

    /// Something was changed on the device itself.
    pub fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    fn spend(&self) -> std::io::Result<()> {
        let left = self.left.get();
        if left == 0 || Instant::now() > self.until.get() {
            return Err(Error::new(
                ErrorKind::TimedOut,
                "its file system leads in circles, or the stick is too slow",
            ));
        }
        self.left.set(left - 1);
        Ok(())
    }
}

/// A part of a device.
#[derive(Debug)]
pub(crate) struct Area {
    device: File,
    start: u64,
    length: u64,
    position: u64,
    page: Vec<u8>,
    /// Where the page begins, from the area's begin.
    page_at: Option<u64>,
    /// What had been changed beside it when the page was read.
    changes: u64,
    budget: Rc<Budget>,
}

impl Area {
    /// `length` bytes from `start` on.
    pub fn new(device: File, start: u64, length: u64, budget: Rc<Budget>) -> Self {
        Self {
            device,
            start,
            length,
            position: 0,
            page: Vec::new(),
            page_at: None,
            changes: 0,
            budget,
        }
    }

    fn left(&self) -> u64 {
        self.length.saturating_sub(self.position)
    }

    /// Reads the page that has the position, unless it is there.
    fn turn(&mut self) -> std::io::Result<usize> {
        let at = self.position - self.position % PAGE as u64;
        if self.page_at != Some(at) || self.changes != self.budget.changes.get() {
            self.page_at = None;
            self.changes = self.budget.changes.get();
            self.page
                .resize((self.length - at).min(PAGE as u64).try_into().unwrap_or(PAGE), 0);
            self.device.read_exact_at(&mut self.page, self.start + at)?;
            self.page_at = Some(at);
        }
        Ok((self.position - at) as usize)
    }
}

impl Read for Area {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.budget.spend()?;
        let length = usize::try_from(self.left()).unwrap_or(usize::MAX).min(buffer.len());
        if length == 0 {
            return Ok(0);
        }
        if self.budget.first_read.get().is_none() {
            self.budget.first_read.set(Some(self.start + self.position));
        }
        let read = if length < PAGE {
            let within = self.turn()?;
            let from = self.page.get(within..).unwrap_or_default();
            let read = from.len().min(length);
            for (to, from) in buffer.iter_mut().zip(from.iter().take(read)) {
                *to = *from;
            }
            read
        } else {
            let buffer = buffer.get_mut(..length).unwrap_or_default();
            self.device.read_at(buffer, self.start + self.position)?
        };
        self.position += read as u64;
        Ok(read)
    }
}

impl Write for Area {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.budget.spend()?;
        let length = usize::try_from(self.left()).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get(..length).unwrap_or_default();
        // Whatever is in it, it is read anew.
        self.page_at = None;
        let written = self.device.write_at(buffer, self.start + self.position)?;
        self.position += written as u64;
        Ok(written)
    }

    /// Nothing waits here; [`crate::volume::Volume::sync`] asks the device.
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for Area {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        match target.filter(|target| *target <= self.length) {
            Some(target) => {
                self.position = target;
                Ok(target)
            }
            None => Err(Error::new(
                ErrorKind::InvalidInput,
                "its file system leads out of itself",
            )),
        }
    }
}
