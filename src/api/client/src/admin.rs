//! What administrators may do with an ordinary client: look a user up, suspend and lock accounts.

use crate::wire::json;
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_accounts::account::{self, Account, ChangeAccountError, Standing};
use lamchat_accounts::device;
use lamchat_audit::{Actor, Entry};
use lamchat_base::UserNum;
use lamchat_http::{Request, Response};
use lamchat_store::{Read, WriteTxn};
use ruma::api::client::admin::{is_user_locked, is_user_suspended, lock_user, suspend_user};
use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, "/_matrix/client/v3/admin/whois/{user_id}", who_is);
    r.session::<is_user_suspended::v1::Request>(is_suspended);
    r.session::<suspend_user::v1::Request>(suspend);
    r.session::<is_user_locked::v1::Request>(is_locked);
    r.session::<lock_user::v1::Request>(lock);
}

/// "This API may be restricted to only be called by the user being looked up, or by a server admin."
///
/// Addresses and user agents are never kept, so a connection tells only when its device was last seen.
async fn who_is(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let user_id =
        UserId::parse(request.params.value("user_id")).map_err(|error| ApiError::invalid_param(error.to_string()))?;
    if user_id != session.user_id && !session.is_admin {
        return Err(not_admin());
    }
    let read = app.store.read();
    let account = account::by_id(&read, &user_id)?.ok_or_else(no_user)?;
    let mut devices = Map::new();
    for device in device::all(&read, account.user)? {
        let connection: Map<String, Value> = device
            .last_seen_ms
            .map(|ms| ("last_seen".to_owned(), Value::from(ms)))
            .into_iter()
            .collect();
        let sessions = serde_json::json!({ "sessions": [{ "connections": [connection] }] });
        devices.insert(device.id.to_string(), sessions);
    }
    json(
        StatusCode::OK,
        &serde_json::json!({ "user_id": user_id, "devices": devices }),
    )
}

async fn is_suspended(
    app: Arc<App>,
    session: Session,
    request: is_user_suspended::v1::Request,
) -> Result<is_user_suspended::v1::Response, ApiError> {
    let standing = moderated(&app, &session, &request.user_id)?.standing;
    Ok(is_user_suspended::v1::Response::new(standing.is_suspended()))
}

async fn is_locked(
    app: Arc<App>,
    session: Session,
    request: is_user_locked::v1::Request,
) -> Result<is_user_locked::v1::Response, ApiError> {
    let standing = moderated(&app, &session, &request.user_id)?.standing;
    Ok(is_user_locked::v1::Response::new(standing.is_locked()))
}

async fn suspend(
    app: Arc<App>,
    session: Session,
    request: suspend_user::v1::Request,
) -> Result<suspend_user::v1::Response, ApiError> {
    let on = request.suspended;
    change(&app, &session, request.user_id, "suspend", on, account::set_suspended).await?;
    Ok(suspend_user::v1::Response::new(on))
}

async fn lock(
    app: Arc<App>,
    session: Session,
    request: lock_user::v1::Request,
) -> Result<lock_user::v1::Response, ApiError> {
    let on = request.locked;
    change(&app, &session, request.user_id, "lock", on, account::set_locked).await?;
    Ok(lock_user::v1::Response::new(on))
}

/// The account that an administrator may suspend or lock: anybody's of this server but an administrator's.
///
/// "In order to prevent user enumeration, servers MUST ensure that authorisation is checked prior to trying to do account
/// lookups." (Matrix 1.18)
fn moderated(app: &App, session: &Session, user_id: &UserId) -> Result<Account, ApiError> {
    if !session.is_admin {
        return Err(not_admin());
    }
    if user_id.server_name() != app.server_name {
        return Err(ApiError::invalid_param("This user does not belong to this server"));
    }
    let read = app.store.read();
    let account = account::by_id(&read, user_id)?.ok_or_else(no_user)?;
    check(account.standing)?;
    Ok(account)
}

fn check(standing: Standing) -> Result<(), ApiError> {
    if standing.is_deactivated() {
        return Err(no_user());
    }
    // Themselves too: who locks themselves out cannot undo it here.
    if standing.is_admin() {
        return Err(ApiError::forbidden(
            "Administrators are not suspended or locked; `lamchat user admin --remove` takes the role away",
        ));
    }
    Ok(())
}

async fn change(
    app: &App,
    session: &Session,
    user_id: OwnedUserId,
    what: &str,
    on: bool,
    set: fn(&mut WriteTxn<'_>, UserNum, bool) -> Result<(), ChangeAccountError>,
) -> Result<(), ApiError> {
    let user = moderated(app, session, &user_id)?.user;
    let actor = Actor::User(session.user_id.to_string());
    let entry = Entry::new(app.now_ms(), actor, &format!("user.{what}"))
        .subject(&user_id)
        .fact("on", on);
    let written = move |txn: &mut WriteTxn<'_>| -> Result<(), ApiError> {
        let read: &dyn Read = txn;
        // Once more where nothing can change in between.
        check(account::standing(read, user)?.ok_or_else(no_user)?)?;
        set(txn, user, on)?;
        lamchat_audit::append(txn, &entry)?;
        Ok(())
    };
    app.store.write(written).await?;
    tracing::info!(what, on, "an administrator changed an account");
    Ok(())
}

fn not_admin() -> ApiError {
    ApiError::forbidden("You are not an administrator of this server")
}

fn no_user() -> ApiError {
    ApiError::not_found("There is no such user here")
}

#[cfg(test)]
mod tests;
