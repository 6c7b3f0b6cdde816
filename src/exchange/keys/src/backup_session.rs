//! Session keys in a backup, encrypted by the client: put, read, delete; which of two keys of a session is kept.

use crate::backup::{self, Counts};
use crate::query::quoted;
use crate::row::malformed_row;
use lamchat_base::{UserNum, limits};
use lamchat_store::{CommitError, Key, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, Table, WriteTxn};
use serde_json::value::RawValue;
use std::ops::ControlFlow;

/// (User, version u64, room id, session id) -> verified u8, first index u64, forwarded u64, the key as JSON.
pub(crate) const SESSION: Table = Table::new(61, "keys.backup_session");

/// Largest session key as JSON.
pub const SESSION_BYTES_MAX: usize = 16 * 1024;
/// Most session keys in one version.
pub const SESSIONS_MAX: u64 = 500_000;
/// Rows that [`purge`] removes at once.
const PURGE_ROWS: usize = 2_000;

/// Why session keys were not put into a backup, or not removed.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// There is no backup, or (when removing) not this version of it.
    #[error("there is no such key backup")]
    NotFound,
    /// Keys can only be put into the newest version, which is this one.
    #[error("the newest version of the key backup is {0}")]
    WrongVersion(String),
    /// A key is too large, a name is too long, or a field is missing or of the wrong type.
    #[error("session key: {0}")]
    Malformed(&'static str),
    /// More than [`SESSIONS_MAX`] keys.
    #[error("a key backup may hold at most 500000 keys")]
    TooMany,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// One session key, whose form was checked.
#[derive(Debug, Clone)]
pub struct SessionKey {
    room_id: String,
    session_id: String,
    rank: Rank,
    json: Box<RawValue>,
}

/// What decides between two keys of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
struct Rank {
    is_verified: bool,
    first_message_index: u64,
    forwarded_count: u64,
}

impl Rank {
    /// "if the keys have different values for `is_verified`, then it will keep the key that has `is_verified` set to
    /// `true`; if they have the same values for `is_verified`, then it will keep the key with a lower
    /// `first_message_index`; and finally, if `is_verified` and `first_message_index` are equal, then it will keep the
    /// key with a lower `forwarded_count`." (1.16)
    fn replaces(self, stored: Self) -> bool {
        let order = |rank: Self| (!rank.is_verified, rank.first_message_index, rank.forwarded_count);
        order(self) < order(stored)
    }
}

impl SessionKey {
    /// Checks the form of a key; `json` is the object with `session_data`.
    pub fn parse(room_id: &str, session_id: &str, json: &RawValue) -> Result<Self, PutError> {
        #[derive(serde::Deserialize)]
        struct Form<'a> {
            #[serde(borrow)]
            session_data: &'a RawValue,
        }
        if json.get().len() > SESSION_BYTES_MAX {
            return Err(PutError::Malformed("larger than 16 KiB"));
        }
        let too_long = room_id.len() > limits::ID_BYTES_MAX || session_id.len() > limits::ID_BYTES_MAX;
        if too_long || session_id.is_empty() || room_id.is_empty() {
            return Err(PutError::Malformed("room and session ids must have 1 to 255 bytes"));
        }
        let rank = serde_json::from_str(json.get()).map_err(|_| {
            PutError::Malformed("`first_message_index`, `forwarded_count` and `is_verified` must be there")
        })?;
        let form: Form<'_> =
            serde_json::from_str(json.get()).map_err(|_| PutError::Malformed("`session_data` must be there"))?;
        if !form.session_data.get().starts_with('{') {
            return Err(PutError::Malformed("`session_data` must be an object"));
        }
        Ok(Self {
            room_id: room_id.to_owned(),
            session_id: session_id.to_owned(),
            rank,
            json: json.to_owned(),
        })
    }
}

/// Which keys of a version.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// All.
    All,
    /// Those of a room.
    Room(&'a str),
    /// One.
    Session(&'a str, &'a str),
}

impl Selection<'_> {
    fn range(self, user: UserNum, number: u64) -> KeyRange {
        let prefix = Key::new().u32(user.0).u64(number);
        KeyRange::prefix(&match self {
            Self::All => prefix,
            Self::Room(room_id) => prefix.str(room_id),
            Self::Session(room_id, session_id) => prefix.str(room_id).str(session_id),
        })
    }
}

/// Puts keys into the newest version, keeping the better of two, and answers what it holds now.
pub fn put(txn: &mut WriteTxn<'_>, user: UserNum, version: &str, keys: &[SessionKey]) -> Result<Counts, PutError> {
    let (number, mut row) = backup::newest_row(txn, user)?.ok_or(PutError::NotFound)?;
    // "The version specified does not match the current backup version. The current version will be included in the
    // `current_version` field."
    if number.to_string() != version {
        return Err(PutError::WrongVersion(number.to_string()));
    }
    let mut changed = false;
    for key in keys {
        let at = Key::new()
            .u32(user.0)
            .u64(number)
            .str(&key.room_id)
            .str(&key.session_id);
        match txn.get(SESSION, &at)? {
            None => row.count += 1,
            Some(stored) if key.rank.replaces(split(&stored)?.0) => {}
            Some(_) => continue,
        }
        txn.put(SESSION, &at, encode(key));
        changed = true;
    }
    if row.count > SESSIONS_MAX {
        return Err(PutError::TooMany);
    }
    if changed {
        row.etag += 1;
        row.store(txn, user, number)?;
    }
    Ok(row.counts())
}

