//! The caller's own account: who am I, password, deactivation.

use crate::wire::{body, check_json, json};
use crate::{ApiError, App, Routes, Session, device, uia};
use http::{Method, StatusCode};
use lamchat_accounts::account::{self, ChangeAccountError};
use lamchat_audit::{Actor, Entry};
use lamchat_base::UserNum;
use lamchat_http::{Request, Response};
use lamchat_keys::{backup, backup_session, cross_signing};
use lamchat_rooms::membership::{self, Membership};
use lamchat_rooms::{Caller, room};
use lamchat_store::{ReadError, WriteTxn};
use ruma::OwnedUserId;
use ruma::api::client::account::{ThirdPartyIdRemovalStatus, change_password, deactivate, whoami};
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<whoami::v3::Request>(who_am_i);
    r.session::<change_password::v3::Request>(set_password);
    r.session::<deactivate::v3::Request>(close).to_the_end();
    r.raw(Method::GET, "/_matrix/client/v3/account/3pid", third_party_ids);
    for path in [
        "/_matrix/client/v3/account/3pid",
        "/_matrix/client/v3/account/3pid/add",
        "/_matrix/client/v3/account/3pid/bind",
        "/_matrix/client/v3/account/3pid/delete",
        "/_matrix/client/v3/account/3pid/unbind",
    ] {
        r.raw(Method::POST, path, no_third_party_ids);
    }
    for path in [
        "/_matrix/client/v3/account/3pid/email/requestToken",
        "/_matrix/client/v3/account/3pid/msisdn/requestToken",
        "/_matrix/client/v3/account/password/email/requestToken",
        "/_matrix/client/v3/account/password/msisdn/requestToken",
        "/_matrix/client/v3/register/email/requestToken",
        "/_matrix/client/v3/register/msisdn/requestToken",
    ] {
        r.raw_open(Method::POST, path, no_medium);
    }
}

async fn who_am_i(_app: Arc<App>, session: Session, _: whoami::v3::Request) -> Result<whoami::v3::Response, ApiError> {
    let mut response = whoami::v3::Response::new(session.user_id, session.is_guest);
    response.device_id = Some(session.device_id);
    Ok(response)
}

async fn set_password(
    app: Arc<App>,
    session: Session,
    request: change_password::v3::Request,
) -> Result<change_password::v3::Response, ApiError> {
    app.passwords.check_strength(&request.new_password)?;
    uia::confirm(&app, &session, "POST /account/password", request.auth).await?;
    let hash = app.passwords.hash(request.new_password, &*app.entropy).await?;
    let (user, now_ms) = (session.user, app.now_ms());
    let changed = move |txn: &mut WriteTxn<'_>| -> Result<(), ApiError> {
        note(txn, &session, "user.password", now_ms)?;
        account::set_password_hash(txn, session.user, &hash)?;
        // "Whether the user's other access tokens, and their associated devices, should be revoked if the request
        // succeeds. Defaults to true."
        if request.logout_devices {
            device::remove_all(txn, session.user, Some(&session.device_id))?;
        }
        Ok(())
    };
    app.store.write(changed).await?;
    app.login_tokens.revoke(user);
    Ok(change_password::v3::Response::new())
}

async fn close(
    app: Arc<App>,
    session: Session,
    request: deactivate::v3::Request,
) -> Result<deactivate::v3::Response, ApiError> {
    uia::confirm(&app, &session, "POST /account/deactivate", request.auth).await?;
    let now_ms = app.now_ms();
    withdraw(&app, session.user, session.user_id.clone()).await?;
    let deactivated = move |txn: &mut WriteTxn<'_>| -> Result<(), ApiError> {
        note(txn, &session, "user.deactivate", now_ms)?;
        let devices = account::deactivate(txn, session.user, request.erase)?;
        device::forget(txn, session.user, &devices)?;
        Ok(())
    };
    app.store.write(deactivated).await?;
    // "This must be `success` if the homeserver has no identifiers to unbind for the user."
    Ok(deactivate::v3::Response::new(ThirdPartyIdRemovalStatus::Success))
}

/// Takes an account that is about to be deactivated out of everything but the accounts themselves: rooms, cross-signing,
/// key backups, presence. It can be repeated.
pub async fn withdraw(app: &App, user: UserNum, user_id: OwnedUserId) -> Result<(), ApiError> {
    let caller = Caller {
        user,
        user_id,
        device: None,
    };
    leave_all(app, &caller).await?;
    let forgotten = move |txn: &mut WriteTxn<'_>| -> Result<Vec<String>, ReadError> {
        cross_signing::forget(txn, user)?;
        backup::delete_all(txn, user)
    };
    for version in app.store.write(forgotten).await? {
        // In portions, so that other writes get their turn.
        loop {
            let version = version.clone();
            let purged = app
                .store
                .write(move |txn| backup_session::purge(txn, user, &version))
                .await?;
            if !purged {
                break;
            }
        }
    }
    app.presence.forget(user);
    Ok(())
}

/// What an administrator does to their own account is an entry of the audit log; what others do is not.
fn note(txn: &mut WriteTxn<'_>, session: &Session, act: &str, now_ms: u64) -> Result<(), ReadError> {
    if session.is_admin {
        let entry = Entry::new(now_ms, Actor::User(session.user_id.to_string()), act).subject(&session.user_id);
        lamchat_audit::append(txn, &entry)?;
    }
    Ok(())
}

/// Leaves all rooms, refuses all invitations, takes back all knocks. It can be repeated; what cannot be left is logged
/// and does not keep anybody from closing their account.
async fn leave_all(app: &App, caller: &Caller) -> Result<(), ApiError> {
    let rooms = membership::rooms_of(&app.store.read(), caller.user)?;
    for (num, member) in rooms {
        if matches!(
            member.membership,
            Membership::Join | Membership::Invite | Membership::Knock
        ) {
            let room = room::by_num(&app.store.read(), num)?;
            if let Err(error) = app.rooms.leave(caller, &room.id, None).await {
                tracing::warn!(%error, "a room could not be left when an account was closed");
            }
        }
    }
    Ok(())
}

/// ruma leaves the list out when it is empty; clients expect it.
async fn third_party_ids(_app: Arc<App>, _session: Session, _request: Request) -> Result<Response, ApiError> {
    json(StatusCode::OK, &serde_json::json!({ "threepids": [] }))
}

/// `m.3pid_changes` among the capabilities says so, too.
async fn no_third_party_ids(_app: Arc<App>, _session: Session, mut request: Request) -> Result<Response, ApiError> {
    check_json(&body(&mut request).await?)?;
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "M_THREEPID_DENIED",
        "This server knows neither email addresses nor telephone numbers",
    ))
}

/// "M_THREEPID_MEDIUM_NOT_SUPPORTED: The homeserver does not support adding email addresses" – and neither telephone
/// numbers: nothing is sent to either, whoever asks.
async fn no_medium(_app: Arc<App>, mut request: Request) -> Result<Response, ApiError> {
    check_json(&body(&mut request).await?)?;
    Err(ApiError::new(
        StatusCode::BAD_REQUEST,
        "M_THREEPID_MEDIUM_NOT_SUPPORTED",
        "This server knows neither email addresses nor telephone numbers",
    ))
}

impl From<ChangeAccountError> for ApiError {
    fn from(error: ChangeAccountError) -> Self {
        match error {
            ChangeAccountError::NoAccount => Self::not_found(error.to_string()),
            ChangeAccountError::Deactivated => {
                Self::new(StatusCode::FORBIDDEN, "M_USER_DEACTIVATED", error.to_string())
            }
            ChangeAccountError::Read(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
