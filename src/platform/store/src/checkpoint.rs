//! Moving memtables into redb behind the writer's back, and letting go of the log that is not needed any more.

use crate::CommitError;
use crate::database::{DatabaseFile, Saved, note_saved};
use crate::log::commit_error;
use crate::logfiles::LogFiles;
use crate::memtable::Memtable;
use crate::shared::{Frozen, Shared};
use crate::view::Base;
use parking_lot::{Condvar, Mutex};
use redb::ReadableDatabase;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A memtable of this many bytes is moved.
const CHECKPOINT_BYTES: usize = 8 * 1024 * 1024;
/// A memtable of this many rows is moved.
const CHECKPOINT_ROWS: usize = 12_000;
/// Changes wait at most about this long for their checkpoint.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(1);
/// While a checkpoint runs, the next memtable grows to this many bytes at most; then writers wait.
const MEMTABLE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long to wait before a failed checkpoint is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// How often the last checkpoint before the end is tried.
const LAST_TRIES: u32 = 3;

#[derive(Default)]
struct Wishes {
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

/// Between the writer and the checkpoint thread.
#[derive(Default)]
pub(crate) struct Pressure {
    wishes: Mutex<Wishes>,
    wake: Condvar,
    eased: Condvar,
}

impl Pressure {
    /// Called by the writer before a group: waits while the memtable is at its limit. An error if it cannot shrink.
    pub(crate) fn admit(&self, shared: &Shared) -> Result<(), CommitError> {
        let full = || {
            let view = shared.view.load();
            view.frozen.is_some() && view.active.bytes() >= MEMTABLE_BYTES_MAX
        };
        if !full() {
            return Ok(());
        }
        let mut wishes = self.wishes.lock();
        while full() {
            if let Some(error) = &wishes.failed {
                return Err(error.clone());
            }
            self.eased.wait(&mut wishes);
        }
        Ok(())
    }

    /// Called by the writer after a group.
    pub(crate) fn published(&self, shared: &Shared) {
        let active = &shared.view.load().active;
        let wanted = active.bytes() >= CHECKPOINT_BYTES || active.row_count() >= CHECKPOINT_ROWS;
        let mut wishes = self.wishes.lock();
        let news = !wishes.dirty || (wanted && !wishes.wanted);
        wishes.dirty = true;
        wishes.wanted |= wanted;
        drop(wishes);
        if news {
            self.wake.notify_one();
        }
    }

    /// Called by the writer when it took a segment.
    pub(crate) fn segment_begun(&self) {
        self.wishes.lock().segment = true;
        self.wake.notify_one();
    }

    /// Asks for the last checkpoint.
    pub(crate) fn close(&self) {
        self.wishes.lock().closing = true;
        self.wake.notify_one();
    }

    /// Sleeps until there is something to do; what that is. `last`: when the last checkpoint was made or tried.
    fn wait(&self, last: Instant) -> Wishes {
        let mut wishes = self.wishes.lock();
        loop {
            let wait = if wishes.failed.is_some() {
                RETRY_AFTER
            } else {
                CHECKPOINT_AFTER
            };
            let due = (wishes.dirty || wishes.failed.is_some()).then(|| last + wait);
            let urgent = wishes.closing || wishes.segment || (wishes.wanted && wishes.failed.is_none());
            if urgent || due.is_some_and(|due| due <= Instant::now()) {
                let due = due.is_some_and(|due| due <= Instant::now());
                let taken = Wishes {
                    dirty: wishes.dirty && (due || wishes.wanted || wishes.closing),
                    wanted: wishes.wanted || due || wishes.closing,
                    segment: std::mem::take(&mut wishes.segment),
                    closing: wishes.closing,
                    failed: None,
                };
                if taken.wanted {
                    wishes.dirty = false;
                    wishes.wanted = false;
                }
                return taken;
            }
            match due {
                Some(due) => drop(self.wake.wait_until(&mut wishes, due)),
                None => self.wake.wait(&mut wishes),
            }
        }
    }

