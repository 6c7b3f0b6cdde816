//! Ordered keys, transactions and one durable log of changes, on redb behind a write-ahead log.
//!
//! The only crate that knows redb. Everything above sees [`Table`]s of ordered byte keys,
//! snapshots ([`ReadTxn`]), and writes that are answered when they are on disk ([`Store::write`]).

mod error;
mod key;
mod read;
mod store;
mod table;
mod topic;
mod write;

pub use bytes::Bytes;
pub use error::{CommitError, OpenError, ReadError, WriteError};
pub use key::{Key, KeyReader};
pub use lamchat_base::Position;
pub use read::{KeyRange, Order, Read, ReadExt, ReadTxn};
pub use store::{Epoch, Options, Store};
pub use table::Table;
pub use topic::{Topic, Watch};
pub use write::WriteTxn;
