//! A disk whose power can be cut: what was not flushed is kept in parts, in no order.

mod tests;

use super::nbd::{self, Device};
use crate::virtual_machine::Disk;
use lamchat_disk::simulation::Dice;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Bytes that a disk's memory holds; of more, all of it goes to the medium at some time.
const CACHE_BYTES_MAX: usize = 64 << 20;
/// The first of these are the ones that the medium has taken then.
const CACHE_BYTES_LEFT: usize = 16 << 20;

/// When the power is cut by itself: after so many flushes, then so many writes, before the request that follows takes
/// effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger {
    pub flushes: u64,
    pub writes: u64,
}

/// What of the unflushed writes a cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Nothing,
    Everything,
    /// Each request with this chance in a hundred.
    Requests(u64),
    /// Each sector with this chance in a hundred.
    Sectors(u64),
    /// All but sectors of the last few requests.
    AllButLast,
}

/// What a cut did.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    keeps: Keeps,
    /// Sectors that were written since the last flush.
    unflushed: usize,
    kept: usize,
    /// Flushes and writes that the disk had taken since it was made.
    flushes: u64,
    writes: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            keeps,
            unflushed,
            kept,
            flushes,
            writes,
        } = self;
        write!(
            to,
            "{kept} of {unflushed} unflushed sectors kept ({keeps:?}), after {flushes} flushes and {writes} writes"
        )
    }
}

struct Write {
    offset: u64,
    bytes: Vec<u8>,
}

struct State {
    /// What is there for good.
    medium: File,
    length: u64,
    /// What was written since the last flush, in the order of the requests.
    waiting: Vec<Write>,
    /// Which of these has a sector's newest bytes.
    newest: HashMap<u64, usize>,
    waiting_bytes: usize,
    dice: Dice,
    trigger: Option<Trigger>,
    flushes: u64,
    writes: u64,
    loss: Option<Loss>,
}

impl State {
    /// Takes the requests up to `end` to the medium.
    fn settle(&mut self, end: usize) -> Result<()> {
        for write in self.waiting.drain(..end) {
            self.medium.write_all_at(&write.bytes, write.offset)?;
            self.waiting_bytes -= write.bytes.len();
        }
        self.newest.clear();
        for (number, write) in self.waiting.iter().enumerate() {
            for sector in sectors(write) {
                self.newest.insert(sector, number);
            }
        }
        Ok(())
    }

    /// Counts towards the trigger; whether the power is off.
    fn count(&mut self, is_flush: bool) -> bool {
        match &mut self.trigger {
            Some(Trigger { flushes: 0, writes: 0 }) => self.cut(),
            Some(trigger) if trigger.flushes > 0 => trigger.flushes -= u64::from(is_flush),
            // A flush between the writes comes too soon: it is the request that does not take effect.
            Some(_) if is_flush => self.cut(),
            Some(trigger) => trigger.writes -= 1,
            None => {}
        }
        self.loss.is_some()
    }

    fn cut(&mut self) {
        if self.loss.is_some() {
            return;
        }
        self.trigger = None;
        let keeps = match self.dice.below(10) {
            0 => Keeps::Nothing,
            1 => Keeps::Everything,
            2..=4 => Keeps::Requests(10 + 40 * self.dice.below(3)),
            5..=7 => Keeps::Sectors(10 + 40 * self.dice.below(3)),
            _ => Keeps::AllButLast,
        };
        let waiting = std::mem::take(&mut self.waiting);
        let last = waiting
            .len()
            .saturating_sub(1 + usize::try_from(self.dice.below(8)).unwrap());
        let mut pieces = Vec::new();
        let mut unflushed = 0;
        for (number, write) in waiting.iter().enumerate() {
            let whole = match keeps {
                Keeps::Nothing => false,
                Keeps::Everything => true,
                Keeps::Requests(chance) => self.dice.below(100) < chance,
                Keeps::Sectors(_) | Keeps::AllButLast => number < last && keeps == Keeps::AllButLast,
            };
            let single = match keeps {
                Keeps::Sectors(chance) => chance,
                Keeps::AllButLast => 50,
                _ => 0,
            };
            for (sector, bytes) in sectors(write).zip(write.bytes.chunks(SECTOR)) {
                unflushed += 1;
                if whole || self.dice.below(100) < single {
                    pieces.push((sector, bytes));
                }
            }
        }
        // Without a flush nothing says which of two writes to a sector was the last; a disk that kept all kept its order.
        if keeps != Keeps::Everything {
            for place in (1..pieces.len()).rev() {
                let other = self.dice.below(place as u64 + 1);
                pieces.swap(place, usize::try_from(other).unwrap());
            }
        }
        for (sector, bytes) in &pieces {
            self.medium.write_all_at(bytes, sector * SECTOR as u64).unwrap();
        }
        self.newest.clear();
        self.waiting_bytes = 0;
        self.loss = Some(Loss {
            keeps,
            unflushed,
            kept: pieces.len(),
            flushes: self.flushes,
            writes: self.writes,
        });
    }
}

