//! Messages to devices: kept in the inbox of each recipient until `/sync` acknowledges them.
//! Never looks into their content.

use crate::row::malformed_row;
use lamchat_base::{DeviceNum, Position, UserNum, limits};
use lamchat_connections::Reach;
use lamchat_store::{
    Bytes, CommitError, Key, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, Table, Topic, WriteTxn,
};
use ruma::UserId;
use serde_json::value::RawValue;
use std::ops::ControlFlow;

/// (Device, position) -> the event as JSON.
pub(crate) const INBOX: Table = Table::new(56, "keys.inbox");
/// Device -> how many events (u32) and bytes (u64) its inbox holds.
pub(crate) const INBOX_SIZE: Table = Table::new(57, "keys.inbox_size");
/// (Day u32, sending device u32, transaction id) -> nothing: what was sent already.
pub(crate) const TRANSACTION: Table = Table::new(58, "keys.to_device_transaction");
/// The empty key -> the first day (u32) whose transaction ids are still kept.
pub(crate) const SWEPT: Table = Table::new(59, "keys.to_device_swept");

/// Largest content of one message.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// Most messages of one request, `*` counted as the devices that it stands for.
pub const RECIPIENTS_MAX: usize = 10_000;
/// Most messages that wait for one device. Beyond it the *oldest* goes: a device that far behind has been away for
/// long, and what arrived last is what it most likely still has the one-time keys for. Refusing instead would let one
/// abandoned device fail the sending to all others.
pub const INBOX_MESSAGES_MAX: u32 = 20_000;
/// Most bytes that wait for one device; the oldest go beyond it.
pub const INBOX_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Days for which transaction ids are remembered, beside today.
const TRANSACTION_DAYS: u32 = 2;
/// Old transaction ids removed by one send.
const SWEPT_PER_SEND: usize = 64;
const DAY_MS: u64 = 86_400_000;

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A content is larger than [`CONTENT_BYTES_MAX`].
    #[error("the content of a message to a device must not be larger than 64 KiB")]
    TooLarge,
    /// More recipients than [`RECIPIENTS_MAX`].
    #[error("a request may reach at most 10000 devices")]
    TooManyRecipients,
    /// The event type or the transaction id is too long.
    #[error("the event type and the transaction id must not be longer than 255 bytes")]
    NameTooLong,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Who sends, and under which transaction id.
#[derive(Debug, Clone)]
pub struct Sending {
    /// The sender.
    pub sender: UserNum,
    /// The device that sends.
    pub device: DeviceNum,
    /// The client's transaction id, unique per device.
    pub transaction_id: String,
    /// The clock's time in milliseconds.
    pub now_ms: u64,
}

/// One event on its way to one or several devices of one user.
#[derive(Debug, Clone)]
pub struct Message {
    /// The recipient.
    pub to: UserNum,
    /// Its devices.
    pub devices: Vec<DeviceNum>,
    /// The event as JSON, made by [`event`].
    pub event: Bytes,
}

