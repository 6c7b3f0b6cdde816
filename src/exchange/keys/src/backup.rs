//! Versions of key backups: how the session keys of a user are encrypted, how many there are, and an etag.
//! The keys themselves are in [`crate::backup_session`]. Never sees a key in the clear.

use lamchat_base::UserNum;
use lamchat_store::{CommitError, Key, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, Table, WriteTxn};
use serde_json::value::RawValue;

/// (User, version u64) -> the version as JSON. A deleted version stays as an empty mark.
pub(crate) const VERSION: Table = Table::new(60, "keys.backup_version");

/// Largest `auth_data`.
pub const AUTH_DATA_BYTES_MAX: usize = 64 * 1024;
/// Largest name of an algorithm.
pub const ALGORITHM_BYTES_MAX: usize = 255;

/// Why an operation on a version failed.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// No such backup.
    #[error("there is no such key backup")]
    NotFound,
    /// The algorithm is not the one of the backup.
    #[error("the algorithm of a key backup cannot be changed")]
    OtherAlgorithm,
    /// The version in the body is not the one in the path.
    #[error("the version in the body is not the one in the path")]
    OtherVersion,
    /// `auth_data` or the algorithm's name is too large, or `auth_data` is no object.
    #[error("auth_data must be an object of at most 64 KiB, the algorithm a name of at most 255 bytes")]
    Malformed,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// How a version of a backup is encrypted.
#[derive(Debug, Clone)]
pub struct Encryption {
    /// Such as `m.megolm_backup.v1.curve25519-aes-sha2`.
    pub algorithm: String,
    /// The algorithm's data, a JSON object.
    pub auth_data: Box<RawValue>,
}

impl Encryption {
    fn check(&self) -> Result<(), VersionError> {
        let auth_data = self.auth_data.get();
        let sizes_fit = auth_data.len() <= AUTH_DATA_BYTES_MAX && self.algorithm.len() <= ALGORITHM_BYTES_MAX;
        if sizes_fit && auth_data.starts_with('{') {
            Ok(())
        } else {
            Err(VersionError::Malformed)
        }
    }
}

/// A version of a backup.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its name: a number, opaque to clients.
    pub version: String,
    /// How it is encrypted.
    pub encryption: Encryption,
    /// What it holds.
    pub counts: Counts,
}

/// How many keys a version holds, and a mark that changes whenever one of them does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Number of session keys.
    pub count: u64,
    /// Opaque.
    pub etag: String,
}

/// A version, as stored.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct VersionRow {
    algorithm: String,
    auth_data: Box<RawValue>,
    #[serde(default)]
    pub count: u64,
    #[serde(default)]
    pub etag: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

impl VersionRow {
    pub fn counts(&self) -> Counts {
        Counts {
            count: self.count,
            etag: self.etag.to_string(),
        }
    }

    fn into_version(self, number: u64) -> Version {
        let counts = self.counts();
        let encryption = Encryption {
            algorithm: self.algorithm,
            auth_data: self.auth_data,
        };
        Version {
            version: number.to_string(),
            encryption,
            counts,
        }
    }

    pub fn store(&self, txn: &mut WriteTxn<'_>, user: UserNum, number: u64) -> Result<(), ReadError> {
        txn.put_json(VERSION, &key(user, number), self)
    }
}

/// Makes a new version, which is the newest from now on, and answers its name.
pub fn create(txn: &mut WriteTxn<'_>, user: UserNum, encryption: Encryption) -> Result<String, VersionError> {
    encryption.check()?;
    let last = txn.first(VERSION, &KeyRange::prefix(&user.to_key()), Order::Descending)?;
    let number = last.map_or(0, |(key, _)| number_in(&key)).saturating_add(1);
    let Encryption { algorithm, auth_data } = encryption;
    VersionRow {
        algorithm,
        auth_data,
        count: 0,
        etag: 0,
        deleted: false,
    }
    .store(txn, user, number)?;
    Ok(number.to_string())
}

