//! Logging in: by password, or by a token that another client of the user's got.

use crate::limit::Limited;
use crate::session::{check_password, device_id_or_new, user_of, wrong_credentials};
use crate::wire::{body, check_json, into_response};
use crate::{ApiError, App, Routes, Session, uia};
use http::{Method, StatusCode};
use lamchat_accounts::account;
use lamchat_accounts::session::{self, NewSession, OpenSessionError, OpenedSession};
use lamchat_accounts::token::NewTokens;
use lamchat_audit::{Actor, Entry};
use lamchat_base::UserNum;
use lamchat_http::{Request, Response};
use lamchat_identity::login_token::LIFETIME_MS;
use lamchat_keys::cross_signing;
use lamchat_store::WriteTxn;
use ruma::OwnedDeviceId;
use ruma::api::client::session::{get_login_token, get_login_types, login};
use ruma::api::client::uiaa::UserIdentifier;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.open::<get_login_types::v3::Request>(login_types);
    r.raw_open(Method::POST, "/_matrix/client/v3/login", log_in);
    r.session::<get_login_token::v1::Request>(get_token);
    for path in [
        "/_matrix/client/v3/login/sso/redirect",
        "/_matrix/client/v3/login/sso/redirect/{idp_id}",
    ] {
        r.raw_open(Method::GET, path, no_single_sign_on);
    }
}

async fn login_types(
    _app: Arc<App>,
    _request: get_login_types::v3::Request,
) -> Result<get_login_types::v3::Response, ApiError> {
    use get_login_types::v3::{LoginType, PasswordLoginType, Response, TokenLoginType};
    let mut token = TokenLoginType::new();
    token.get_login_token = true;
    Ok(Response::new(vec![
        LoginType::Password(PasswordLoginType::new()),
        LoginType::Token(token),
    ]))
}

/// The body of a login. ruma's own type indexes into what the client sent, so it is not used for reading.
#[derive(Deserialize)]
struct Login {
    #[serde(rename = "type")]
    login_type: String,
    identifier: Option<UserIdentifier>,
    /// "Deprecated in favour of identifier" (Matrix r0.4.0); still sent.
    user: Option<String>,
    /// "Third-party identifier for the user. Deprecated in favour of identifier".
    address: Option<String>,
    password: Option<String>,
    /// "Required when `type` is `m.login.token`."
    token: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    refresh_token: bool,
}

async fn log_in(app: Arc<App>, mut request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::LoginByAddress, request.peer)?;
    let bytes = body(&mut request).await?;
    check_json(&bytes)?;
    let mut login: Login = serde_json::from_slice(&bytes)?;
    let user = match login.login_type.as_str() {
        "m.login.password" => by_password(&app, &mut login).await?,
        "m.login.token" => by_token(&app, login.token.take())?,
        _ => {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "M_UNKNOWN",
                "This kind of login is not offered here",
            ));
        }
    };
    let new = NewSession {
        user,
        device_id: device_id_or_new(&app, login.device_id),
        initial_display_name: login.initial_device_display_name,
        refreshable: login.refresh_token,
        tokens: NewTokens::generate(&*app.entropy),
        now_ms: app.now_ms(),
    };
    let opened = move |txn: &mut WriteTxn<'_>| -> Result<OpenedSession, ApiError> {
        // "Servers therefore must ensure that device IDs will not collide with cross-signing public keys."
        if cross_signing::is_public_key(txn, new.user, new.device_id.as_str())? {
            return Err(ApiError::forbidden(
                "The device id is one of your cross-signing keys: choose another",
            ));
        }
        Ok(open(txn, new)?)
    };
    let opened = app.store.write(opened).await?;
    into_response(login_response(&app, opened))
}

/// Whose name and password these are.
async fn by_password(app: &App, login: &mut Login) -> Result<UserNum, ApiError> {
    let password = login
        .password
        .take()
        .ok_or_else(|| ApiError::missing_param("password is missing"))?;
    let name = match (login.identifier.take(), login.user.take()) {
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
        (None, None) if login.address.is_some() => return Err(wrong_credentials()),
        (None, None) => return Err(ApiError::missing_param("identifier is missing")),
    };
    let user_id = user_of(app, &name).ok_or_else(wrong_credentials)?;
    let is_right = check_password(app, &user_id, password).await?;
    let account = account::by_id(&app.store.read(), &user_id)?;
    if account
        .as_ref()
        .is_some_and(|account| account.standing.is_deactivated())
    {
        return Err(OpenSessionError::Deactivated.into());
    }
    let account = account.filter(|_| is_right).ok_or_else(wrong_credentials)?;
    Ok(account.user)
}

/// Whose token this is. It is used up, whatever becomes of the login: "The generated token MUST only be valid for a single
/// login".
fn by_token(app: &App, token: Option<String>) -> Result<UserNum, ApiError> {
    let token = token.ok_or_else(|| ApiError::missing_param("token is missing"))?;
    let user = app.login_tokens.redeem(&token, app.now_ms());
    user.ok_or_else(|| ApiError::forbidden("The login token is unknown, was used or has expired"))
}

/// "An already-authenticated client can call this endpoint to generate a single-use, time-limited, token for an unauthenticated
/// client to log in with". "servers MUST always re-prompt the user for verification": a session of user-interactive
/// authentication is good for one request.
async fn get_token(
    app: Arc<App>,
    session: Session,
    request: get_login_token::v1::Request,
) -> Result<get_login_token::v1::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    uia::confirm(&app, &session, "POST /login/get_token", request.auth).await?;
    let token = app.login_tokens.issue(session.user, &*app.entropy, app.now_ms());
    let lifetime = Duration::from_millis(LIFETIME_MS);
    Ok(get_login_token::v1::Response::new(lifetime, token))
}

/// There is no single sign-on, and no login type says that there is: whoever comes here all the same reads why.
async fn no_single_sign_on(_app: Arc<App>, _request: Request) -> Result<Response, ApiError> {
    Err(ApiError::not_found(
        "There is no single sign-on here: log in with a password",
    ))
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

#[cfg(test)]
mod tests;
