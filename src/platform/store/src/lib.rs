//! Ordered keys, transactions and one durable log of changes, on redb behind a write-ahead log.
//!
//! The only crate that knows redb. Everything above sees [`Table`]s of ordered byte keys,
//! snapshots ([`ReadTxn`]), and writes that are answered when they are on disk ([`Store::write`]).

mod backend;
mod changes;
mod checkpoint;
mod codec;
mod database;
pub mod disk;
mod error;
mod key;
mod keys;
mod log;
mod logfiles;
mod memtable;
mod merge;
mod migrate;
mod opening;
mod queue;
mod read;
mod recovery;
mod segment;
mod shared;
pub mod simulation;
mod store;
mod table;
mod topic;
mod view;
mod write;
mod writer;
mod xts;

pub use bytes::Bytes;
pub use error::{CommitError, OpenError, ReadError, WriteError};
pub use key::{Key, KeyReader};
pub use lamchat_base::Position;
pub use read::{KeyRange, Order, Read, ReadExt, ReadTxn};
pub use store::{Epoch, Options, Store};
pub use table::Table;
pub use topic::{Topic, Watch};
pub use write::WriteTxn;
