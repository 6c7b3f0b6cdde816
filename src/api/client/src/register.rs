//! Making accounts.

use crate::handler::Stranger;
use crate::limit::Limited;
use crate::{ApiError, App, RegistrationMode, Routes, session, uia};
use http::StatusCode;
use lamchat_accounts::account::{self, CreateAccountError, NewAccount};
use lamchat_accounts::session::NewSession;
use lamchat_accounts::token::NewTokens;
use lamchat_audit::{Actor, Entry};
use lamchat_base::UserNum;
use lamchat_identity::localpart::{self, LocalpartError};
use lamchat_identity::registration_token::{self, ConsumeTokenError};
use lamchat_identity::uia::{Operation, Stage};
use ruma::api::client::account::register::{self, LoginType, RegistrationKind};
use ruma::api::client::account::{check_registration_token_validity, get_username_availability};
use ruma::{OwnedUserId, UserId};
use std::sync::Arc;
use std::time::Duration;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.stranger::<register::v3::Request>(register);
    r.stranger::<get_username_availability::v3::Request>(is_available);
    r.stranger::<check_registration_token_validity::v1::Request>(is_token_valid);
}

async fn register(
    app: Arc<App>,
    stranger: Stranger,
    request: register::v3::Request,
) -> Result<register::v3::Response, ApiError> {
    if request.kind == RegistrationKind::Guest {
        return register_guest(&app, stranger, request).await;
    }
    if request.login_type == Some(LoginType::ApplicationService) {
        return Err(ApiError::forbidden("Application services are not served here"));
    }
    let flows = match app.settings.load().registration_mode {
        RegistrationMode::Closed => return Err(ApiError::forbidden("Accounts here are made by the administrator")),
        RegistrationMode::Token => vec![vec![Stage::RegistrationToken]],
        RegistrationMode::Open => vec![vec![Stage::Dummy]],
    };
    let user_id = match &request.username {
        Some(name) => localpart::user_id(name, &app.server_name)?,
        None => localpart::user_id(&localpart::made_up(&*app.entropy), &app.server_name)?,
    };
    let guest = match &request.guest_access_token {
        Some(token) => Some(guest_of(&app, token, &user_id)?),
        None => None,
    };
    if guest.is_none() {
        refuse_taken(&app, &user_id)?;
    }
    if let Some(password) = &request.password {
        app.passwords.check_strength(password)?;
    }
    if request.auth.is_some() {
        // The first request only asks what is needed and costs next to nothing.
        app.limit(Limited::Registration, stranger.peer)?;
        if request.password.is_none() {
            return Err(ApiError::missing_param("password is missing"));
        }
    }
    let operation = Operation {
        name: "POST /register".to_owned(),
        caller: None,
    };
    let authorized = uia::authorize(&app, operation, flows, request.auth, None).await?;
    let password = request
        .password
        .ok_or_else(|| ApiError::missing_param("password is missing"))?;

    let now_ms = app.now_ms();
    let hash = app.passwords.hash(password, &*app.entropy).await?;
    let mut account = NewAccount {
        user_id,
        password_hash: Some(hash.clone()),
        is_admin: false,
        display_name: None,
        now_ms,
    };
    let mut device = Some(NewDevice {
        device_id: session::device_id_or_new(&app, request.device_id),
        display_name: request.initial_device_display_name,
        refreshable: request.refresh_token,
        tokens: NewTokens::generate(&*app.entropy),
    });
    if request.inhibit_login {
        device = None;
    }
    let user_id = account.user_id.clone();
    let opened = app
        .store
        .write(move |txn| {
            if let Some(token) = &authorized.registration_token {
                account.is_admin = registration_token::consume(txn, token, now_ms)?.makes_admin;
            }
            if account.is_admin {
                let user_id = account.user_id.to_string();
                let entry = Entry::new(now_ms, Actor::User(user_id.clone()), "user.register-admin")
                    .subject(user_id)
                    .fact("logged_in", device.is_some());
                lamchat_audit::append(txn, &entry)?;
            }
            let user = match guest {
                Some(guest) => {
                    account::upgrade_guest(txn, guest, &hash)?;
                    account::set_admin(txn, guest, account.is_admin)?;
                    guest
                }
                None => account::create(txn, account)?,
            };
            match device {
                None => Ok(None),
                Some(device) => Ok::<_, ApiError>(Some(device.open(txn, user, now_ms)?)),
            }
        })
        .await?;

    let mut response = register::v3::Response::new(user_id);
    if let Some(opened) = opened {
        response.access_token = Some(opened.access_token);
        response.device_id = Some(opened.device_id);
        response.refresh_token = opened.refresh_token;
        response.expires_in = opened.expires_in_ms.map(Duration::from_millis);
    }
    Ok(response)
}