    fn report(&self, failed: Option<CommitError>) {
        self.wishes.lock().failed = failed;
        self.eased.notify_all();
    }
}

/// The checkpoint thread's own.
pub(crate) struct Checkpoints {
    shared: Arc<Shared>,
    pressure: Arc<Pressure>,
    files: Arc<LogFiles>,
    file: DatabaseFile,
    /// `None` after an error, until it is reopened.
    database: Option<redb::Database>,
    /// What is being moved.
    pending: Option<Frozen>,
    saved: Saved,
    /// Memtables that snapshots may still hold. They are freed here: freeing one takes milliseconds.
    past: Vec<Arc<Memtable>>,
}

impl Checkpoints {
    /// On an open database that contains what `saved` says.
    pub(crate) fn new(
        shared: Arc<Shared>,
        pressure: Arc<Pressure>,
        files: Arc<LogFiles>,
        file: DatabaseFile,
        database: redb::Database,
        saved: Saved,
    ) -> Self {
        Self {
            shared,
            pressure,
            files,
            file,
            database: Some(database),
            pending: None,
            saved,
            past: Vec::new(),
        }
    }

    /// The loop of the checkpoint thread; ends after [`Pressure::close`].
    pub(crate) fn run(mut self) {
        let mut last = Instant::now();
        loop {
            let wishes = self.pressure.wait(last);
            if wishes.closing {
                return self.end();
            }
            if wishes.segment
                && let Err(error) = self.files.prepare()
            {
                // The writer makes its own then, or says that it cannot.
                tracing::warn!(%error, "no log file could be prepared");
            }
            if wishes.wanted {
                let outcome = self.checkpoint().map_err(|error| failure(&error));
                last = Instant::now();
                self.pressure.report(outcome.err());
            }
        }
    }

    /// The last checkpoint: with nothing left in the log, the log goes.
    fn end(mut self) {
        for attempt in 1..=LAST_TRIES {
            // The first pass may only finish a memtable that was set aside before the last commits.
            match self.checkpoint().and_then(|()| self.checkpoint()) {
                Ok(()) => break,
                Err(error) if attempt == LAST_TRIES => {
                    tracing::error!(%error, "the last checkpoint failed; the next start reads the log");
                    return;
                }
                Err(_) => std::thread::sleep(RETRY_AFTER),
            }
        }
        drop(self.database.take());
        if let Err(error) = self.files.retire(self.saved.sequence, true) {
            tracing::warn!(%error, "log files that are not needed were left behind");
        }
    }

    /// Moves one memtable, if there is anything to move.
    fn checkpoint(&mut self) -> Result<(), redb::Error> {
        if self.pending.is_none() {
            self.pending = self.shared.freeze();
        }
        if let Some(pending) = self.pending.clone() {
            let moved = self.move_rows(&pending);
            if moved.is_err() {
                // redb refuses everything after an error. The rows are safe in memory and in the log.
                self.database = None;
            }
            moved?;
            self.saved = pending.saved;
            self.past.push(pending.memtable);
            self.pending = None;
        }
        self.past.retain(|memtable| Arc::strong_count(memtable) > 1);
        if let Err(error) = self.files.retire(self.saved.sequence, false) {
            tracing::warn!(%error, "log files that are not needed could not be removed");
        }
        Ok(())
    }

    fn move_rows(&mut self, frozen: &Frozen) -> Result<(), redb::Error> {
        if self.database.is_none() {
            let database = self.file.open()?;
            let base = Base::open(&database.begin_read()?, &self.shared.tables)?;
            self.shared.rebase(Arc::new(base), false);
            self.database = Some(database);
        }
        let Some(database) = &self.database else { return Ok(()) };
        let started = Instant::now();
        let mut txn = database.begin_write()?;
        // Every durable commit must have it, or the next start after a power cut walks the whole file.
        txn.set_quick_repair(true);
        for table in &self.shared.tables {
            let Some(rows) = frozen.memtable.rows_of(*table).filter(|rows| !rows.is_empty()) else {
                continue;
            };
            let mut own = txn.open_table(redb::TableDefinition::<&[u8], &[u8]>::new(table.name))?;
            for row in rows.iter() {
                match row.value().newest() {
                    Some(value) => drop(own.insert(row.key().as_ref(), value.as_ref())?),
                    None => drop(own.remove(row.key().as_ref())?),
                }
            }
        }
        note_saved(&txn, frozen.saved)?;
        txn.commit()?;
        let base = Base::open(&database.begin_read()?, &self.shared.tables)?;
        self.shared.rebase(Arc::new(base), true);
        let (rows, bytes) = (frozen.memtable.row_count(), frozen.memtable.bytes());
        tracing::debug!(rows, bytes, took = ?started.elapsed(), "checkpoint");
        Ok(())
    }
}

/// What a failed checkpoint means to writers, once they have to wait for it.
fn failure(error: &redb::Error) -> CommitError {
    tracing::error!(%error, "a checkpoint failed; it is tried again");
    match error {
        redb::Error::Io(error) => commit_error(error),
        other => CommitError::Unknown(other.to_string()),
    }
}
