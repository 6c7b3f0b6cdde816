//! Between the writer and the checkpoint thread: who has to do what, and who has to wait.

use crate::CommitError;
use crate::runs::{GATHERING, Gathering};
use crate::shared::Shared;
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// When a checkpoint is due, and when writers wait for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A memtable of this many bytes is moved.
    pub(crate) bytes: usize,
    /// A memtable of this many rows is moved.
    pub(crate) rows: usize,
    /// Changes wait at most about this long for their checkpoint.
    pub(crate) after: Duration,
    /// While a checkpoint runs, the next memtable grows to this many bytes at most; then writers wait.
    pub(crate) bytes_max: usize,
    /// A failed checkpoint is tried again after this long.
    pub(crate) retry_after: Duration,
    /// When the rows of gathered tables move on.
    pub(crate) gathering: Gathering,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // redb changes about twice as many bytes of pages, which half of its cache should hold (`CACHE_BYTES`).
            bytes: 6 * 1024 * 1024,
            rows: 12_000,
            after: Duration::from_secs(1),
            bytes_max: 16 * 1024 * 1024,
            retry_after: Duration::from_millis(250),
            gathering: GATHERING,
        }
    }
}

#[cfg(any(test, feature = "simulation"))]
impl Limits {
    /// Checkpoints as often as can be.
    pub(crate) const EAGER: Self = Self {
        bytes: 20_000,
        rows: 60,
        after: Duration::from_millis(5),
        bytes_max: 200_000,
        retry_after: Duration::from_millis(2),
        gathering: Gathering { rows: 150, shelves: 3 },
    };
}

/// A group waits at most this long while there is room in the memtable.
const GROUP_DELAY_MAX: Duration = Duration::from_millis(20);

#[derive(Default)]
struct State {
    /// There are changes that redb does not have.
    dirty: bool,
    /// The memtable is large enough.
    wanted: bool,
    /// A segment of the log was begun: another spare would be good.
    segment: bool,
    closing: bool,
    /// Why the last checkpoint failed, if it did.
    failed: Option<CommitError>,
}

/// What the checkpoint thread is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Move the memtable.
    pub(crate) checkpoint: bool,
    /// Prepare a segment of the log.
    pub(crate) segment: bool,
    /// End, after a last checkpoint.
    pub(crate) end: bool,
}

/// The place where writer and checkpoint thread meet.
pub(crate) struct Pressure {
    pub(crate) limits: Limits,
    state: Mutex<State>,
    wake: Condvar,
    eased: Condvar,
}

impl Pressure {
    /// Nothing to do yet.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            wake: Condvar::new(),
            eased: Condvar::new(),
        }
    }

    /// Called by the writer before a group. While a checkpoint runs and the memtable is half full, each group waits
    /// a little, the longer the fuller it is: writers slow down to the pace of checkpoints instead of standing still
    /// at the limit. At the limit they wait; an error if the memtable cannot shrink.
    pub(crate) fn admit(&self, shared: &Shared) -> Result<(), CommitError> {
        let half = self.limits.bytes_max / 2;
        let over = || {
            let view = shared.view.load();
            if view.frozen.is_some() {
                view.active.bytes().saturating_sub(half)
            } else {
                0
            }
        };
        let excess = over();
        if excess == 0 {
            return Ok(());
        }
        let mut state = self.state.lock();
        if excess < half && state.failed.is_none() {
            let share = u32::try_from(excess * 16 / half.max(1)).unwrap_or(16);
            self.eased.wait_for(&mut state, GROUP_DELAY_MAX * share / 16);
            return Ok(());
        }
        while over() >= half {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            self.eased.wait(&mut state);
        }
        Ok(())
    }

    /// Called by the writer after a group.
    pub(crate) fn published(&self, shared: &Shared) {
        let active = &shared.view.load().active;
        let wanted = active.bytes() >= self.limits.bytes || active.row_count() >= self.limits.rows;
        let mut state = self.state.lock();
        let news = !state.dirty || (wanted && !state.wanted);
        state.dirty = true;
        state.wanted |= wanted;
        drop(state);
        if news {
            self.wake.notify_one();
        }
    }

    /// Called by the writer when it took a segment.
    pub(crate) fn segment_begun(&self) {
        self.state.lock().segment = true;
        self.wake.notify_one();
    }

    /// Asks for the last checkpoint.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.wake.notify_one();
    }

    /// Sleeps until there is something to do. `last`: when a checkpoint was made or tried.
    pub(crate) fn wait(&self, last: Instant) -> Wishes {
        let mut state = self.state.lock();
        loop {
            let failed = state.failed.is_some();
            let wait = if failed {
                self.limits.retry_after
            } else {
                self.limits.after
            };
            // With nothing to do the clock stands still, so the first change after a pause waits its time, too.
            let due = (state.dirty || failed).then(|| last + wait);
            let now = Instant::now();
            let wishes = Wishes {
                checkpoint: due.is_some_and(|due| due <= now) || (state.wanted && !failed),
                segment: state.segment,
                end: state.closing,
            };
            if wishes.checkpoint {
                state.dirty = false;
                state.wanted = false;
            }
            if wishes.checkpoint || wishes.segment || wishes.end {
                state.segment = false;
                return wishes;
            }
            match due {
                Some(due) => drop(self.wake.wait_until(&mut state, due)),
                None => self.wake.wait(&mut state),
            }
        }
    }

    /// Asks for another look after the usual time, though nothing has changed.
    pub(crate) fn look_again(&self) {
        self.state.lock().dirty = true;
    }

    /// How a checkpoint went.
    pub(crate) fn report(&self, failed: Option<CommitError>) {
        self.state.lock().failed = failed;
        self.eased.notify_all();
    }
}