/// The sectors of a write.
fn sectors(write: &Write) -> std::ops::Range<u64> {
    let first = write.offset / SECTOR as u64;
    first..first + (write.bytes.len() / SECTOR) as u64
}

impl Device for Drive {
    fn length(&self) -> u64 {
        self.state().length
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let state = self.state();
        state.medium.read_exact_at(buffer, offset)?;
        // Disks count in sectors, and so does the kernel.
        if !offset.is_multiple_of(SECTOR as u64) || !buffer.len().is_multiple_of(SECTOR) {
            return Err(ErrorKind::InvalidInput.into());
        }
        for (sector, place) in (offset / SECTOR as u64..).zip(buffer.chunks_mut(SECTOR)) {
            if let Some(write) = state.newest.get(&sector).and_then(|number| state.waiting.get(*number)) {
                let start = usize::try_from(sector * SECTOR as u64 - write.offset).unwrap();
                place.copy_from_slice(write.bytes.get(start..start + SECTOR).unwrap());
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: Vec<u8>) -> Result<()> {
        if !offset.is_multiple_of(SECTOR as u64) || !bytes.len().is_multiple_of(SECTOR) {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut state = self.state();
        let (number, write) = (state.waiting.len(), Write { offset, bytes });
        for sector in sectors(&write) {
            state.newest.insert(sector, number);
        }
        state.waiting_bytes += write.bytes.len();
        state.waiting.push(write);
        state.writes += 1;
        if state.count(false) {
            self.power.notify_all();
            return Ok(());
        }
        if state.waiting_bytes > CACHE_BYTES_MAX {
            let (mut end, mut bytes) = (0, state.waiting_bytes);
            while bytes > CACHE_BYTES_LEFT {
                bytes -= state.waiting.get(end).unwrap().bytes.len();
                end += 1;
            }
            return state.settle(end);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let mut state = self.state();
        state.flushes += 1;
        if state.count(true) {
            self.power.notify_all();
            return Ok(());
        }
        let end = state.waiting.len();
        state.settle(end)
    }

    fn is_dead(&self) -> bool {
        self.state().loss.is_some()
    }
}

/// The disk.
#[derive(Clone)]
pub struct Drive {
    state: Arc<Mutex<State>>,
    power: Arc<Condvar>,
    folder: Arc<tempfile::TempDir>,
    disk: Arc<Disk>,
}

impl Drive {
    /// One with these contents.
    pub fn new(disk: Disk, seed: u64) -> Self {
        let medium = File::options().read(true).write(true).open(disk.path()).unwrap();
        let state = State {
            length: medium.metadata().unwrap().len(),
            medium,
            waiting: Vec::new(),
            newest: HashMap::new(),
            waiting_bytes: 0,
            dice: Dice::new(seed),
            trigger: None,
            flushes: 0,
            writes: 0,
            loss: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            power: Arc::default(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            disk: Arc::new(disk),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What is on it for good.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Gives it power, for one machine; QEMU's argument for it.
    pub fn plug(&self) -> String {
        self.state().loss = None;
        let path = self.folder.path().join("disk");
        // Left from an earlier start.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let mut device = self.clone();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            match nbd::serve(&mut stream, &mut device) {
                Ok(()) => {}
                // A machine that was killed.
                Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe) => {}
                Err(error) => panic!("the disk's server: {error}"),
            }
            // A restart of the machine leaves the disk its power.
            let mut state = device.state();
            if state.loss.is_none() {
                let end = state.waiting.len();
                state.settle(end).unwrap();
            }
        });
        format!(
            "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={},cache.direct=on,if=virtio",
            path.display()
        )
    }

    /// Cuts the power by itself then.
    pub fn arm(&self, trigger: Trigger) {
        self.state().trigger = Some(trigger);
    }

    /// The power stays, if it is still there.
    pub fn disarm(&self) {
        self.state().trigger = None;
    }

    /// Flushes and writes so far.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.flushes, state.writes)
    }

    /// Whether the power is off.
    pub fn is_cut(&self) -> bool {
        self.state().loss.is_some()
    }

    /// Waits for the power to be off; whether it is.
    pub fn wait_cut(&self, patience: Duration) -> bool {
        let (mut state, deadline) = (self.state(), Instant::now() + patience);
        while state.loss.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.power.wait_timeout(state, left).unwrap().0;
        }
        true
    }

    /// Cuts the power, unless it is off already; what that did.
    pub fn cut(&self) -> Loss {
        let mut state = self.state();
        state.cut();
        self.power.notify_all();
        state.loss.unwrap()
    }
}
