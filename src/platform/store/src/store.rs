//! The store itself: open, read, write, watch.

use crate::{OpenError, ReadTxn, Table, Topic, Watch, WriteError, WriteTxn};
use lamchat_base::Secret;

/// Which history positions belong to. A restored backup starts a new one; a token of another epoch means a full sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub u32);

/// How to open a store.
pub struct Options {
    /// The folder for `db.redb` and `wal/`.
    pub dir: std::path::PathBuf,
    /// The key of the database and of the log, 64 bytes.
    pub key: Secret<64>,
    /// Every table of every crate; two with the same id are an error.
    pub tables: Vec<Table>,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    _todo: (),
}

impl Store {
    /// Opens or creates the store in a folder.
    pub fn open(_options: Options) -> Result<Self, OpenError> {
        Ok(Self { _todo: () })
    }

    /// A store in memory, for tests and throw-away runs.
    pub fn in_memory(_tables: &[Table]) -> Result<Self, OpenError> {
        Ok(Self { _todo: () })
    }

    /// A snapshot of what is committed.
    pub fn read(&self) -> ReadTxn {
        ReadTxn { _todo: () }
    }

    /// Runs `change` in the one writer and answers when its changes are on disk and visible to [`Store::read`].
    ///
    /// `change` must not block and must not wait for another write.
    pub async fn write<T, E>(&self, _change: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send + 'static) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        Err(WriteError::Commit(crate::CommitError::Closed))
    }

    /// Like [`Store::write`], for threads that may block.
    pub fn write_blocking<T, E>(&self, _change: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send + 'static) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        Err(WriteError::Commit(crate::CommitError::Closed))
    }

    /// Registers for changes of `topics`.
    pub fn watch(&self, _topics: &[Topic]) -> Watch {
        Watch { _todo: () }
    }

    /// Wakes those who wait for `topics` without a write: typing, presence.
    pub fn notify(&self, _topics: &[Topic]) {}

    /// The epoch of the positions that this store issues.
    pub fn epoch(&self) -> Epoch {
        Epoch(1)
    }

    /// Finishes what is queued, checkpoints, and closes; later writes answer `Closed`.
    pub async fn close(&self) {}
}
