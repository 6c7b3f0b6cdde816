//! Accounts of this exchange. An account is (authority, subject); passwords belong to the authority [`LOCAL`],
//! whose subject is the localpart.

use crate::device::RemovedDevice;
use crate::row::{malformed, parse_text, parse_u32, text};
use crate::tables::{ACCOUNT, PASSWORD, SUBJECT};
use crate::{account_data, filter, openid, profile, session, user};
use lamchat_base::UserNum;
use lamchat_store::{Bytes, Key, KeyRange, Order, Read, ReadError, ReadExt, Topic, WriteTxn};
use ruma::{OwnedUserId, UserId};

mod standing;
#[cfg(test)]
mod tests;

pub use standing::Standing;

/// The authority of accounts that log in with a password of this exchange.
pub const LOCAL: &str = "local";

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's number.
    pub user: UserNum,
    /// The user's id.
    pub user_id: OwnedUserId,
    /// Who vouches for the person; [`LOCAL`] for passwords.
    pub authority: String,
    /// Who the authority says it is; the localpart for [`LOCAL`].
    pub subject: String,
    /// When it was made, ms.
    pub created_ms: u64,
    /// Administrator, deactivated, locked, suspended.
    pub standing: Standing,
    /// Whether its owner asked for erasure when deactivating it.
    pub erased: bool,
}

/// What JSON keeps of an account, behind the byte of its standing.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct AccountRow {
    authority: String,
    subject: String,
    created_ms: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
}

/// What [`create`] needs to know.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The full id; the caller has checked it as `lamchat_identity::localpart` does.
    pub user_id: OwnedUserId,
    /// The password's hash, as `lamchat_identity::Passwords` makes it; `None`: no login by password.
    pub password_hash: Option<String>,
    /// Whether the account may administer the exchange.
    pub is_admin: bool,
    /// The display name to begin with.
    pub display_name: Option<String>,
    /// The time.
    pub now_ms: u64,
}

