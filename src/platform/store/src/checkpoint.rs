//! Moving memtables into redb behind the writer's back, and letting go of the log that is not needed any more.

use crate::CommitError;
use crate::database::{DatabaseFile, Held, Saved, guarded, note_saved, write_rows};
use crate::log::commit_error;
use crate::logfiles::LogFiles;
use crate::memtable::Memtable;
use crate::pressure::Pressure;
use crate::progress::Progress;
use crate::row_cache::RowCache;
use crate::runs::{AllGathered, load_all};
use crate::shared::{Frozen, Shared};
use crate::view::Base;
use redb::ReadableDatabase;
use std::sync::Arc;
use std::time::Instant;

/// How often the last checkpoint before the end is tried.
const LAST_TRIES: u32 = 3;

/// Room that a checkpoint needs beside twice what it moves: redb writes every page that it changes anew.
const ROOM_BYTES: u64 = 4 << 20;

/// The checkpoint thread's own.
pub(crate) struct Checkpoints {
    shared: Arc<Shared>,
    pressure: Arc<Pressure>,
    files: Arc<LogFiles>,
    file: DatabaseFile,
    /// `None` after an error, until it is reopened.
    database: Option<Held>,
    /// What the runs hold as of the last durable commit.
    gathered: AllGathered,
    /// Rows that readers have left for others.
    kept: Arc<RowCache>,
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
        (database, gathered, kept): (Held, AllGathered, Arc<RowCache>),
        saved: Saved,
    ) -> Self {
        Self {
            shared,
            pressure,
            files,
            file,
            database: Some(database),
            gathered,
            kept,
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
            if wishes.end {
                return self.end();
            }
            if wishes.segment
                && let Err(error) = self.files.prepare()
            {
                // The writer makes its own then, or says that it cannot.
                tracing::warn!(%error, "no log file could be prepared");
            }
            if wishes.checkpoint {
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
                Err(_) => std::thread::sleep(self.pressure.limits.retry_after),
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
            self.must_fit(&pending)?;
            let moved = guarded(|| self.move_rows(&pending)).flatten();
            if moved.is_err() {
                // redb refuses everything after an error, reading too: it is opened again at once, at its last commit.
                // The rows are safe in memory and in the log.
                self.database = None;
                if let Err(error) = self.reopen() {
                    tracing::error!(%error, "the database could not be opened again; it is tried again");
                }
            }
            moved?;
            self.saved = pending.saved;
            self.past.push(pending.memtable);
            self.pending = None;
        }
        self.past.retain(|memtable| Arc::strong_count(memtable) > 1);
        match self.files.retire(self.saved.sequence, false) {
            // What is not needed by an idle store goes with the next look.
            Ok(many) if many || !self.past.is_empty() => self.pressure.look_again(),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "log files that are not needed could not be removed"),
        }
        Ok(())
    }

    /// A full disk is noticed before redb runs into it: after an I/O error it would have to be opened again,
    /// and until then nobody could read.
    fn must_fit(&self, frozen: &Frozen) -> Result<(), redb::Error> {
        let needed = 2 * frozen.memtable.bytes() as u64 + ROOM_BYTES;
        if self.file.free_bytes()? < needed {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), redb::Error> {
        let database = self.file.open()?;
        let txn = database.begin_read()?;
        self.gathered = load_all(&txn, &self.shared.tables)?;
        // Whether the commit before the error came to be is not known.
        self.kept.begin_anew();
        let base = Base::open(&txn, &self.shared.tables, &self.gathered, &self.kept)?;
        self.shared.rebase(Arc::new(base), false);
        self.database = Some(database);
        Ok(())
    }

    fn move_rows(&mut self, frozen: &Frozen) -> Result<(), redb::Error> {
        if self.database.is_none() {
            self.reopen()?;
        }
        let Some(database) = &self.database else { return Ok(()) };
        let started = Instant::now();
        let mut gathered = self.gathered.clone();
        let mut txn = database.begin_write()?;
        // Every durable commit must have it, or the next start after a power cut walks the whole file.
        txn.set_quick_repair(true);
        let limit = self.pressure.limits.gathering;
        let number = frozen.saved.sequence;
        write_rows(
            &txn,
            &self.shared.tables,
            &frozen.memtable,
            (&mut gathered, number, limit),
            &Progress::default(),
        )?;
        note_saved(&txn, frozen.saved)?;
        txn.commit()?;
        self.kept.begin(frozen.memtable.kept_keys(&self.shared.tables));
        let base = Base::open(&database.begin_read()?, &self.shared.tables, &gathered, &self.kept)?;
        self.shared.rebase(Arc::new(base), true);
        self.gathered = gathered;
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
