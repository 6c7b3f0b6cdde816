//! Sessions: who an access token stands for, opening them, refreshing them, ending them.
//!
//! A device has one session. Row of `accounts.session`, keyed by the SHA-256 of the access token, big-endian:
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 1 | flags: 1 made by a refresh and not used yet |
//! | 4 | user number |
//! | 4 | device number |
//! | 8 | expires at, ms; 0 never |
//! | 8 | last seen, ms |
//! | 2 | length of the user id, then the user id |
//! | rest | device id |

mod refresh;
mod row;
#[cfg(test)]
mod tests;

pub use refresh::{RefreshError, Refreshed, refresh};
pub(crate) use row::SessionRow;

use crate::account;
use crate::device::{self, DeviceRow, RemovedDevice};
use crate::row::{malformed, next_number};
use crate::tables::{REFRESH, SESSION};
use crate::token::{NewTokens, TOKEN_BYTES_MAX, TokenHash};
use crate::user;
use lamchat_base::{DeviceNum, UserNum};
use lamchat_store::{Read, ReadError, WriteTxn};
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId};

/// How long an access token of a client with refresh tokens lives.
pub const ACCESS_TOKEN_LIFETIME_MS: u64 = 60 * 60 * 1000;
/// When a device was last seen is written at most this often.
pub const LAST_SEEN_INTERVAL_MS: u64 = 5 * 60 * 1000;
/// Most devices of one account; the next login is refused.
pub const DEVICES_MAX: usize = 10_000;

/// Who sends a request, as its access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The user's number.
    pub user: UserNum,
    /// The user's id.
    pub user_id: OwnedUserId,
    /// The device's number, never reused.
    pub device: DeviceNum,
    /// The device's id.
    pub device_id: OwnedDeviceId,
    /// Whether the account may administer the exchange.
    pub is_admin: bool,
    /// Whether the account may only read and leave (`M_USER_SUSPENDED`).
    pub is_suspended: bool,
    /// Whether the account is a guest's.
    pub is_guest: bool,
    token: TokenHash,
    is_unconfirmed: bool,
    last_seen_ms: u64,
}

impl Session {
    /// Whether [`note_use`] **must be committed before the request is carried out**: this is the first use of a token
    /// that a refresh made, and ends the refresh token before it.
    pub fn must_confirm(&self) -> bool {
        self.is_unconfirmed
    }

    /// Whether [`note_use`] is due to record that the device was seen; nobody needs to wait for it.
    pub fn is_last_seen_due(&self, now_ms: u64) -> bool {
        now_ms >= self.last_seen_ms.saturating_add(LAST_SEEN_INTERVAL_MS)
    }
}

/// Why a token stands for nobody.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticateError {
    /// No such token, or its session was ended: `M_UNKNOWN_TOKEN`.
    #[error("the access token is not known; log in again")]
    Unknown,
    /// The token's time is over: `M_UNKNOWN_TOKEN` with `soft_logout: true`; the client refreshes or logs in again
    /// to the same device.
    #[error("the access token has expired; refresh it or log in again")]
    Expired,
    /// The account is locked: `M_USER_LOCKED` with `soft_logout: true`.
    #[error("this account is locked")]
    Locked,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Who `token` stands for. Costs one hash and two reads by key; it is done for each request.
pub fn authenticate(read: &dyn Read, token: &str, now_ms: u64) -> Result<Session, AuthenticateError> {
    let (session, standing) = find(read, token, now_ms)?;
    if standing.is_locked() {
        return Err(AuthenticateError::Locked);
    }
    session.ok_or(AuthenticateError::Expired)
}

/// Like [`authenticate`], and a locked account may too: for logging out only.
pub fn authenticate_even_locked(read: &dyn Read, token: &str, now_ms: u64) -> Result<Session, AuthenticateError> {
    find(read, token, now_ms)?.0.ok_or(AuthenticateError::Expired)
}

