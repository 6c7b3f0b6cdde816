//! Transaction ids of clients: the same request is carried out once.
//!
//! "The scope of a transaction ID is for a single device, and a single HTTP endpoint. In other words: a single device could
//! use the same transaction ID for a request to PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId} and PUT
//! /…/sendToDevice/{eventType}/{txnId}." A row of 20 bytes of key and 8 of value per event.
//!
//! They are kept for [`DAYS_KEPT`] days. A row's value is the position of its event, so it is known how old it is without
//! reading the event: for each day on which the server ran, the position at which it began is kept.

use crate::event::EventRow;
use crate::log;
use crate::rooms::Rooms;
use crate::state::parse_position;
use crate::table::{self, TRANSACTION, TRANSACTION_DAY};
use lamchat_base::{DeviceNum, Position};
use lamchat_rules::sign::sha256;
use lamchat_store::{
    Bytes, CommitError, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, Store, WriteError, WriteTxn,
};
use std::ops::ControlFlow;

/// So many days on which the server ran lie between a request and the first repetition that may be carried out again.
pub const DAYS_KEPT: usize = 7;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Rows that are looked at between two turns for other writes.
const SWEPT_AT_ONCE: usize = 4_096;

/// Why old transaction ids were not removed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<WriteError<ReadError>> for SweepError {
    fn from(error: WriteError<ReadError>) -> Self {
        match error {
            WriteError::Refused(error) => Self::Read(error),
            WriteError::Commit(error) => Self::Commit(error),
        }
    }
}

impl Rooms {
    /// Removes the transaction ids that are older than [`DAYS_KEPT`] days and answers how many. Blocks: it looks at every
    /// row, off the writer, and deletes in portions.
    pub fn sweep_transactions(&self) -> Result<usize, SweepError> {
        sweep(self.store(), self.now_ms())
    }
}

fn sweep(store: &Store, now_ms: u64) -> Result<usize, SweepError> {
    let day = u32::try_from(now_ms / DAY_MS).unwrap_or(u32::MAX);
    let begun = store.write_blocking(move |txn| note_day(txn, day))?;
    let Some(first_kept) = begun else { return Ok(0) };
    let (mut removed, mut after) = (0, Vec::new());
    loop {
        let (mut old, mut seen) = (Vec::new(), 0);
        let range = KeyRange {
            start: after.clone(),
            end: None,
        };
        let mut damage = None;
        store
            .read()
            .scan(TRANSACTION, &range, Order::Ascending, &mut |key, value| {
                seen += 1;
                match parse_position(value) {
                    Ok(position) if position < first_kept => old.push(key.to_vec()),
                    Ok(_) => {}
                    Err(error) => damage = Some(error),
                }
                if seen < SWEPT_AT_ONCE && damage.is_none() {
                    return ControlFlow::Continue(());
                }
                // The first key after this one.
                after = [key, &[0]].concat();
                ControlFlow::Break(())
            })?;
        if let Some(error) = damage {
            return Err(error.into());
        }
        removed += old.len();
        if !old.is_empty() {
            let deleted = move |txn: &mut WriteTxn<'_>| -> Result<(), ReadError> {
                old.iter().for_each(|key| txn.delete(TRANSACTION, key));
                Ok(())
            };
            store.write_blocking(deleted)?;
        }
        if seen < SWEPT_AT_ONCE {
            return Ok(removed);
        }
    }
}

/// Notes where a day begins, and answers where the oldest day begins that is kept; `None` as long as there are no more.
///
/// Days are told apart and counted, never compared: a clock that jumps ahead and back does not end anything early.
fn note_day(txn: &mut WriteTxn<'_>, day: u32) -> Result<Option<Position>, ReadError> {
    let mut days = txn.rows(TRANSACTION_DAY, &KeyRange::all(), Order::Descending, usize::MAX)?;
    let is_noted = days
        .first()
        .is_some_and(|(_, value)| KeyReader::new(value).u32() == Some(day));
    if !is_noted {
        let position = txn.next_position();
        txn.put(
            TRANSACTION_DAY,
            &position.to_key(),
            Bytes::copy_from_slice(&day.to_be_bytes()),
        );
        days.insert(0, (Bytes::copy_from_slice(&position.to_key()), Bytes::new()));
    }
    for (key, _) in days.iter().skip(DAYS_KEPT + 1) {
        txn.delete(TRANSACTION_DAY, key);
    }
    match days.get(DAYS_KEPT) {
        None => Ok(None),
        Some((key, _)) => KeyReader::new(key)
            .u64()
            .map(|position| Some(Position(position)))
            .ok_or_else(|| table::malformed(TRANSACTION_DAY)),
    }
}

