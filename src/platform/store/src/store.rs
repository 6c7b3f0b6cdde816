//! The store itself: open, read, write, watch.

use crate::memtable::Memtable;
use crate::migrate::Schema;
use crate::pressure::{Limits, Pressure};
use crate::queue::Change;
use crate::shared::Shared;
use crate::snapshot::{Import, ImportError, Snapshot};
use crate::view::View;
use crate::{
    CommitError, OpenError, Position, Progress, ReadError, ReadTxn, Table, Topic, Watch, WriteError, WriteTxn, opening,
    table, writer,
};
use lamchat_base::Secret;
use lamchat_disk::{Disk, Lock, RealDisk};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

/// Which history positions belong to. A restored backup starts a new one; a token of another epoch means a full sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub u32);

/// How to open a store.
#[derive(Debug)]
pub struct Options {
    /// The folder for `db.redb` and `wal/`.
    pub dir: std::path::PathBuf,
    /// The key of the database and of the log, 64 bytes.
    pub key: Secret<64>,
    /// Every table of every crate; two with the same id are an error.
    pub tables: Vec<Table>,
    /// Who hears how far opening has got.
    pub progress: Progress,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    open: Arc<Open>,
}

/// An open store; the last clone that goes ends its threads.
struct Open {
    schema: u32,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    checkpoints: Mutex<Option<JoinHandle<()>>>,
    /// `None` for a store in memory.
    pressure: Option<Arc<Pressure>>,
    /// Keeps other processes away until everything has ended.
    lock: Mutex<Option<Box<dyn Lock>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or creates the store in a folder.
    ///
    /// What is newer than the last checkpoint is read from the log; that takes milliseconds, whatever the size.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(RealDisk), options)
    }

    /// Like [`Store::open`], for a release that may be fallen back from: a database that the release before wrote keeps
    /// its version.
    pub fn open_on_trial(options: Options) -> Result<Self, OpenError> {
        Self::open_schema(Arc::new(RealDisk), options, Limits::default(), Schema::ON_TRIAL)
    }

    /// Like [`Store::open_on_trial`], on a disk whose changes go nowhere.
    pub fn open_as_it_is(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        Self::open_schema(disk, options, Limits::default(), Schema::ON_TRIAL)
    }

    /// The schema version that rows have to have here: this program's own, or an older one of a release on trial.
    pub fn schema(&self) -> u32 {
        self.open.schema
    }

    /// Like [`Store::open`], on another disk: a simulated one, for instance.
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        Self::open_limited(disk, options, Limits::default())
    }

    /// Like [`Store::open_on`], but checkpoints as often as can be: for power-cut tests.
    #[cfg(feature = "simulation")]
    pub fn open_eager(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        Self::open_limited(disk, options, Limits::EAGER)
    }

    /// Like [`Store::open_on`], with other limits; tests checkpoint early and often.
    pub(crate) fn open_limited(disk: Arc<dyn Disk>, options: Options, limits: Limits) -> Result<Self, OpenError> {
        Self::open_schema(disk, options, limits, Schema::CURRENT)
    }

    /// Like [`Store::open_limited`], at another schema version; tests migrate to versions that do not exist yet.
    pub(crate) fn open_schema(
        disk: Arc<dyn Disk>,
        options: Options,
        limits: Limits,
        schema: Schema,
    ) -> Result<Self, OpenError> {
        let opening::Opened {
            schema,
            shared,
            log,
            checkpoints,
            pressure,
            lock,
        } = opening::open(disk, options, limits, schema)?;
        let checkpoints = spawn("store-checkpoint", move || checkpoints.run())?;
        let writer = {
            let (shared, mut log) = (shared.clone(), log);
            spawn("store-writer", move || writer::run(&shared, &mut log))?
        };
        let open = Open {
            schema,
            shared,
            writer: Mutex::new(Some(writer)),
            checkpoints: Mutex::new(Some(checkpoints)),
            pressure: Some(pressure),
            lock: Mutex::new(Some(lock)),
        };
        Ok(Self { open: Arc::new(open) })
    }

    /// A store in memory, for tests and throw-away runs.
    pub fn in_memory(tables: &[Table]) -> Result<Self, OpenError> {
        let tables = table::declared(tables)?;
        let active = Arc::new(Memtable::new(&tables));
        let view = View {
            base: None,
            frozen: None,
            active,
            sequence: 0,
            position: Position(0),
        };
        let shared = Arc::new(Shared::new(tables, view, 1));
        let writer = {
            let shared = shared.clone();
            spawn("store-writer", move || writer::run(&shared, &mut writer::Fleeting))?
        };
        let open = Open {
            schema: Schema::CURRENT.version,
            shared,
            writer: Mutex::new(Some(writer)),
            checkpoints: Mutex::new(None),
            pressure: None,
            lock: Mutex::new(None),
        };
        Ok(Self { open: Arc::new(open) })
    }

    /// What the threads share.
    pub(crate) fn shared(&self) -> &Shared {
        &self.open.shared
    }

    /// A snapshot of what is committed.
    pub fn read(&self) -> ReadTxn {
        ReadTxn {
            view: self.open.shared.view.load_full(),
        }
    }

    /// Runs `change` in the one writer and answers when its changes are on disk and visible to [`Store::read`].
    ///
    /// `change` must not block and must not wait for another write.
    pub async fn write<T, E>(
        &self,
        change: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A receiver that is gone was cancelled; its write stands all the same.
        let answer = move |result| drop(sender.send(result));
        self.open.shared.queue.push(Box::new(Change::new(change, answer))).await;
        receiver.await.unwrap_or(Err(WriteError::Commit(CommitError::Closed)))
    }

    /// Like [`Store::write`], for threads that may block.
    pub fn write_blocking<T, E>(
        &self,
        change: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let answer = move |result| drop(sender.send(result));
        self.open
            .shared
            .queue
            .push_blocking(Box::new(Change::new(change, answer)));
        receiver.recv().unwrap_or(Err(WriteError::Commit(CommitError::Closed)))
    }

    /// Registers for changes of `topics`.
    pub fn watch(&self, topics: &[Topic]) -> Watch {
        self.open.shared.watchers.watch(topics)
    }

    /// Wakes those who wait for `topics` without a write: typing, presence.
    pub fn notify(&self, topics: &[Topic]) {
        self.open.shared.watchers.wake(topics);
    }

    /// The epoch of the positions that this store issues.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.open.shared.epoch.load(Ordering::Acquire))
    }

    /// Everything at the newest position, for a backup.
    pub fn snapshot(&self) -> Snapshot {
        let mut tables = self.open.shared.tables.clone();
        tables.retain(|table| *table != table::META);
        // The epoch first: should a new one begin in between, the older one is the safe answer.
        let epoch = self.epoch();
        Snapshot {
            reader: self.read(),
            epoch,
            tables,
        }
    }

    /// Begins to fill this store, which must be empty, from a backup. Blocking; for threads that may.
    pub fn import(&self) -> Result<Import, ImportError> {
        Import::begin(self.clone(), self.snapshot().tables)
    }

    /// Starts a new epoch: every token that was given out becomes one of an unknown past. For a restored backup.
    pub async fn start_new_epoch(&self) -> Result<Epoch, WriteError<ReadError>> {
        let next = self.epoch().0.wrapping_add(1);
        self.write(move |txn| {
            txn.begin_epoch(next);
            Ok(Epoch(next))
        })
        .await
    }

    /// Finishes what is queued, checkpoints, and closes; later writes answer `Closed`.
    pub async fn close(&self) {
        let open = self.open.clone();
        // The threads end with disk work, which must not hold up a runtime's worker.
        if tokio::task::spawn_blocking(move || open.end()).await.is_err() {
            self.open.end();
        }
    }
}

impl Open {
    /// Ends the threads and waits for them: the writer first, so that the last checkpoint has everything.
    fn end(&self) {
        self.shared.queue.close();
        join(&self.writer);
        if let Some(pressure) = &self.pressure {
            pressure.close();
        }
        join(&self.checkpoints);
        drop(self.lock.lock().take());
    }
}

/// Waits for a thread. Whoever comes second waits as well.
fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    let mut place = thread.lock();
    // The last clone may go away inside a write: the writer cannot wait for itself.
    let own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
    if let Some(thread) = place.take_if(|thread| !own(thread))
        && thread.join().is_err()
    {
        tracing::error!("a thread of the store ended by a panic");
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a named thread.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| OpenError::Io {
            path: std::path::PathBuf::new(),
            source,
        })
}
