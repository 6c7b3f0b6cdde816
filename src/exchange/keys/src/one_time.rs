//! One-time and fallback keys: each one-time key is handed out at most once, in the order of the uploads.
//! Verifies what is signed; never hands out a key of a device that was deleted.

mod verified;

pub use verified::{ALL_VERIFIED_MAX, VerifiedKeys, is_signed, verify};

use crate::Owner;
use crate::one_time_row::{Fallback, State, decode_chunk, encode_chunk};
use crate::row::malformed_row;
use lamchat_base::{DeviceNum, Position, UserNum};
use lamchat_store::{Bytes, CommitError, Key, KeyRange, Order, Read, ReadError, ReadExt, Table, Topic, WriteTxn};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

/// (Device, algorithm, position) -> a chunk of keys.
pub(crate) const CHUNK: Table = Table::new(51, "keys.one_time");
/// Device -> its counts.
pub(crate) const STATE: Table = Table::new(52, "keys.one_time_state");
/// (Device, algorithm) -> a chunk of one fallback key.
pub(crate) const FALLBACK: Table = Table::new(53, "keys.fallback");

/// Most one-time keys that a device may have at once.
pub const ONE_TIME_KEYS_MAX: usize = 1_000;
/// Most algorithms that a device may have keys of.
pub const ALGORITHMS_MAX: usize = 8;
/// Largest key as JSON.
pub const KEY_BYTES_MAX: usize = 4_096;
/// Largest `algorithm:id`.
pub const KEY_ID_BYTES_MAX: usize = 255;
/// Keys per row: a claim reads one row.
const CHUNK_KEYS: usize = 64;
/// The algorithm whose keys are signed by the device.
const SIGNED: &str = "signed_curve25519";
/// The start of the names of such keys.
const SIGNED_PREFIX: &str = "signed_curve25519:";

/// Why keys were not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// A key's name is not `algorithm:id`, is too long, or its value is malformed or too large.
    #[error("one-time key {0}: {1}")]
    Malformed(String, &'static str),
    /// The signature is missing or wrong.
    #[error("one-time key {0} is not signed by the device")]
    Signature(String),
    /// The device has not uploaded device keys, so nothing that it signs can be verified.
    #[error("device keys must be uploaded before signed one-time keys")]
    NoDeviceKeys,
    /// There is another key of the same name.
    #[error("one-time key {0} exists already with another value")]
    Exists(String),
    /// More than [`ONE_TIME_KEYS_MAX`] keys, or than [`ALGORITHMS_MAX`] algorithms.
    #[error("a device may have at most 1000 one-time keys, of at most 8 algorithms")]
    TooMany,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// How many keys a device has left. What `/sync` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// `device_one_time_keys_count`; `signed_curve25519` is always there, with 0 if need be, because clients take
    /// an absent entry for "not told".
    pub one_time: BTreeMap<String, u32>,
    /// `device_unused_fallback_key_types`.
    pub unused_fallback: Vec<String>,
    /// When one of these last changed.
    pub changed_at: Position,
}

/// A key that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedKey {
    /// `algorithm:id`.
    pub name: String,
    /// The key as it was uploaded, JSON.
    pub json: String,
}

