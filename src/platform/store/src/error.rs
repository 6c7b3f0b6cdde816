//! One error enum per operation.

/// Why a read failed. The store is damaged or closed; the caller can only give up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// redb or the disk beneath it answered with an error.
    #[error("the database could not be read: {0}")]
    Database(String),
    /// A row does not have the form that its owner gives it.
    #[error("a row of table {table} is malformed: {detail}")]
    Malformed {
        /// The table's name.
        table: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

/// Why a group of writes was not committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// No room on the disk; nothing of this write was kept. Writing works again once there is room.
    #[error("the disk is full: free some space in the data folder, then try again")]
    DiskFull,
    /// A sync failed: whether the write is durable is unknown to the caller until it asks again.
    /// The store reopens from what is durable.
    #[error("the disk reported an error while saving; whether the change was kept is unknown: {0}")]
    Unknown(String),
    /// The write panicked and was undone.
    #[error("the change could not be carried out because of an internal fault")]
    Panicked,
    /// The store is shutting down.
    #[error("the exchange is shutting down")]
    Closed,
}

/// Why [`crate::Store::write`] gave no result.
#[derive(Debug, Clone)]
pub enum WriteError<E> {
    /// The write itself refused; nothing was changed.
    Refused(E),
    /// The write was accepted but not committed.
    Commit(CommitError),
}

impl<E: From<CommitError>> WriteError<E> {
    /// One error type for callers whose own enum has a place for [`CommitError`].
    pub fn flatten(self) -> E {
        match self {
            Self::Refused(error) => error,
            Self::Commit(error) => error.into(),
        }
    }
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file could not be created, read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the data folder open.
    #[error("the data folder {0} is in use by another lamchat process")]
    Locked(std::path::PathBuf),
    /// The key does not fit the files.
    #[error("the database key does not open these files: was the keyring replaced?")]
    WrongKey,
    /// The database was written by a newer version.
    #[error("the database has schema version {found}, this program knows up to {known}: install a newer lamchat")]
    SchemaTooNew {
        /// Version in the file.
        found: u32,
        /// Newest version this program knows.
        known: u32,
    },
    /// The database is damaged.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The tables that were handed in contradict each other; a fault of the program.
    #[error("the tables are declared wrongly: {0}")]
    Tables(String),
}
