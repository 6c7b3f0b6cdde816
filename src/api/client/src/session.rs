//! Refreshing and logging out, and what logging in shares with registering.

use crate::limit::Limited;
use crate::{ApiError, App, Routes, Session, device};
use http::StatusCode;
use lamchat_accounts::account;
use lamchat_accounts::session::{self, OpenSessionError, RefreshError};
use lamchat_accounts::token::{NewTokens, generate_device_id};
use ruma::api::client::session::{logout, logout_all, refresh_token};
use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use std::sync::Arc;
use std::time::Duration;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.open::<refresh_token::v3::Request>(refresh);
    r.session_even_locked::<logout::v3::Request>(log_out);
    r.session_even_locked::<logout_all::v3::Request>(log_out_everywhere);
}

/// The device that a client names, or a new one.
pub(crate) fn device_id_or_new(app: &App, device_id: Option<OwnedDeviceId>) -> OwnedDeviceId {
    device_id.unwrap_or_else(|| generate_device_id(&*app.entropy))
}

/// The local user whom a name means: a localpart or a whole user id. Names here have no capitals.
pub(crate) fn user_of(app: &App, name: &str) -> Option<OwnedUserId> {
    let name = name.to_ascii_lowercase();
    let user_id = if name.starts_with('@') {
        UserId::parse(&name).ok()?
    } else {
        UserId::parse(format!("@{name}:{}", app.server_name)).ok()?
    };
    (user_id.server_name() == app.server_name).then_some(user_id)
}

/// Whether `password` is the user's. Wrong ones are counted by user, whether or not there is such a user; takes as long
/// either way.
pub(crate) async fn check_password(app: &App, user_id: &UserId, password: String) -> Result<bool, ApiError> {
    // Taken before the comparison, so that many at once do not get more tries; given back if the password is right.
    app.limit(Limited::LoginByAccount, user_id.as_str())?;
    let hash = {
        let read = app.store.read();
        match account::by_id(&read, user_id)? {
            Some(account) => account::password_hash(&read, account.user)?,
            None => None,
        }
    };
    let is_right = app.passwords.verify(password, hash).await?;
    if is_right {
        app.give_back(Limited::LoginByAccount, user_id.as_str());
    }
    Ok(is_right)
}

pub(crate) fn wrong_credentials() -> ApiError {
    ApiError::forbidden("The user name or the password is wrong")
}

async fn refresh(app: Arc<App>, request: refresh_token::v3::Request) -> Result<refresh_token::v3::Response, ApiError> {
    let (tokens, now_ms) = (NewTokens::generate(&*app.entropy), app.now_ms());
    let refreshed = app
        .store
        .write(move |txn| session::refresh(txn, &request.refresh_token, tokens, now_ms))
        .await?;
    let mut response = refresh_token::v3::Response::new(refreshed.access_token);
    response.refresh_token = Some(refreshed.refresh_token);
    response.expires_in_ms = Some(Duration::from_millis(refreshed.expires_in_ms));
    Ok(response)
}

async fn log_out(app: Arc<App>, session: Session, _: logout::v3::Request) -> Result<logout::v3::Response, ApiError> {
    app.store
        .write(move |txn| device::remove(txn, session.user, &session.device_id))
        .await?;
    Ok(logout::v3::Response::new())
}

async fn log_out_everywhere(
    app: Arc<App>,
    session: Session,
    _: logout_all::v3::Request,
) -> Result<logout_all::v3::Response, ApiError> {
    app.store
        .write(move |txn| device::remove_all(txn, session.user, None))
        .await?;
    Ok(logout_all::v3::Response::new())
}

impl From<OpenSessionError> for ApiError {
    fn from(error: OpenSessionError) -> Self {
        match error {
            OpenSessionError::NoAccount => wrong_credentials(),
            OpenSessionError::Deactivated => Self::new(StatusCode::FORBIDDEN, "M_USER_DEACTIVATED", error.to_string()),
            OpenSessionError::Locked => Self::locked(),
            OpenSessionError::DeviceId => Self::invalid_param(error.to_string()),
            OpenSessionError::TooManyDevices => {
                Self::new(StatusCode::FORBIDDEN, "M_RESOURCE_LIMIT_EXCEEDED", error.to_string())
            }
            OpenSessionError::Read(error) => error.into(),
        }
    }
}

impl From<RefreshError> for ApiError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Unknown => Self::unknown_token(false),
            RefreshError::Locked => Self::locked(),
            RefreshError::Read(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
