//! What a disk has in its memory, and what of it a cut leaves.

use crate::virtual_machine::Disk;
use lamchat_disk::simulation::Dice;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Bytes that a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;
/// Bytes that a disk's memory holds; of more, all of it goes to the medium at some time.
pub(super) const CACHE_BYTES_MAX: usize = 64 << 20;
/// The first of these are the ones that the medium has taken then.
pub(super) const CACHE_BYTES_LEFT: usize = 16 << 20;

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

/// A request that is not on the medium yet.
pub(super) struct Write {
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// When it came.
    pub at: Instant,
}

/// The disk's memory and its medium.
pub(super) struct Cache {
    /// What is there for good.
    pub medium: File,
    pub length: u64,
    /// What was written since the last flush, in the order of the requests.
    pub waiting: Vec<Write>,
    /// Which of these has a sector's newest bytes.
    pub newest: HashMap<u64, usize>,
    pub waiting_bytes: usize,
    dice: Dice,
    pub trigger: Option<Trigger>,
    /// How long a request stays in memory although the disk says that it flushed: a disk that lies.
    pub lies: Option<Duration>,
    pub flushes: u64,
    pub writes: u64,
    pub loss: Option<Loss>,
    /// How many machines it was in: one that is gone changes nothing any more.
    pub machines: u64,
}

impl Cache {
    pub fn new(disk: &Disk, seed: u64) -> Self {
        let medium = File::options().read(true).write(true).open(disk.path()).unwrap();
        Self {
            length: medium.metadata().unwrap().len(),
            medium,
            waiting: Vec::new(),
            newest: HashMap::new(),
            waiting_bytes: 0,
            dice: Dice::new(seed),
            trigger: None,
            lies: None,
            flushes: 0,
            writes: 0,
            loss: None,
            machines: 0,
        }
    }

    /// Does what a flush is to do, or as much as a disk does that lies: what has been in its memory for long enough.
    pub fn flush(&mut self) -> Result<()> {
        let end = match self.lies {
            None => self.waiting.len(),
            Some(age) => self.waiting.partition_point(|write| write.at.elapsed() >= age),
        };
        self.settle(end)
    }

    /// Everything goes to the medium.
    pub fn settle_all(&mut self) -> Result<()> {
        self.settle(self.waiting.len())
    }

    /// Takes the requests up to `end` to the medium.
    pub fn settle(&mut self, end: usize) -> Result<()> {
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
    pub fn count(&mut self, is_flush: bool) -> bool {
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

    pub fn cut(&mut self) {
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
pub(super) fn sectors(write: &Write) -> std::ops::Range<u64> {
    let first = write.offset / SECTOR as u64;
    first..first + (write.bytes.len() / SECTOR) as u64
}
