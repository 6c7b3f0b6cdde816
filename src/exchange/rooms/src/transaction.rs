//! Transaction ids of clients: the same request is carried out once.
//!
//! "The scope of a transaction ID is for a single device, and a single HTTP endpoint. In other words: a single device could
//! use the same transaction ID for a request to PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId} and PUT
//! /…/sendToDevice/{eventType}/{txnId}." A row of 20 bytes of key and 8 of value per event.

use crate::event::EventRow;
use crate::state::parse_position;
use crate::table::{EVENT, TRANSACTION};
use lamchat_base::{DeviceNum, Position};
use lamchat_rules::sign::sha256;
use lamchat_store::{Bytes, Read, ReadError, WriteTxn};

/// A transaction id in its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) device: DeviceNum,
    pub(crate) id: String,
    key: [u8; 20],
}

impl Transaction {
    /// `endpoint`: the parts of the path before the transaction id, such as `["send", room id, event type]`.
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
        let Some(row) = read.get(EVENT, &parse_position(&bytes)?.to_key())? else {
            return Ok(None);
        };
        Ok(Some(EventRow::decode(&row)?.event_id.to_owned()))
    }

    /// Whether there is a row.
    pub(crate) fn is_done(&self, read: &dyn Read) -> Result<bool, ReadError> {
        Ok(read.get(TRANSACTION, &self.key)?.is_some())
    }

    pub(crate) fn put(&self, txn: &mut WriteTxn<'_>, position: Position) {
        txn.put(TRANSACTION, &self.key, Bytes::copy_from_slice(&position.to_key()));
    }
}
