//! Credentials of administrators far away: a name, an end, and a secret that is shown once and kept as its SHA-256.
//!
//! They are made on the machine itself (the Unix socket, the box's console) and nowhere else: whoever has stolen one
//! cannot make another that outlives it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use lamchat_base::Entropy;
use lamchat_store::{KeyRange, Order, Read, ReadError, ReadExt, Table, WriteTxn};

pub mod act;

/// name → the credential as JSON.
pub(crate) const CREDENTIAL: Table = Table::new(192, "admin.credential");

/// Most credentials that are kept; those whose time is over make room.
pub const CREDENTIALS_MAX: usize = 64;
/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 32;
/// How long one is valid unless somebody says otherwise: 90 days.
pub const VALID_DEFAULT_MS: u64 = 90 * 86_400_000;
/// How long one may be valid: a year and a day.
pub const VALID_MAX_MS: u64 = 366 * 86_400_000;

/// What stands before the name in a credential's text.
const MARK: &str = "lca.";
/// Letters of the secret: 130 bits, so that a plain hash suffices.
const SECRET_CHARS: usize = 26;
/// Digits and small letters that nobody takes for another when typing from a screen (RFC 4648's base 32, with 8 and 9
/// for the letters i and l).
const LETTERS: &[u8; 32] = b"abcdefgh8jk9mnopqrstuvwxyz234567";
/// Longest text that is looked at.
const TEXT_BYTES_MAX: usize = 128;

/// A credential as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its name, by which the audit log knows whoever used it.
    pub name: String,
    /// When it was made, ms.
    pub created_ms: u64,
    /// When it ends, ms.
    pub expires_ms: u64,
    /// When a use of it was noted last, ms; `None`: never.
    pub used_ms: Option<u64>,
    hash: [u8; 32],
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Row {
    hash: [u8; 32],
    created_ms: u64,
    expires_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_ms: Option<u64>,
}

/// Why none was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name is empty, too long or has other characters.
    #[error("A credential's name has 1 to {NAME_BYTES_MAX} characters of a-z, 0-9 and '-'")]
    Name,
    /// It would be valid for no time, or for too long.
    #[error("A credential is valid for at least a second and at most 366 days")]
    Time,
    /// There is one of this name that is still valid.
    #[error("There is a credential of this name: revoke it first, or choose another name")]
    Exists,
    /// There are [`CREDENTIALS_MAX`].
    #[error("There are {CREDENTIALS_MAX} credentials already; revoke some first")]
    TooMany,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A secret, made before the write that keeps its hash.
pub fn secret(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; SECRET_CHARS];
    entropy.fill(&mut bytes);
    // 256 is a multiple of 32, so each letter is equally likely.
    let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
    letters.map(|letter| char::from(*letter)).collect()
}

/// What an administrator keeps: `lca.NAME.SECRET`.
pub fn text(name: &str, secret: &str) -> String {
    format!("{MARK}{name}.{secret}")
}

fn hash(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, secret.as_bytes()).as_ref()) {
        *to = *from;
    }
    hash
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// Makes one, valid for `valid_ms` from `now_ms` on.
pub fn create(
    txn: &mut WriteTxn<'_>,
    name: &str,
    secret: &str,
    now_ms: u64,
    valid_ms: u64,
) -> Result<Credential, CreateError> {
    if !is_name(name) {
        return Err(CreateError::Name);
    }
    if !(1_000..=VALID_MAX_MS).contains(&valid_ms) {
        return Err(CreateError::Time);
    }
    let (valid, over): (Vec<_>, Vec<_>) = all(txn)?.into_iter().partition(|known| now_ms < known.expires_ms);
    if valid.iter().any(|known| known.name == name) {
        return Err(CreateError::Exists);
    }
    if valid.len() >= CREDENTIALS_MAX {
        return Err(CreateError::TooMany);
    }
    if valid.len() + over.len() >= CREDENTIALS_MAX {
        for known in over {
            txn.delete(CREDENTIAL, known.name.as_bytes());
        }
    }
    let row = Row {
        hash: hash(secret),
        created_ms: now_ms,
        expires_ms: now_ms.saturating_add(valid_ms),
        used_ms: None,
    };
    txn.put_json(CREDENTIAL, name.as_bytes(), &row)?;
    Ok(row.named(name))
}

impl Row {
    fn named(self, name: &str) -> Credential {
        Credential {
            name: name.to_owned(),
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
            used_ms: self.used_ms,
            hash: self.hash,
        }
    }
}

/// All of them, by name.
pub fn all(read: &dyn Read) -> Result<Vec<Credential>, ReadError> {
    let rows = read.rows(CREDENTIAL, &KeyRange::all(), Order::Ascending, CREDENTIALS_MAX)?;
    let known = rows.iter().map(|(key, value)| {
        let row: Row = serde_json::from_slice(value).map_err(|error| ReadError::Malformed {
            table: CREDENTIAL.name,
            detail: error.to_string(),
        })?;
        Ok(row.named(&String::from_utf8_lossy(key)))
    });
    known.collect()
}

/// Makes one invalid at once; whether there was one.
pub fn revoke(txn: &mut WriteTxn<'_>, name: &str) -> Result<bool, ReadError> {
    let was_there = one(txn, name)?.is_some();
    if was_there {
        txn.delete(CREDENTIAL, name.as_bytes());
    }
    Ok(was_there)
}

/// Notes that it was used; nothing if it was revoked meanwhile.
pub fn note_use(txn: &mut WriteTxn<'_>, name: &str, now_ms: u64) -> Result<(), ReadError> {
    if let Some(row) = txn.get_json::<Row>(CREDENTIAL, name.as_bytes())? {
        let used_ms = Some(now_ms);
        txn.put_json(CREDENTIAL, name.as_bytes(), &Row { used_ms, ..row })?;
    }
    Ok(())
}

fn one(read: &dyn Read, name: &str) -> Result<Option<Credential>, ReadError> {
    let row: Option<Row> = read.get_json(CREDENTIAL, name.as_bytes())?;
    Ok(row.map(|row| row.named(name)))
}

/// The name of the credential whose text this is, if it is valid now. Takes as long for a name that there is as for
/// one that there is not, but for the reading of a row.
pub fn check(read: &dyn Read, text: &str, now_ms: u64) -> Result<Option<String>, ReadError> {
    let parts = text.strip_prefix(MARK).and_then(|rest| rest.split_once('.'));
    let Some((name, secret)) = parts.filter(|(name, _)| text.len() <= TEXT_BYTES_MAX && is_name(name)) else {
        return Ok(None);
    };
    let known = one(read, name)?;
    let kept = known.as_ref().map_or([0; 32], |known| known.hash);
    let same = verify_slices_are_equal(&kept, &hash(secret)).is_ok();
    Ok(known
        .filter(|known| same && now_ms < known.expires_ms)
        .map(|known| known.name))
}