/// The session of a token and the standing of its account; no session if the token has expired.
fn find(read: &dyn Read, token: &str, now_ms: u64) -> Result<(Option<Session>, account::Standing), AuthenticateError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(AuthenticateError::Unknown);
    }
    let token = TokenHash::of(token);
    let Some(row) = SessionRow::load(read, &token)? else {
        return Err(AuthenticateError::Unknown);
    };
    let standing =
        account::standing(read, row.user)?.ok_or_else(|| malformed(SESSION, "a session without an account"))?;
    if standing.is_deactivated() {
        return Err(AuthenticateError::Unknown);
    }
    if row.expires_at_ms != 0 && now_ms >= row.expires_at_ms {
        return Ok((None, standing));
    }
    let session = Session {
        user: row.user,
        user_id: row.user_id,
        device: row.device,
        device_id: row.device_id,
        is_admin: standing.is_admin(),
        is_suspended: standing.is_suspended(),
        is_guest: standing.is_guest(),
        token,
        is_unconfirmed: row.is_unconfirmed,
        last_seen_ms: row.last_seen_ms,
    };
    Ok((Some(session), standing))
}

/// Records that a session was used: when, and that a token made by a refresh has reached its client.
/// Does nothing if another request recorded it already, or if the session has ended meanwhile.
pub fn note_use(txn: &mut WriteTxn<'_>, session: &Session, now_ms: u64) -> Result<(), ReadError> {
    let Some(mut row) = SessionRow::load(txn, &session.token)? else {
        return Ok(());
    };
    let was_unconfirmed = row.is_unconfirmed;
    if !was_unconfirmed && now_ms < row.last_seen_ms.saturating_add(LAST_SEEN_INTERVAL_MS) {
        return Ok(());
    }
    row.is_unconfirmed = false;
    row.last_seen_ms = row.last_seen_ms.max(now_ms);
    row.store(txn, &session.token);
    if was_unconfirmed
        && let Some(mut device) = DeviceRow::load(txn, row.user, &row.device_id)?
        && device.access == session.token
    {
        // "The old refresh token remains valid until the new access token or refresh token is used, at which point
        // the old refresh token is revoked." (Matrix 1.16, POST /refresh)
        refresh::revoke_previous(txn, &mut device);
        device.store(txn, row.user, &row.device_id)?;
    }
    Ok(())
}

/// What [`open`] needs to know.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Whose session.
    pub user: UserNum,
    /// On which device: an existing one gets new tokens, an unknown one is made.
    /// [`crate::token::generate_device_id`] makes one for clients that name none.
    pub device_id: OwnedDeviceId,
    /// Display name for the device if it is a new one.
    pub initial_display_name: Option<String>,
    /// Whether the client can refresh: only then the access token expires.
    pub refreshable: bool,
    /// The tokens, made beforehand.
    pub tokens: NewTokens,
    /// The time.
    pub now_ms: u64,
}

