//! Ordered keys, transactions and one durable log of changes, on redb behind a write-ahead log.
//!
//! The only crate that knows redb. Everything above sees [`Table`]s of ordered byte keys,
//! snapshots ([`ReadTxn`]), and writes that are answered when they are on disk ([`Store::write`]).
//!
//! # Promises
//! - A write that was answered with `Ok` is on disk. After a power cut all of these are there, in their order,
//!   once, and whole; the last unanswered group may be there as well.
//! - Nobody reads what is not durable: a group is published after its sync.
//! - A group whose sync failed is answered with [`CommitError::Unknown`] and does not come back, unless the power
//!   goes before the log continues in another file. A failed sync is not repeated on the same file.
//! - A full disk refuses writes ([`CommitError::DiskFull`]) and keeps nothing of them; it goes on when there is room.
//! - Files are unreadable without the key (FORMAT.md). The log is authenticated, the database is not:
//!   whoever can write the disk can damage the database or put back an old one.
//!
//! # The way of a write
//! `queue` → `writer` runs the closures of a group over `view` (redb + memtables) with `changes` in between →
//! `log` appends one frame (`segment`, `logfiles`) and syncs → `shared` publishes into the `memtable` → `topic` wakes.
//! `checkpoint` moves memtables into redb (`database`, on `backend` and `xts`), those of gathered tables by way of
//! `runs` and `shelves`; `pressure` keeps both in step.
//! `row_cache` keeps the heads of rows of redb that were read one by one.
//! `opening` and `recovery` are the way back. All of it stands on `lamchat_disk::Disk`, for which a
//! simulated disk can stand in.
//!
//! # Why not redb alone
//! With millions of rows a durable commit of redb costs several times as much as the frame: pages all over the file
//! against one sequential write. And rows that change with every event are absorbed by the memtable.

mod backend;
mod changes;
mod checkpoint;
mod codec;
mod database;
mod error;
mod filter;
mod key;
mod keys;
mod log;
mod logfiles;
mod memtable;
mod merge;
mod migrate;
mod opening;
mod packed;
mod part;
mod pressure;
mod progress;
mod queue;
mod read;
mod recovery;
mod rekey;
mod row_cache;
mod run;
mod runs;
mod segment;
mod shared;
mod shelf;
mod shelves;
mod snapshot;
mod stamp;
mod store;
mod table;
mod table_runs;
#[cfg(test)]
mod tests;
mod topic;
mod view;
mod write;
mod writer;
mod xts;

pub use bytes::Bytes;
pub use error::{CommitError, OpenError, ReadError, WriteError};
pub use key::{Key, KeyReader};
pub use lamchat_base::Position;
pub use migrate::SCHEMA_VERSION;
pub use progress::{Progress, Work};
pub use read::{KeyRange, Order, Read, ReadExt, ReadTxn, parse_json};
pub use rekey::{RekeyError, key_of, rekey, rekey_on};
pub use snapshot::{Import, ImportError, Snapshot, VisitRow};
pub use store::{Epoch, Options, Store};
pub use table::{HeadLength, TABLE_ID_END, Table};
pub use topic::{Topic, Watch};
pub use write::WriteTxn;
