//! `/_synapse/admin/v1/register`: accounts for who knows `registration.shared_secret`, as provisioning scripts make them.
//!
//! A client fetches a nonce and posts it with the new user and an HMAC-SHA1 under the shared secret over
//! `nonce NUL username NUL password NUL admin|notadmin [NUL user_type]`.

use crate::nonce::unhex;
use crate::route::parse;
use crate::{Admin, AdminError};
use aws_lc_rs::hmac;
use http::StatusCode;
use lamchat_accounts::account::{self, CreateAccountError, NewAccount};
use lamchat_accounts::session::{self, NewSession, OpenSessionError};
use lamchat_accounts::token::{NewTokens, generate_device_id};
use lamchat_audit::{Actor, Entry};
use lamchat_base::SecretBytes;
use lamchat_http::Request;
use lamchat_identity::localpart;
use lamchat_store::{ReadError, WriteTxn};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(serde::Deserialize)]
struct Register {
    nonce: String,
    username: String,
    displayname: Option<String>,
    password: String,
    #[serde(default)]
    admin: bool,
    user_type: Option<String>,
    mac: String,
    #[serde(default)]
    inhibit_login: bool,
}

/// `GET`: a nonce.
pub async fn nonce(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    secret(&admin)?;
    Ok(json!({"nonce": admin.nonces.issue(&*admin.entropy, admin.now_ms())}))
}

/// `POST`: makes the account and opens a session for it.
pub async fn register(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let secret = secret(&admin)?;
    let register: Register = parse(&request)?;
    check_mac(&secret, &register)?;
    if register.user_type.as_deref().is_some_and(|kind| !kind.is_empty()) {
        return Err(AdminError::invalid(
            "This server has no user types; leave user_type out",
        ));
    }
    if !admin.nonces.take(&register.nonce, admin.now_ms()) {
        return Err(AdminError::new(
            StatusCode::BAD_REQUEST,
            "M_UNKNOWN",
            "Unrecognised nonce: it is valid once, for 60 seconds",
        ));
    }
    let nonce = register.nonce.clone();
    let made = make(&admin, register).await;
    if made.is_err() {
        admin.nonces.give_back(&nonce);
    }
    made
}

fn secret(admin: &Admin) -> Result<Arc<SecretBytes>, AdminError> {
    admin.shared_secret.load_full().ok_or_else(|| {
        AdminError::new(
            StatusCode::BAD_REQUEST,
            "M_UNKNOWN",
            "Shared secret registration is not enabled: set registration.shared_secret",
        )
    })
}

fn check_mac(secret: &SecretBytes, register: &Register) -> Result<(), AdminError> {
    // A NUL inside a field would let one signed request pass for another.
    if register.username.contains('\0') || register.password.contains('\0') {
        return Err(AdminError::invalid(
            "A NUL is allowed neither in the user name nor in the password",
        ));
    }
    let role = if register.admin { "admin" } else { "notadmin" };
    let mut message = [&*register.nonce, &register.username, &register.password, role].join("\0");
    if let Some(kind) = register.user_type.as_deref().filter(|kind| !kind.is_empty()) {
        message.push('\0');
        message.push_str(kind);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose());
    let mac = unhex(&register.mac).unwrap_or_default();
    hmac::verify(&key, message.as_bytes(), &mac)
        .map_err(|_| AdminError::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", "HMAC incorrect"))
}

async fn make(admin: &Arc<Admin>, register: Register) -> Result<Value, AdminError> {
    let user_id = localpart::user_id(&register.username, &admin.server_name)?;
    let password_hash = Some(admin.passwords.hash(register.password, &*admin.entropy).await?);
    let now_ms = admin.now_ms();
    let (tokens, device_id) = (
        NewTokens::generate(&*admin.entropy),
        generate_device_id(&*admin.entropy),
    );
    let new = NewAccount {
        user_id: user_id.clone(),
        password_hash,
        is_admin: register.admin,
        display_name: register.displayname,
        now_ms,
    };
    let log_in = !register.inhibit_login;
    let entry = Entry::new(now_ms, Actor::SharedSecret, "user.add")
        .subject(&user_id)
        .fact("admin", register.admin)
        .fact("logged_in", log_in);
    let change = move |txn: &mut WriteTxn<'_>| {
        lamchat_audit::append(txn, &entry)?;
        let user = account::create(txn, new)?;
        let new = NewSession {
            user,
            device_id,
            initial_display_name: None,
            refreshable: false,
            tokens,
            now_ms,
        };
        Ok::<_, MakeError>(if log_in { Some(session::open(txn, new)?) } else { None })
    };
    let session = admin.store.write(change).await?;
    tracing::info!(admin = register.admin, "an account was made by shared secret");
    let mut answer = json!({"user_id": user_id, "home_server": admin.server_name});
    if let (Some(session), Some(answer)) = (session, answer.as_object_mut()) {
        answer.insert("access_token".to_owned(), session.access_token.into());
        answer.insert("device_id".to_owned(), session.device_id.as_str().into());
    }
    Ok(answer)
}

/// Why the account was not made.
enum MakeError {
    Create(CreateAccountError),
    Open(OpenSessionError),
}

impl From<CreateAccountError> for MakeError {
    fn from(error: CreateAccountError) -> Self {
        Self::Create(error)
    }
}

impl From<ReadError> for MakeError {
    fn from(error: ReadError) -> Self {
        Self::Create(error.into())
    }
}

impl From<OpenSessionError> for MakeError {
    fn from(error: OpenSessionError) -> Self {
        Self::Open(error)
    }
}

impl From<MakeError> for AdminError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Create(error) => error.into(),
            MakeError::Open(error) => error.into(),
        }
    }
}
