//! Trading a refresh token for new tokens.
//!
//! The answer may get lost, so the old pair stays usable until the client shows that it has the new one:
//! by using the new access token ([`super::note_use`]) or the new refresh token (here).

use super::{ACCESS_TOKEN_LIFETIME_MS, SessionRow};
use crate::account;
use crate::device::{DeviceRow, PreviousTokens};
use crate::row::{malformed, parse_text};
use crate::tables::{REFRESH, SESSION};
use crate::token::{NewTokens, TOKEN_BYTES_MAX, TokenHash};
use crate::user;
use lamchat_base::UserNum;
use lamchat_store::{Bytes, Read, ReadError, WriteTxn};
use ruma::{DeviceId, OwnedDeviceId};

/// New tokens for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// The new access token.
    pub access_token: String,
    /// The new refresh token.
    pub refresh_token: String,
    /// In how many ms the access token expires.
    pub expires_in_ms: u64,
}

/// Why a refresh token gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// No such token, or it was revoked: `M_UNKNOWN_TOKEN`.
    #[error("the refresh token is not known; log in again")]
    Unknown,
    /// The account is locked: `M_USER_LOCKED` with `soft_logout: true`.
    #[error("this account is locked")]
    Locked,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Trades a refresh token for new tokens of the same device.
pub fn refresh(txn: &mut WriteTxn<'_>, token: &str, tokens: NewTokens, now_ms: u64) -> Result<Refreshed, RefreshError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(RefreshError::Unknown);
    }
    let presented = TokenHash::of(token);
    let (user, device_id) = load_token(txn, &presented)?.ok_or(RefreshError::Unknown)?;
    let standing = account::standing(txn, user)?.ok_or_else(|| malformed(REFRESH, "a token without an account"))?;
    if standing.is_deactivated() {
        return Err(RefreshError::Unknown);
    }
    if standing.is_locked() {
        return Err(RefreshError::Locked);
    }
    let mut device =
        DeviceRow::load(txn, user, &device_id)?.ok_or_else(|| malformed(REFRESH, "a token without a device"))?;

    if device.refresh == Some(presented) {
        // The newest refresh token is used, so its client has it: what came before it ends now.
        revoke_previous(txn, &mut device);
        device.previous = Some(PreviousTokens {
            access: device.access,
            refresh: presented,
        });
    } else if device
        .previous
        .as_ref()
        .is_some_and(|previous| previous.refresh == presented)
    {
        // The client never got the answer to its last refresh: nobody has those tokens, they end unused.
        txn.delete(SESSION, device.access.as_key());
        if let Some(unused) = device.refresh {
            txn.delete(REFRESH, unused.as_key());
        }
    } else {
        return Err(malformed(REFRESH, "a token that its device does not know").into());
    }

    device.access = TokenHash::of(&tokens.access);
    let refresh = TokenHash::of(&tokens.refresh);
    device.refresh = Some(refresh);
    device.store(txn, user, &device_id)?;
    SessionRow {
        is_unconfirmed: true,
        user,
        device: device.num,
        expires_at_ms: now_ms.saturating_add(ACCESS_TOKEN_LIFETIME_MS),
        last_seen_ms: now_ms,
        user_id: user::known_id(txn, user)?,
        device_id: device_id.clone(),
    }
    .store(txn, &device.access);
    store_token(txn, &refresh, user, &device_id);
    Ok(Refreshed {
        access_token: tokens.access,
        refresh_token: tokens.refresh,
        expires_in_ms: ACCESS_TOKEN_LIFETIME_MS,
    })
}

/// Ends the tokens that the last refresh replaced.
pub(super) fn revoke_previous(txn: &mut WriteTxn<'_>, device: &mut DeviceRow) {
    if let Some(previous) = device.previous.take() {
        txn.delete(SESSION, previous.access.as_key());
        txn.delete(REFRESH, previous.refresh.as_key());
    }
}

/// Writes the row of a refresh token.
pub(super) fn store_token(txn: &mut WriteTxn<'_>, token: &TokenHash, user: UserNum, device_id: &DeviceId) {
    let mut value = user.to_key().to_vec();
    value.extend_from_slice(device_id.as_bytes());
    txn.put(REFRESH, token.as_key(), Bytes::from(value));
}

fn load_token(read: &dyn Read, token: &TokenHash) -> Result<Option<(UserNum, OwnedDeviceId)>, ReadError> {
    let Some(value) = read.get(REFRESH, token.as_key())? else {
        return Ok(None);
    };
    let (user, device_id) = value
        .split_first_chunk::<4>()
        .ok_or_else(|| malformed(REFRESH, "shorter than a user number"))?;
    let device_id = OwnedDeviceId::from(parse_text(REFRESH, device_id)?);
    Ok(Some((UserNum(u32::from_be_bytes(*user)), device_id)))
}