/// A session that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedSession {
    /// The user's id.
    pub user_id: OwnedUserId,
    /// The device's number.
    pub device: DeviceNum,
    /// The device's id.
    pub device_id: OwnedDeviceId,
    /// The access token.
    pub access_token: String,
    /// The refresh token, if the client can refresh.
    pub refresh_token: Option<String>,
    /// In how many ms the access token expires; `None`: never.
    pub expires_in_ms: Option<u64>,
}

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenSessionError {
    /// There is no account: `M_FORBIDDEN`.
    #[error("there is no such account")]
    NoAccount,
    /// The account is deactivated: `M_USER_DEACTIVATED`.
    #[error("this account has been deactivated")]
    Deactivated,
    /// The account is locked: `M_USER_LOCKED`.
    #[error("this account is locked")]
    Locked,
    /// The device id is empty or longer than 255 bytes: `M_INVALID_PARAM`.
    #[error("a device id has between 1 and 255 bytes")]
    DeviceId,
    /// The account has [`DEVICES_MAX`] devices: `M_RESOURCE_LIMIT_EXCEEDED`.
    #[error("this account has too many devices; remove some first")]
    TooManyDevices,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Opens a session. Logging in to a device that exists replaces its tokens and keeps its number, name and keys.
pub fn open(txn: &mut WriteTxn<'_>, new: NewSession) -> Result<OpenedSession, OpenSessionError> {
    let standing = account::standing(txn, new.user)?.ok_or(OpenSessionError::NoAccount)?;
    if standing.is_deactivated() {
        return Err(OpenSessionError::Deactivated);
    }
    if standing.is_locked() {
        return Err(OpenSessionError::Locked);
    }
    if new.device_id.as_str().is_empty() || new.device_id.as_str().len() > lamchat_base::limits::ID_BYTES_MAX {
        return Err(OpenSessionError::DeviceId);
    }
    let user_id = user::known_id(txn, new.user)?;
    let access = TokenHash::of(&new.tokens.access);
    let refresh = new.refreshable.then(|| TokenHash::of(&new.tokens.refresh));
    let device = match DeviceRow::load(txn, new.user, &new.device_id)? {
        Some(mut device) => {
            // "If the device ID is known, the server will invalidate any access and refresh tokens previously
            // assigned to the device." (Matrix 1.16, "Relationship between access tokens and devices")
            device.delete_tokens(txn);
            device.access = access;
            device.refresh = refresh;
            device
        }
        None => {
            if device::count(txn, new.user, DEVICES_MAX)? >= DEVICES_MAX {
                return Err(OpenSessionError::TooManyDevices);
            }
            let num = DeviceNum(next_number(txn, "device")?);
            DeviceRow::new(
                num,
                device::clip_display_name(new.initial_display_name),
                new.now_ms,
                access,
                refresh,
            )
        }
    };
    device.store(txn, new.user, &new.device_id)?;
    let expires_in_ms = new.refreshable.then_some(ACCESS_TOKEN_LIFETIME_MS);
    SessionRow {
        is_unconfirmed: false,
        user: new.user,
        device: device.num,
        expires_at_ms: expires_in_ms.map_or(0, |lifetime| new.now_ms.saturating_add(lifetime)),
        last_seen_ms: new.now_ms,
        user_id: user_id.clone(),
        device_id: new.device_id.clone(),
    }
    .store(txn, &access);
    if let Some(refresh) = &refresh {
        refresh::store_token(txn, refresh, new.user, &new.device_id);
    }
    Ok(OpenedSession {
        user_id,
        device: device.num,
        device_id: new.device_id,
        access_token: new.tokens.access,
        refresh_token: new.refreshable.then_some(new.tokens.refresh),
        expires_in_ms,
    })
}

/// Ends the session of one device and removes the device. The caller removes what others keep under its number
/// (keys, messages to it) in the same write.
pub fn close(txn: &mut WriteTxn<'_>, user: UserNum, device_id: &DeviceId) -> Result<Option<RemovedDevice>, ReadError> {
    device::remove(txn, user, device_id)
}

/// Ends all sessions of a user, except the one on `keep`. The caller clears what others keep under the numbers.
pub fn close_all(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    keep: Option<&DeviceId>,
) -> Result<Vec<RemovedDevice>, ReadError> {
    let mut removed = Vec::new();
    for device in device::all(txn, user)? {
        if keep != Some(&*device.id)
            && let Some(device) = device::remove(txn, user, &device.id)?
        {
            removed.push(device);
        }
    }
    Ok(removed)
}

impl DeviceRow {
    /// Removes every token of the device, the ones that a refresh has replaced included.
    pub(crate) fn delete_tokens(&mut self, txn: &mut WriteTxn<'_>) {
        txn.delete(SESSION, self.access.as_key());
        if let Some(refresh) = self.refresh.take() {
            txn.delete(REFRESH, refresh.as_key());
        }
        refresh::revoke_previous(txn, self);
    }
}