/// Adds keys to those of `owner` and answers the counts. Keys that are there already are passed over.
pub fn upload(txn: &mut WriteTxn<'_>, owner: &Owner<'_>, keys: &VerifiedKeys) -> Result<Counts, UploadError> {
    let mut state = state_of(txn, owner.device)?;
    let mut fresh: Vec<(&str, Vec<&(String, String)>)> = Vec::new();
    for (algorithm, uploaded) in &keys.one_time {
        let fresh_of = not_there_yet(txn, owner.device, algorithm, uploaded)?;
        if !fresh_of.is_empty() {
            fresh.push((algorithm, fresh_of));
        }
    }
    let total = state.algorithms.iter().map(|of| of.count as usize).sum::<usize>()
        + fresh.iter().map(|(_, keys)| keys.len()).sum::<usize>();
    let mut changed = false;
    for (algorithm, keys) in &fresh {
        let of = state.entry(algorithm);
        of.count = of.count.saturating_add(u32::try_from(keys.len()).unwrap_or(u32::MAX));
        changed = true;
    }
    for (algorithm, (id, json)) in &keys.fallback {
        let row = encode_chunk([(id.as_str(), json.as_str())].into_iter());
        let key = Key::new().u32(owner.device.0).str(algorithm);
        // The same fallback key again is a repeated request: what is used stays used.
        if txn.get(FALLBACK, &key)?.as_deref() != Some(row.as_slice()) {
            state.entry(algorithm).fallback = Fallback::Unused;
            txn.put(FALLBACK, &key, row);
            changed = true;
        }
    }
    if total > ONE_TIME_KEYS_MAX || state.algorithms.len() > ALGORITHMS_MAX {
        return Err(UploadError::TooMany);
    }
    if changed {
        for (algorithm, keys) in fresh {
            for chunk in keys.chunks(CHUNK_KEYS) {
                let position = txn.next_position();
                let row = encode_chunk(chunk.iter().map(|(id, json)| (id.as_str(), json.as_str())));
                txn.put(
                    CHUNK,
                    &Key::new().u32(owner.device.0).str(algorithm).u64(position.0),
                    row,
                );
            }
        }
        write_state(txn, owner.user, owner.device, &mut state);
    }
    Ok(counts_in(&state))
}