/// The event as the recipient's `/sync` shows it: `{"type", "sender", "content"}`. `content` is not parsed.
pub fn event(event_type: &str, sender: &UserId, content: &RawValue) -> Result<Bytes, SendError> {
    if content.get().len() > CONTENT_BYTES_MAX {
        return Err(SendError::TooLarge);
    }
    if event_type.len() > limits::ID_BYTES_MAX {
        return Err(SendError::NameTooLong);
    }
    let content = content.get();
    let mut json = String::with_capacity(content.len() + event_type.len() + sender.as_str().len() + 64);
    json.push_str(r#"{"type":"#);
    json.push_str(&crate::query::quoted(event_type));
    json.push_str(r#","sender":"#);
    json.push_str(&crate::query::quoted(sender.as_str()));
    json.push_str(r#","content":"#);
    json.push_str(content);
    json.push('}');
    Ok(Bytes::from(json))
}

/// Puts `messages` into the inboxes of their recipients, and answers whether it did: a transaction id that this
/// device used already (today or in the two days before) sends nothing again.
///
/// Recipients whom the sender may not reach are left out silently, so that nobody can probe for it.
pub fn send(txn: &mut WriteTxn<'_>, sending: &Sending, messages: &[Message]) -> Result<bool, SendError> {
    if sending.transaction_id.len() > limits::TRANSACTION_ID_BYTES_MAX {
        return Err(SendError::NameTooLong);
    }
    if messages.iter().map(|message| message.devices.len()).sum::<usize>() > RECIPIENTS_MAX {
        return Err(SendError::TooManyRecipients);
    }
    if !remember(txn, sending)? {
        return Ok(false);
    }
    for message in messages {
        if !lamchat_connections::may_reach(sending.sender, message.to, Reach::ToDevice) {
            continue;
        }
        for device in &message.devices {
            // A device that was deleted since the caller looked has no inbox any more.
            if lamchat_accounts::device::by_num(txn, *device)?.is_some_and(|(user, _)| user == message.to) {
                deposit(txn, *device, &message.event)?;
            }
        }
        txn.touch(Topic::user(message.to));
    }
    Ok(true)
}

/// Notes the transaction id; `false` if it was there.
fn remember(txn: &mut WriteTxn<'_>, sending: &Sending) -> Result<bool, ReadError> {
    let today = u32::try_from(sending.now_ms / DAY_MS).unwrap_or(u32::MAX);
    let key = |day: u32| {
        Key::new()
            .u32(day)
            .u32(sending.device.0)
            .raw(sending.transaction_id.as_bytes())
    };
    let first_kept = today.saturating_sub(TRANSACTION_DAYS);
    // A clock that was set back must not make old ids unknown: days after today count as well.
    for day in first_kept..=today.saturating_add(1) {
        if txn.get(TRANSACTION, &key(day))?.is_some() {
            return Ok(false);
        }
    }
    sweep(txn, first_kept)?;
    txn.put(TRANSACTION, &key(today), Bytes::new());
    Ok(true)
}

/// Removes a few transaction ids of days before `first_kept`.
fn sweep(txn: &mut WriteTxn<'_>, first_kept: u32) -> Result<(), ReadError> {
    let swept = match txn.get(SWEPT, &[])? {
        None => 0,
        Some(bytes) => KeyReader::new(&bytes).u32().ok_or_else(|| malformed_row(SWEPT))?,
    };
    if swept >= first_kept {
        return Ok(());
    }
    let range = KeyRange::between(&[], &first_kept.to_be_bytes());
    let old = txn.rows(TRANSACTION, &range, Order::Ascending, SWEPT_PER_SEND)?;
    for (key, _) in &old {
        txn.delete(TRANSACTION, key);
    }
    if old.len() < SWEPT_PER_SEND {
        txn.put(SWEPT, &[], first_kept.to_be_bytes().to_vec());
    }
    Ok(())
}

fn deposit(txn: &mut WriteTxn<'_>, device: DeviceNum, event: &Bytes) -> Result<(), ReadError> {
    let position = txn.next_position();
    let mut size = Size::read(txn, device)?;
    size.messages = size.messages.saturating_add(1);
    size.bytes = size.bytes.saturating_add(event.len() as u64);
    txn.put(INBOX, &Key::new().u32(device.0).u64(position.0), event.clone());
    while size.messages > INBOX_MESSAGES_MAX || size.bytes > INBOX_BYTES_MAX {
        let Some((key, value)) = txn.first(INBOX, &KeyRange::prefix(&device.to_key()), Order::Ascending)? else {
            break;
        };
        txn.delete(INBOX, &key);
        size.messages = size.messages.saturating_sub(1);
        size.bytes = size.bytes.saturating_sub(value.len() as u64);
    }
    size.write(txn, device);
    Ok(())
}

/// The messages for `device` after `from` up to `to`, oldest first, at most `limit`, with their positions.
///
/// If exactly `limit` came back there may be more: `/sync` then answers at once and with a token for which the next
/// call continues after the last position given here.
pub fn since(
    read: &dyn Read,
    device: DeviceNum,
    from: Position,
    to: Position,
    limit: usize,
) -> Result<Vec<(Position, Bytes)>, ReadError> {
    let mut messages = Vec::new();
    if from >= to || limit == 0 {
        return Ok(messages);
    }
    let mut malformed = false;
    read.scan(INBOX, &span(device, from, to), Order::Ascending, &mut |key, value| {
        let mut parts = KeyReader::new(key);
        match (parts.u32(), parts.u64()) {
            (Some(_), Some(position)) => messages.push((Position(position), Bytes::copy_from_slice(value))),
            _ => malformed = true,
        }
        if malformed || messages.len() >= limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    if malformed {
        Err(malformed_row(INBOX))
    } else {
        Ok(messages)
    }
}

/// Whether anything waits for `device` at or before `up_to`: if not, there is nothing to [`acknowledge`].
pub fn waits(read: &dyn Read, device: DeviceNum, up_to: Position) -> Result<bool, ReadError> {
    Ok(read
        .first(INBOX, &span(device, Position(0), up_to), Order::Ascending)?
        .is_some())
}

/// Removes what `device` has received, up to and including `up_to`, and tells how many messages there were.
pub fn acknowledge(txn: &mut WriteTxn<'_>, device: DeviceNum, up_to: Position) -> Result<usize, ReadError> {
    let mut keys = Vec::new();
    let mut bytes = 0u64;
    txn.scan(
        INBOX,
        &span(device, Position(0), up_to),
        Order::Ascending,
        &mut |key, value| {
            keys.push(key.to_vec());
            bytes += value.len() as u64;
            ControlFlow::Continue(())
        },
    )?;
    if keys.is_empty() {
        return Ok(0);
    }
    for key in &keys {
        txn.delete(INBOX, key);
    }
    let mut size = Size::read(txn, device)?;
    size.messages = size
        .messages
        .saturating_sub(u32::try_from(keys.len()).unwrap_or(u32::MAX));
    size.bytes = size.bytes.saturating_sub(bytes);
    size.write(txn, device);
    Ok(keys.len())
}

/// Removes the inbox of a deleted device.
pub(crate) fn forget(txn: &mut WriteTxn<'_>, device: DeviceNum) -> Result<(), ReadError> {
    txn.delete_range(INBOX, &KeyRange::prefix(&device.to_key()))?;
    txn.delete(INBOX_SIZE, &device.to_key());
    Ok(())
}

fn span(device: DeviceNum, from: Position, to: Position) -> KeyRange {
    let start = Key::new().u32(device.0).u64(from.0.saturating_add(1));
    let end = Key::new().u32(device.0).u64(to.0.saturating_add(1));
    KeyRange::between(&start, &end)
}

/// How much an inbox holds.
#[derive(Default)]
struct Size {
    messages: u32,
    bytes: u64,
}

impl Size {
    fn read(read: &dyn Read, device: DeviceNum) -> Result<Self, ReadError> {
        let Some(row) = read.get(INBOX_SIZE, &device.to_key())? else {
            return Ok(Self::default());
        };
        let mut parts = KeyReader::new(&row);
        match (parts.u32(), parts.u64()) {
            (Some(messages), Some(bytes)) => Ok(Self { messages, bytes }),
            _ => Err(malformed_row(INBOX_SIZE)),
        }
    }

    fn write(&self, txn: &mut WriteTxn<'_>, device: DeviceNum) {
        txn.put(
            INBOX_SIZE,
            &device.to_key(),
            Key::new().u32(self.messages).u64(self.bytes).to_vec(),
        );
    }
}

#[cfg(test)]
mod tests;