/// Removes keys from a version and answers what it holds now.
pub fn delete(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    version: &str,
    selection: Selection<'_>,
) -> Result<Counts, PutError> {
    let (number, mut row) = backup::row(txn, user, version)?.ok_or(PutError::NotFound)?;
    let removed = txn.delete_range(SESSION, &selection.range(user, number))?;
    if removed > 0 {
        row.count = row.count.saturating_sub(removed as u64);
        row.etag += 1;
        row.store(txn, user, number)?;
    }
    Ok(row.counts())
}

/// Removes a portion of the keys of a version that was deleted; `false` when there are none left.
pub fn purge(txn: &mut WriteTxn<'_>, user: UserNum, version: &str) -> Result<bool, ReadError> {
    let Ok(number) = version.parse::<u64>() else {
        return Ok(false);
    };
    if backup::row(txn, user, version)?.is_some() {
        return Ok(false);
    }
    let keys = txn.rows(
        SESSION,
        &Selection::All.range(user, number),
        Order::Ascending,
        PURGE_ROWS,
    )?;
    for (key, _) in &keys {
        txn.delete(SESSION, key);
    }
    Ok(keys.len() == PURGE_ROWS)
}

/// The selected keys as the answer of the endpoint, JSON: `{"rooms":…}`, `{"sessions":…}` or the key itself.
/// `None` if there is no such version, or not the one key that was asked for.
pub fn json(
    read: &dyn Read,
    user: UserNum,
    version: &str,
    selection: Selection<'_>,
) -> Result<Option<String>, ReadError> {
    let Some((number, _)) = backup::row(read, user, version)? else {
        return Ok(None);
    };
    if let Selection::Session(room_id, session_id) = selection {
        let stored = read.get(
            SESSION,
            &Key::new().u32(user.0).u64(number).str(room_id).str(session_id),
        )?;
        let json = stored
            .map(|row| Ok::<_, ReadError>(split(&row)?.1.to_vec()))
            .transpose()?;
        return json
            .map(|json| String::from_utf8(json).map_err(|_| malformed_row(SESSION)))
            .transpose();
    }
    let mut writer = Writer::default();
    let mut failed = false;
    read.scan(
        SESSION,
        &selection.range(user, number),
        Order::Ascending,
        &mut |key, value| match writer.add(key, value) {
            Some(()) => ControlFlow::Continue(()),
            None => {
                failed = true;
                ControlFlow::Break(())
            }
        },
    )?;
    if failed {
        return Err(malformed_row(SESSION));
    }
    Ok(match selection {
        Selection::All => Some(format!(r#"{{"rooms":{{{}}}}}"#, writer.rooms())),
        Selection::Room(_) | Selection::Session(..) => Some(format!(r#"{{"sessions":{{{}}}}}"#, writer.sessions)),
    })
}

/// Splices keys, which come ordered by room.
#[derive(Default)]
struct Writer {
    rooms: String,
    room: Option<String>,
    sessions: String,
}

impl Writer {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let mut parts = KeyReader::new(key);
        parts.u32()?;
        parts.u64()?;
        let (room, session) = (parts.str()?, parts.str()?);
        let json = std::str::from_utf8(split(value).ok()?.1).ok()?;
        if self.room.as_ref() != Some(&room) {
            self.close_room();
            self.room = Some(room);
        }
        if !self.sessions.is_empty() {
            self.sessions.push(',');
        }
        self.sessions.push_str(&quoted(&session));
        self.sessions.push(':');
        self.sessions.push_str(json);
        Some(())
    }

    fn close_room(&mut self) {
        if let Some(room) = self.room.take() {
            if !self.rooms.is_empty() {
                self.rooms.push(',');
            }
            self.rooms.push_str(&quoted(&room));
            self.rooms.push_str(r#":{"sessions":{"#);
            self.rooms.push_str(&self.sessions);
            self.rooms.push_str("}}");
            self.sessions.clear();
        }
    }

    fn rooms(mut self) -> String {
        self.close_room();
        self.rooms
    }
}

fn encode(key: &SessionKey) -> Vec<u8> {
    let Rank {
        is_verified,
        first_message_index,
        forwarded_count,
    } = key.rank;
    Key::new()
        .u8(u8::from(is_verified))
        .u64(first_message_index)
        .u64(forwarded_count)
        .raw(key.json.get().as_bytes())
        .to_vec()
}

fn split(row: &[u8]) -> Result<(Rank, &[u8]), ReadError> {
    let mut parts = KeyReader::new(row);
    match (parts.u8(), parts.u64(), parts.u64()) {
        (Some(is_verified), Some(first_message_index), Some(forwarded_count)) => Ok((
            Rank {
                is_verified: is_verified == 1,
                first_message_index,
                forwarded_count,
            },
            parts.rest(),
        )),
        _ => Err(malformed_row(SESSION)),
    }
}

#[cfg(test)]
mod tests;