/// The newest version that was not deleted.
pub fn newest(read: &dyn Read, user: UserNum) -> Result<Option<Version>, ReadError> {
    Ok(newest_row(read, user)?.map(|(number, row)| row.into_version(number)))
}

/// The version of that name, if it was not deleted.
pub fn version(read: &dyn Read, user: UserNum, version: &str) -> Result<Option<Version>, ReadError> {
    Ok(row(read, user, version)?.map(|(number, row)| row.into_version(number)))
}

/// Changes the `auth_data` of a version; `in_body` is the version that the request's body names.
pub fn update(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    version: &str,
    in_body: Option<&str>,
    encryption: Encryption,
) -> Result<(), VersionError> {
    encryption.check()?;
    let (number, mut stored) = row(txn, user, version)?.ok_or(VersionError::NotFound)?;
    // "400: the `algorithm` does not match the current backup algorithm, or the `version` in the body does not match
    // the `version` in the path."
    if in_body.is_some_and(|in_body| in_body != version) {
        return Err(VersionError::OtherVersion);
    }
    if stored.algorithm != encryption.algorithm {
        return Err(VersionError::OtherAlgorithm);
    }
    stored.auth_data = encryption.auth_data;
    Ok(stored.store(txn, user, number)?)
}

/// Deletes a version. Its keys are out of reach at once, and removed by [`crate::backup_session::purge`], in portions.
///
/// "If the backup was previously deleted, the call should succeed rather than returning an error."
pub fn delete(txn: &mut WriteTxn<'_>, user: UserNum, version: &str) -> Result<(), VersionError> {
    let number = version.parse::<u64>().map_err(|_| VersionError::NotFound)?;
    let mut row: VersionRow = txn
        .get_json(VERSION, &key(user, number))?
        .ok_or(VersionError::NotFound)?;
    if !row.deleted {
        row.deleted = true;
        row.count = 0;
        row.auth_data = RawValue::from_string("{}".to_owned()).map_err(|error| ReadError::Malformed {
            table: VERSION.name,
            detail: error.to_string(),
        })?;
        row.store(txn, user, number)?;
    }
    Ok(())
}

/// Deletes all versions of an account that is closed and answers their names, for
/// [`crate::backup_session::purge`]; those that were deleted before are among them.
pub fn delete_all(txn: &mut WriteTxn<'_>, user: UserNum) -> Result<Vec<String>, ReadError> {
    let rows = txn.rows(VERSION, &KeyRange::prefix(&user.to_key()), Order::Ascending, usize::MAX)?;
    let names: Vec<String> = rows.iter().map(|(key, _)| number_in(key).to_string()).collect();
    for name in &names {
        // All other errors are about names that are none.
        if let Err(VersionError::Read(error)) = delete(txn, user, name) {
            return Err(error);
        }
    }
    Ok(names)
}

pub(crate) fn row(read: &dyn Read, user: UserNum, version: &str) -> Result<Option<(u64, VersionRow)>, ReadError> {
    let Ok(number) = version.parse::<u64>() else {
        return Ok(None);
    };
    // "01" and "+1" are not names of version 1.
    if number.to_string() != version {
        return Ok(None);
    }
    let row: Option<VersionRow> = read.get_json(VERSION, &key(user, number))?;
    Ok(row.filter(|row| !row.deleted).map(|row| (number, row)))
}

pub(crate) fn newest_row(read: &dyn Read, user: UserNum) -> Result<Option<(u64, VersionRow)>, ReadError> {
    for (key, value) in read.rows(
        VERSION,
        &KeyRange::prefix(&user.to_key()),
        Order::Descending,
        usize::MAX,
    )? {
        let row: VersionRow = crate::row::parse_json(VERSION, &value)?;
        if !row.deleted {
            return Ok(Some((number_in(&key), row)));
        }
    }
    Ok(None)
}

fn key(user: UserNum, number: u64) -> Key {
    Key::new().u32(user.0).u64(number)
}

fn number_in(key: &[u8]) -> u64 {
    let mut parts = KeyReader::new(key);
    parts.u32();
    parts.u64().unwrap_or(0)
}