/// Why an account could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateAccountError {
    /// There is an account of that name, or was one: `M_USER_IN_USE`.
    #[error("this user name is taken")]
    InUse,
    /// The display name is too long: `M_TOO_LARGE`.
    #[error(transparent)]
    Profile(#[from] profile::SetProfileError),
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Makes an account of the authority [`LOCAL`].
pub fn create(txn: &mut WriteTxn<'_>, new: NewAccount) -> Result<UserNum, CreateAccountError> {
    let subject = new.user_id.localpart().to_owned();
    let subject_key = Key::new().str(LOCAL).str(&subject);
    if txn.get(SUBJECT, &subject_key)?.is_some() {
        return Err(CreateAccountError::InUse);
    }
    let user = user::num_or_insert(txn, &new.user_id)?;
    if txn.get(ACCOUNT, &user.to_key())?.is_some() {
        return Err(CreateAccountError::InUse);
    }
    let row = AccountRow {
        authority: LOCAL.to_owned(),
        subject,
        created_ms: new.now_ms,
        erased: false,
    };
    store(txn, user, Standing::default().with_admin(new.is_admin), &row)?;
    txn.put(SUBJECT, &subject_key, Bytes::copy_from_slice(&user.to_key()));
    if let Some(hash) = new.password_hash {
        txn.put(PASSWORD, &user.to_key(), text(&hash));
    }
    if let Some(name) = new.display_name {
        profile::set(txn, user, profile::DISPLAYNAME, &serde_json::Value::String(name))?;
    }
    Ok(user)
}

/// Makes an account for a guest.
pub fn create_guest(txn: &mut WriteTxn<'_>, user_id: OwnedUserId, now_ms: u64) -> Result<UserNum, CreateAccountError> {
    let new = NewAccount {
        user_id,
        password_hash: None,
        is_admin: false,
        display_name: None,
        now_ms,
    };
    let user = create(txn, new)?;
    if let Some((standing, row)) = load(txn, user)? {
        store(txn, user, standing.with_guest(true), &row)?;
    }
    Ok(user)
}

/// Makes a guest's account one like others, with a password.
pub fn upgrade_guest(txn: &mut WriteTxn<'_>, user: UserNum, hash: &str) -> Result<(), ChangeAccountError> {
    change(txn, user, |standing| standing.with_guest(false))?;
    set_password_hash(txn, user, hash)
}

/// Whether the account belongs to a guest.
pub fn is_guest(read: &dyn Read, user: UserNum) -> Result<bool, ReadError> {
    Ok(standing(read, user)?.is_some_and(Standing::is_guest))
}

/// What an account may do; `None` if the user has no account here. One read by key.
pub fn standing(read: &dyn Read, user: UserNum) -> Result<Option<Standing>, ReadError> {
    let Some(value) = read.get(ACCOUNT, &user.to_key())? else {
        return Ok(None);
    };
    let byte = value.first().ok_or_else(|| malformed(ACCOUNT, "an empty row"))?;
    Ok(Some(Standing::from_byte(*byte)))
}

/// One account; `None` if the user has no account here.
pub fn one(read: &dyn Read, user: UserNum) -> Result<Option<Account>, ReadError> {
    match read.get(ACCOUNT, &user.to_key())? {
        Some(value) => Ok(Some(parse(read, user, &value)?)),
        None => Ok(None),
    }
}

/// The account behind a user id, with its number.
pub fn by_id(read: &dyn Read, id: &UserId) -> Result<Option<Account>, ReadError> {
    match user::num(read, id)? {
        Some(user) => one(read, user),
        None => Ok(None),
    }
}

/// The user behind (authority, subject).
pub fn by_subject(read: &dyn Read, authority: &str, subject: &str) -> Result<Option<UserNum>, ReadError> {
    match read.get(SUBJECT, &Key::new().str(authority).str(subject))? {
        Some(value) => Ok(Some(UserNum(parse_u32(SUBJECT, &value)?))),
        None => Ok(None),
    }
}

/// Accounts in the order in which their users became known, from `from` (inclusive), at most `limit`.
pub fn list(read: &dyn Read, from: UserNum, limit: usize) -> Result<Vec<Account>, ReadError> {
    let range = KeyRange {
        start: from.to_key().to_vec(),
        end: None,
    };
    let mut accounts = Vec::new();
    for (key, value) in read.rows(ACCOUNT, &range, Order::Ascending, limit)? {
        accounts.push(parse(read, UserNum(parse_u32(ACCOUNT, &key)?), &value)?);
    }
    Ok(accounts)
}

/// Whether there is no account yet.
pub fn is_empty(read: &dyn Read) -> Result<bool, ReadError> {
    Ok(read.first(ACCOUNT, &KeyRange::all(), Order::Ascending)?.is_none())
}

/// The hash of an account's password, a PHC string.
pub fn password_hash(read: &dyn Read, user: UserNum) -> Result<Option<String>, ReadError> {
    match read.get(PASSWORD, &user.to_key())? {
        Some(value) => Ok(Some(parse_text(PASSWORD, &value)?.to_owned())),
        None => Ok(None),
    }
}

/// Why an account could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeAccountError {
    /// The user has no account here: `M_NOT_FOUND`.
    #[error("there is no such account")]
    NoAccount,
    /// The account is deactivated: `M_USER_DEACTIVATED`.
    #[error("this account has been deactivated")]
    Deactivated,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Sets the password's hash. Sessions stay; [`session::close_all`] ends them.
pub fn set_password_hash(txn: &mut WriteTxn<'_>, user: UserNum, hash: &str) -> Result<(), ChangeAccountError> {
    if standing(txn, user)?
        .ok_or(ChangeAccountError::NoAccount)?
        .is_deactivated()
    {
        return Err(ChangeAccountError::Deactivated);
    }
    txn.put(PASSWORD, &user.to_key(), text(hash));
    Ok(())
}

/// Makes somebody an administrator, or no longer one; sessions that are open feel it at their next request.
pub fn set_admin(txn: &mut WriteTxn<'_>, user: UserNum, is_admin: bool) -> Result<(), ChangeAccountError> {
    change(txn, user, |standing| standing.with_admin(is_admin))
}

/// Locks an account: its sessions stay but every request is refused until it is unlocked.
pub fn set_locked(txn: &mut WriteTxn<'_>, user: UserNum, is_locked: bool) -> Result<(), ChangeAccountError> {
    change(txn, user, |standing| standing.with_locked(is_locked))
}

/// Suspends an account: it can read and leave, but neither send nor join.
pub fn set_suspended(txn: &mut WriteTxn<'_>, user: UserNum, is_suspended: bool) -> Result<(), ChangeAccountError> {
    change(txn, user, |standing| standing.with_suspended(is_suspended))
}

/// Deactivates an account: sessions, devices, password, account data and filters go, with `erase` the profile too.
/// The name stays taken. Doing it again does no harm.
///
/// In the same write the caller clears what others keep for the devices that are answered (keys, messages to them);
/// afterwards it makes the user leave their rooms.
pub fn deactivate(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    erase: bool,
) -> Result<Vec<RemovedDevice>, ChangeAccountError> {
    let (standing, mut row) = load(txn, user)?.ok_or(ChangeAccountError::NoAccount)?;
    row.erased |= erase;
    store(txn, user, standing.with_deactivated(true).with_admin(false), &row)?;
    txn.delete(PASSWORD, &user.to_key());
    let devices = session::close_all(txn, user, None)?;
    account_data::forget(txn, user)?;
    filter::forget(txn, user)?;
    openid::forget(txn, user)?;
    if erase {
        profile::forget(txn, user)?;
    }
    txn.touch(Topic::user(user));
    Ok(devices)
}

/// Makes a deactivated account usable again. It has no password until [`set_password_hash`] gives it one.
pub fn reactivate(txn: &mut WriteTxn<'_>, user: UserNum) -> Result<(), ChangeAccountError> {
    let (standing, mut row) = load(txn, user)?.ok_or(ChangeAccountError::NoAccount)?;
    row.erased = false;
    store(txn, user, standing.with_deactivated(false), &row)?;
    Ok(())
}

fn change(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    to: impl FnOnce(Standing) -> Standing,
) -> Result<(), ChangeAccountError> {
    let (standing, row) = load(txn, user)?.ok_or(ChangeAccountError::NoAccount)?;
    if standing.is_deactivated() {
        return Err(ChangeAccountError::Deactivated);
    }
    store(txn, user, to(standing), &row)?;
    // A long poll of somebody who was just locked ends, and its next request is refused.
    txn.touch(Topic::user(user));
    Ok(())
}

fn load(read: &dyn Read, user: UserNum) -> Result<Option<(Standing, AccountRow)>, ReadError> {
    read.get(ACCOUNT, &user.to_key())?
        .map(|value| parse_row(&value))
        .transpose()
}

fn store(txn: &mut WriteTxn<'_>, user: UserNum, standing: Standing, row: &AccountRow) -> Result<(), ReadError> {
    let mut value = vec![standing.to_byte()];
    serde_json::to_writer(&mut value, row).map_err(|error| malformed(ACCOUNT, &error.to_string()))?;
    txn.put(ACCOUNT, &user.to_key(), value);
    Ok(())
}

fn parse_row(value: &[u8]) -> Result<(Standing, AccountRow), ReadError> {
    let (standing, json) = value.split_first().ok_or_else(|| malformed(ACCOUNT, "an empty row"))?;
    let row = serde_json::from_slice(json).map_err(|error| malformed(ACCOUNT, &error.to_string()))?;
    Ok((Standing::from_byte(*standing), row))
}

fn parse(read: &dyn Read, user: UserNum, value: &[u8]) -> Result<Account, ReadError> {
    let (standing, row) = parse_row(value)?;
    Ok(Account {
        user,
        user_id: user::known_id(read, user)?,
        authority: row.authority,
        subject: row.subject,
        created_ms: row.created_ms,
        standing,
        erased: row.erased,
    })
}