/// Those of `uploaded` that the device does not have. Keys that were claimed from a chunk which is not used up are
/// still known: a repeated upload does not hand them out twice.
fn not_there_yet<'k>(
    txn: &WriteTxn<'_>,
    device: DeviceNum,
    algorithm: &str,
    uploaded: &'k [(String, String)],
) -> Result<Vec<&'k (String, String)>, UploadError> {
    let mut wanted: HashMap<&str, &(String, String)> = uploaded.iter().map(|key| (key.0.as_str(), key)).collect();
    let mut refused = None;
    let prefix = Key::new().u32(device.0).str(algorithm);
    txn.scan(CHUNK, &KeyRange::prefix(&prefix), Order::Ascending, &mut |_, row| {
        let Some(keys) = decode_chunk(row) else {
            refused = Some(UploadError::Read(malformed_row(CHUNK)));
            return ControlFlow::Break(());
        };
        for (id, json) in keys {
            if let Some((_, new)) = wanted.remove(id)
                && !same_key(json, new)
            {
                refused = Some(UploadError::Exists(format!("{algorithm}:{id}")));
                return ControlFlow::Break(());
            }
        }
        if wanted.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    match refused {
        Some(error) => Err(error),
        None => Ok(uploaded
            .iter()
            .filter(|key| wanted.contains_key(key.0.as_str()))
            .collect()),
    }
}

/// Whether two uploads are of the same key. Clients may sign anew, so signatures do not count.
fn same_key(old: &str, new: &str) -> bool {
    let signed_part = |json: &str| {
        let mut value: serde_json::Value = serde_json::from_str(json).ok()?;
        if let Some(object) = value.as_object_mut() {
            object.remove("signatures");
            object.remove("unsigned");
        }
        Some(value)
    };
    old == new || signed_part(old).is_some_and(|old| Some(old) == signed_part(new))
}

/// Takes a key of `algorithm` from a device of `user`: the oldest one-time key, else the fallback key, else none.
pub fn claim(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    device: DeviceNum,
    algorithm: &str,
) -> Result<Option<ClaimedKey>, ReadError> {
    let mut state = state_of(txn, device)?;
    let Some(of) = state.find(algorithm) else {
        return Ok(None);
    };
    let prefix = Key::new().u32(device.0).str(algorithm);
    if of.count == 0 {
        return match (of.fallback, txn.get(FALLBACK, &prefix)?) {
            (Fallback::Absent, _) | (_, None) => Ok(None),
            (fallback, Some(row)) => {
                let claimed = key_in(FALLBACK, &row, 0, algorithm)?;
                if fallback == Fallback::Unused {
                    of.fallback = Fallback::Used;
                    write_state(txn, user, device, &mut state);
                }
                Ok(Some(claimed))
            }
        };
    }
    let (key, row) = txn
        .first(CHUNK, &KeyRange::prefix(&prefix), Order::Ascending)?
        .ok_or_else(|| malformed_row(STATE))?;
    let claimed = key_in(CHUNK, &row, usize::from(of.taken), algorithm)?;
    let keys = decode_chunk(&row).ok_or_else(|| malformed_row(CHUNK))?.len();
    of.count -= 1;
    of.taken += 1;
    if usize::from(of.taken) >= keys {
        of.taken = 0;
        txn.delete(CHUNK, &key);
    }
    write_state(txn, user, device, &mut state);
    Ok(Some(claimed))
}

fn key_in(table: Table, row: &Bytes, index: usize, algorithm: &str) -> Result<ClaimedKey, ReadError> {
    let keys = decode_chunk(row).ok_or_else(|| malformed_row(table))?;
    let (id, json) = keys.get(index).ok_or_else(|| malformed_row(table))?;
    Ok(ClaimedKey {
        name: format!("{algorithm}:{id}"),
        json: (*json).to_owned(),
    })
}

/// What `device` has left. One look-up: `/sync` asks at every call.
pub fn counts(read: &dyn Read, device: DeviceNum) -> Result<Counts, ReadError> {
    Ok(counts_in(&state_of(read, device)?))
}

/// Removes the keys of a deleted device.
pub(crate) fn forget(txn: &mut WriteTxn<'_>, device: DeviceNum) -> Result<(), ReadError> {
    txn.delete_range(CHUNK, &KeyRange::prefix(&device.to_key()))?;
    txn.delete_range(FALLBACK, &KeyRange::prefix(&device.to_key()))?;
    txn.delete(STATE, &device.to_key());
    Ok(())
}

/// Removes every one-time key of everybody and tells how many devices had some. Fallback keys stay: they may be
/// handed out again. For a restore from backup: keys that were claimed after the backup must not be claimed again.
pub fn delete_all(txn: &mut WriteTxn<'_>) -> Result<usize, ReadError> {
    txn.delete_range(CHUNK, &KeyRange::all())?;
    let mut devices = 0;
    for (key, row) in txn.rows(STATE, &KeyRange::all(), Order::Ascending, usize::MAX)? {
        let mut state = State::decode(&row).ok_or_else(|| malformed_row(STATE))?;
        devices += usize::from(state.algorithms.iter().any(|of| of.count > 0));
        for of in &mut state.algorithms {
            of.count = 0;
            of.taken = 0;
        }
        state.changed_at = txn.next_position();
        txn.put(STATE, &key, state.encode());
    }
    Ok(devices)
}

fn state_of(read: &dyn Read, device: DeviceNum) -> Result<State, ReadError> {
    match read.get(STATE, &device.to_key())? {
        None => Ok(State::default()),
        Some(row) => State::decode(&row).ok_or_else(|| malformed_row(STATE)),
    }
}

/// Writes the state and wakes the `/sync` of its owner.
fn write_state(txn: &mut WriteTxn<'_>, user: UserNum, device: DeviceNum, state: &mut State) {
    state.changed_at = txn.next_position();
    txn.put(STATE, &device.to_key(), state.encode());
    txn.touch(Topic::user(user));
}

fn counts_in(state: &State) -> Counts {
    let mut counts = Counts {
        changed_at: state.changed_at,
        ..Counts::default()
    };
    counts.one_time.insert(SIGNED.to_owned(), 0);
    for of in &state.algorithms {
        if of.count > 0 {
            counts.one_time.insert(of.algorithm.clone(), of.count);
        }
        if of.fallback == Fallback::Unused {
            counts.unused_fallback.push(of.algorithm.clone());
        }
    }
    counts
}

#[cfg(test)]
mod tests;
