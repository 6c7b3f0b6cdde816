//! Logging in and out, and refreshing.

use crate::limit::Limited;
use crate::wire::{body, check_json, into_response};
use crate::{ApiError, App, Routes, Session, device};
use http::{Method, StatusCode};
use lamchat_accounts::account;
use lamchat_accounts::session::{self, NewSession, OpenSessionError, OpenedSession, RefreshError};
use lamchat_accounts::token::{NewTokens, generate_device_id};
use lamchat_audit::{Actor, Entry};
use lamchat_http::{Request, Response};
use lamchat_keys::cross_signing;
use lamchat_store::WriteTxn;
use ruma::api::client::session::{get_login_types, login, logout, logout_all, refresh_token};
use ruma::api::client::uiaa::UserIdentifier;
use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.open::<get_login_types::v3::Request>(login_types);
    r.raw_open(Method::POST, "/_matrix/client/v3/login", log_in);
    r.open::<refresh_token::v3::Request>(refresh);
    r.session_even_locked::<logout::v3::Request>(log_out);
    r.session_even_locked::<logout_all::v3::Request>(log_out_everywhere);
}

async fn login_types(
    _app: Arc<App>,
    _request: get_login_types::v3::Request,
) -> Result<get_login_types::v3::Response, ApiError> {
    use get_login_types::v3::{LoginType, PasswordLoginType, Response};
    Ok(Response::new(vec![LoginType::Password(PasswordLoginType::new())]))
}

/// The body of a login. ruma's own type indexes into what the client sent, so it is not used for reading.
#[derive(Deserialize)]
struct Login {
    #[serde(rename = "type")]
    login_type: String,
    identifier: Option<UserIdentifier>,
    /// "Deprecated in favour of identifier" (Matrix r0.4.0); still sent.
    user: Option<String>,
    password: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    refresh_token: bool,
}

async fn log_in(app: Arc<App>, mut request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::LoginByAddress, request.peer)?;
    let bytes = body(&mut request).await?;
    check_json(&bytes)?;
    let login: Login = serde_json::from_slice(&bytes)?;
    if login.login_type != "m.login.password" {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "M_UNKNOWN",
            "This kind of login is not offered here",
        ));
    }
    let password = login
        .password
        .ok_or_else(|| ApiError::missing_param("password is missing"))?;
    let name = match (login.identifier, login.user) {
        (Some(UserIdentifier::Matrix(identifier)), _) => identifier.user,
        // Nobody has an address or a telephone number here, so none of them is right.
        (Some(UserIdentifier::Email(_) | UserIdentifier::Msisdn(_) | UserIdentifier::PhoneNumber(_)), _) => {
            return Err(wrong_credentials());
        }
        (Some(_), _) => {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "M_UNKNOWN",
                "This kind of identifier is not known here",
            ));
        }
        (None, Some(name)) => name,
        (None, None) => return Err(ApiError::missing_param("identifier is missing")),
    };
    let user_id = user_of(&app, &name).ok_or_else(wrong_credentials)?;
    let is_right = check_password(&app, &user_id, password).await?;
    let account = account::by_id(&app.store.read(), &user_id)?;
    if account
        .as_ref()
        .is_some_and(|account| account.standing.is_deactivated())
    {
        return Err(OpenSessionError::Deactivated.into());
    }
    let Some(account) = account.filter(|_| is_right) else {
        return Err(wrong_credentials());
    };

    let new = NewSession {
        user: account.user,
        device_id: device_id_or_new(&app, login.device_id),
        initial_display_name: login.initial_device_display_name,
        refreshable: login.refresh_token,
        tokens: NewTokens::generate(&*app.entropy),
        now_ms: app.now_ms(),
    };
    let opened = move |txn: &mut WriteTxn<'_>| -> Result<OpenedSession, ApiError> {
        // "Servers therefore must ensure that device IDs will not collide with cross-signing public keys."
        if cross_signing::is_public_key(txn, new.user, new.device_id.as_str())? {
            return Err(ApiError::invalid_param(
                "The device id is one of your cross-signing keys: choose another",
            ));
        }
        Ok(open(txn, new)?)
    };
    let opened = app.store.write(opened).await?;
    into_response(login_response(&app, opened))
}

/// Opens a session; that of an administrator is an entry of the audit log. Sessions of others are nobody's business.
fn open(txn: &mut WriteTxn<'_>, new: NewSession) -> Result<OpenedSession, OpenSessionError> {
    let now_ms = new.now_ms;
    let is_admin = account::standing(txn, new.user)?.is_some_and(|standing| standing.is_admin());
    let opened = session::open(txn, new)?;
    if is_admin {
        let actor = Actor::User(opened.user_id.to_string());
        let entry = Entry::new(now_ms, actor, "admin.login").fact("device", &opened.device_id);
        lamchat_audit::append(txn, &entry)?;
    }
    Ok(opened)
}

/// "Both the access token and device_id … home_server: Clients should extract the server_name from user_id instead."
#[expect(deprecated, reason = "older clients still read home_server")]
fn login_response(app: &App, opened: OpenedSession) -> login::v3::Response {
    use login::v3::{DiscoveryInfo, HomeserverInfo};
    let mut response = login::v3::Response::new(opened.user_id, opened.access_token, opened.device_id);
    response.home_server = Some(app.server_name.clone());
    response.refresh_token = opened.refresh_token;
    response.expires_in = opened.expires_in_ms.map(Duration::from_millis);
    let base_url = app.settings.load().public_baseurl.clone();
    response.well_known = base_url.map(|base_url| DiscoveryInfo::new(HomeserverInfo::new(base_url)));
    response
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

fn wrong_credentials() -> ApiError {
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