/// "When registering a guest account, all parameters in the request body with the exception of `initial_device_display_name`
/// MUST BE ignored by the server. The server MUST pick a `device_id` for the account regardless of input."
async fn register_guest(
    app: &App,
    stranger: Stranger,
    request: register::v3::Request,
) -> Result<register::v3::Response, ApiError> {
    if !app.settings.load().guests {
        return Err(ApiError::guest());
    }
    app.limit(Limited::Registration, stranger.peer)?;
    let user_id = localpart::user_id(&localpart::made_up(&*app.entropy), &app.server_name)?;
    let device = NewDevice {
        device_id: session::device_id_or_new(app, None),
        display_name: request.initial_device_display_name,
        refreshable: false,
        tokens: NewTokens::generate(&*app.entropy),
    };
    let now_ms = app.now_ms();
    let opened = app
        .store
        .write(move |txn| {
            let user = account::create_guest(txn, user_id, now_ms)?;
            Ok::<_, ApiError>(device.open(txn, user, now_ms)?)
        })
        .await?;
    let mut response = register::v3::Response::new(opened.user_id);
    response.access_token = Some(opened.access_token);
    response.device_id = Some(opened.device_id);
    Ok(response)
}

/// The guest who wants to keep what they did under a name and password: "Guest users can also upgrade their account by going
/// through the ordinary `register` flow, but specifying the additional POST parameter `guest_access_token`".
fn guest_of(app: &App, token: &str, user_id: &UserId) -> Result<UserNum, ApiError> {
    let session = lamchat_accounts::session::authenticate(&app.store.read(), token, app.now_ms())?;
    if session.is_guest && session.user_id == *user_id {
        Ok(session.user)
    } else {
        Err(ApiError::forbidden(
            "This is not the access token of a guest with that name",
        ))
    }
}

/// What a new account logs in with at once.
struct NewDevice {
    device_id: ruma::OwnedDeviceId,
    display_name: Option<String>,
    refreshable: bool,
    tokens: NewTokens,
}

impl NewDevice {
    fn open(
        self,
        txn: &mut lamchat_store::WriteTxn<'_>,
        user: lamchat_base::UserNum,
        now_ms: u64,
    ) -> Result<lamchat_accounts::session::OpenedSession, lamchat_accounts::session::OpenSessionError> {
        let new = NewSession {
            user,
            device_id: self.device_id,
            initial_display_name: self.display_name,
            refreshable: self.refreshable,
            tokens: self.tokens,
            now_ms,
        };
        lamchat_accounts::session::open(txn, new)
    }
}

fn refuse_taken(app: &App, user_id: &OwnedUserId) -> Result<(), ApiError> {
    match account::by_id(&app.store.read(), user_id)? {
        Some(_) => Err(CreateAccountError::InUse.into()),
        None => Ok(()),
    }
}

async fn is_available(
    app: Arc<App>,
    stranger: Stranger,
    request: get_username_availability::v3::Request,
) -> Result<get_username_availability::v3::Response, ApiError> {
    app.limit(Limited::Other, stranger.peer)?;
    let user_id = localpart::user_id(&request.username, &app.server_name)?;
    refuse_taken(&app, &user_id)?;
    Ok(get_username_availability::v3::Response::new(true))
}

async fn is_token_valid(
    app: Arc<App>,
    stranger: Stranger,
    request: check_registration_token_validity::v1::Request,
) -> Result<check_registration_token_validity::v1::Response, ApiError> {
    app.limit(Limited::Registration, stranger.peer)?;
    if app.settings.load().registration_mode == RegistrationMode::Closed {
        return Err(ApiError::forbidden("Accounts here are made by the administrator"));
    }
    let now_ms = app.now_ms();
    let pending = app.uia.pending(&request.token, now_ms);
    let token = registration_token::one(&app.store.read(), &request.token)?;
    let is_valid = token.is_some_and(|token| token.is_valid(pending, now_ms));
    Ok(check_registration_token_validity::v1::Response::new(is_valid))
}

impl From<LocalpartError> for ApiError {
    fn from(error: LocalpartError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_USERNAME", error.to_string())
    }
}

impl From<CreateAccountError> for ApiError {
    fn from(error: CreateAccountError) -> Self {
        match error {
            CreateAccountError::InUse => Self::new(StatusCode::BAD_REQUEST, "M_USER_IN_USE", error.to_string()),
            CreateAccountError::Profile(error) => error.into(),
            CreateAccountError::Read(error) => error.into(),
        }
    }
}

impl From<ConsumeTokenError> for ApiError {
    fn from(error: ConsumeTokenError) -> Self {
        match error {
            ConsumeTokenError::Invalid => Self::forbidden(error.to_string()),
            ConsumeTokenError::Read(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