/// A transaction id in its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) device: DeviceNum,
    pub(crate) id: String,
    key: [u8; 20],
}

impl Transaction {
    /// `endpoint`: the parts of the path before the transaction id, such as `["send", room id, event type]`; the room must be
    /// among them, see `append.rs`.
    pub(crate) fn new(device: DeviceNum, endpoint: &[&str], id: &str) -> Self {
        let mut scope = Vec::with_capacity(128);
        for part in endpoint.iter().copied().chain([id]) {
            // Lengths keep different parts from reading the same.
            scope.extend_from_slice(&part.len().to_be_bytes());
            scope.extend_from_slice(part.as_bytes());
        }
        let mut key = [0u8; 20];
        let parts = device.to_key().into_iter().chain(sha256(&scope));
        for (to, from) in key.iter_mut().zip(parts) {
            *to = from;
        }
        Self {
            device,
            id: id.to_owned(),
            key,
        }
    }

    /// The id of the event that this transaction has made already.
    pub(crate) fn find(&self, read: &dyn Read) -> Result<Option<String>, ReadError> {
        let Some(bytes) = read.get(TRANSACTION, &self.key)? else {
            return Ok(None);
        };
        let Some(row) = log::event(read, parse_position(&bytes)?)? else {
            return Ok(None);
        };
        Ok(Some(EventRow::decode(&row)?.event_id.to_owned()))
    }

    pub(crate) fn put(&self, txn: &mut WriteTxn<'_>, position: Position) {
        txn.put(TRANSACTION, &self.key, Bytes::copy_from_slice(&position.to_key()));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{DAY_MS, DAYS_KEPT, SWEPT_AT_ONCE, sweep};
    use crate::create::Preset;
    use crate::table::TRANSACTION;
    use crate::tests::exchange;
    use lamchat_store::{Bytes, KeyRange, Order, ReadExt};

    #[tokio::test]
    async fn transaction_ids_are_kept_for_a_week() {
        let x = exchange();
        let alice = x.user("alice").await;
        let room = x.room(&alice, "12", Preset::PublicChat).await;
        let first = x.say(&alice, &room, "t").await.unwrap();
        let kept = || {
            let rows = x
                .store
                .read()
                .rows(TRANSACTION, &KeyRange::all(), Order::Ascending, usize::MAX);
            rows.unwrap().len()
        };
        let sweep = |day: u64| {
            let store = x.store.clone();
            tokio::task::spawn_blocking(move || sweep(&store, day * DAY_MS).unwrap())
        };
        // The day on which the sweep first runs is not over; each later one is counted once, whatever the clock says.
        let days = DAYS_KEPT as u64;
        for day in (0..days).chain([days - 1]) {
            assert_eq!(sweep(20_000 + day).await.unwrap(), 0, "day {day}");
            let second = x.say(&alice, &room, &format!("day {day}")).await.unwrap();
            assert_eq!(x.say(&alice, &room, &format!("day {day}")).await.unwrap(), second);
        }
        assert_eq!(x.say(&alice, &room, "t").await.unwrap(), first);
        let before = kept();
        assert_eq!(sweep(20_000 + days).await.unwrap(), 1);
        assert_eq!(kept(), before - 1);
        assert_ne!(x.say(&alice, &room, "t").await.unwrap(), first);
    }

    #[tokio::test]
    async fn a_sweep_goes_on_where_a_portion_ends() {
        let x = exchange();
        let rows = 2 * SWEPT_AT_ONCE + 1;
        let filled = move |txn: &mut lamchat_store::WriteTxn<'_>| {
            for n in 0..rows as u64 {
                let position = txn.next_position();
                txn.put(
                    TRANSACTION,
                    &n.to_be_bytes(),
                    Bytes::copy_from_slice(&position.to_key()),
                );
            }
            Ok::<_, lamchat_store::ReadError>(())
        };
        x.store.write(filled).await.unwrap();
        let store = x.store.clone();
        let swept = tokio::task::spawn_blocking(move || {
            (0..=DAYS_KEPT as u64)
                .map(|day| sweep(&store, day * DAY_MS).unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(swept.await.unwrap().last(), Some(&rows));
    }
}
