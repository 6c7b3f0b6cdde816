//! Joining, inviting, leaving, kicking, banning, forgetting.

use crate::carry_over::carry_over;
use crate::limit::Limited;
use crate::room::{caller, caller_even_suspended, resolve, third_party_denied};
use crate::{ApiError, App, Routes, Session};
use http::StatusCode;
use lamchat_accounts::account;
use lamchat_base::UserNum;
use lamchat_rooms::forget::ForgetError;
use lamchat_rooms::leave::RemoveError;
use lamchat_rooms::{AppendError, membership, room};
use ruma::api::client::membership::{
    ban_user, forget_room, invite_user, join_room_by_id, join_room_by_id_or_alias, joined_rooms, kick_user, leave_room,
    unban_user,
};
use ruma::{RoomId, UserId};
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session(join);
    r.session(join_by_alias);
    r.session(invite);
    r.session(leave);
    r.session(kick);
    r.session(ban);
    r.session(unban);
    r.session(forget);
    r.session(joined);
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::NotThere | RemoveError::Banned => Self::forbidden(error.to_string()),
            // "M_BAD_STATE: The state change requested cannot be performed, such as attempting to unban a user who is not
            // banned."
            RemoveError::NotBanned => Self::new(StatusCode::FORBIDDEN, "M_BAD_STATE", error.to_string()),
            RemoveError::Append(error) => error.into(),
        }
    }
}

impl From<ForgetError> for ApiError {
    fn from(error: ForgetError) -> Self {
        match error {
            ForgetError::NeverThere => Self::forbidden(error.to_string()),
            ForgetError::StillThere => Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", error.to_string()),
            ForgetError::Read(error) => error.into(),
            ForgetError::Commit(error) => error.into(),
        }
    }
}

async fn join_room(app: &App, session: Session, room: &RoomId, reason: Option<&str>) -> Result<(), ApiError> {
    app.limit(Limited::Join, session.user)?;
    let (user, user_id) = (session.user, session.user_id.clone());
    match app.rooms.join(&caller(session)?, room, reason).await {
        Err(AppendError::NoSuchRoom) => return Err(ApiError::not_found("This server does not know that room")),
        joined => joined?,
    }
    carry_over(app, user, &user_id, room).await;
    Ok(())
}

async fn join(
    app: Arc<App>,
    session: Session,
    request: join_room_by_id::v3::Request,
) -> Result<join_room_by_id::v3::Response, ApiError> {
    if request.third_party_signed.is_some() {
        return Err(third_party_denied());
    }
    join_room(&app, session, &request.room_id, request.reason.as_deref()).await?;
    Ok(join_room_by_id::v3::Response::new(request.room_id))
}

async fn join_by_alias(
    app: Arc<App>,
    session: Session,
    request: join_room_by_id_or_alias::v3::Request,
) -> Result<join_room_by_id_or_alias::v3::Response, ApiError> {
    if request.third_party_signed.is_some() {
        return Err(third_party_denied());
    }
    let room = resolve(&app, &request.room_id_or_alias)?;
    join_room(&app, session, &room, request.reason.as_deref()).await?;
    Ok(join_room_by_id_or_alias::v3::Response::new(room))
}

async fn invite(
    app: Arc<App>,
    session: Session,
    request: invite_user::v3::Request,
) -> Result<invite_user::v3::Response, ApiError> {
    app.limit(Limited::Invite, session.user)?;
    let invite_user::v3::InvitationRecipient::UserId(target) = request.recipient else {
        return Err(third_party_denied());
    };
    check_invited(&app, session.user, &request.room_id, &target.user_id)?;
    app.rooms
        .invite(
            &caller(session)?,
            &request.room_id,
            &target.user_id,
            target.reason.as_deref(),
        )
        .await?;
    Ok(invite_user::v3::Response::new())
}

/// Like [`check_exists`] for an invitation into `room`, if `by` is in it: strangers hear that they are first.
pub(crate) fn check_invited(app: &App, by: UserNum, room: &RoomId, user_id: &UserId) -> Result<(), ApiError> {
    let read = app.store.read();
    match app.rooms.room(&read, room)? {
        Some(room) if membership::is_joined(&read, by, room.num)? => check_exists(app, user_id),
        _ => Ok(()),
    }
}

/// Refuses to invite somebody who is not: the invitation would wait for whoever takes that name one day. Clients tell
/// their user what `M_NOT_FOUND` means here.
pub(crate) fn check_exists(app: &App, user_id: &UserId) -> Result<(), ApiError> {
    if user_id.server_name() != app.server_name {
        // Refused with the rest of what concerns other servers.
        return Ok(());
    }
    match account::by_id(&app.store.read(), user_id)? {
        None => Err(ApiError::not_found(format!("There is no user {user_id} here"))),
        Some(account) if account.standing.is_deactivated() => {
            Err(ApiError::forbidden(format!("{user_id} has closed their account")))
        }
        Some(_) => Ok(()),
    }
}

async fn leave(
    app: Arc<App>,
    session: Session,
    request: leave_room::v3::Request,
) -> Result<leave_room::v3::Response, ApiError> {
    check_may_leave(&app, session.user, &request.room_id)?;
    app.rooms
        .leave(
            &caller_even_suspended(session),
            &request.room_id,
            request.reason.as_deref(),
        )
        .await?;
    Ok(leave_room::v3::Response::new())
}

/// "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM: The user is unable to reject an invite to join the server notices room."
fn check_may_leave(app: &App, user: UserNum, room: &RoomId) -> Result<(), ApiError> {
    if !app.settings.load().admins_room {
        return Ok(());
    }
    let read = app.store.read();
    let stays = account::one(&read, user)?.is_some_and(|account| lamchat_notices::is_told(&account));
    if stays && lamchat_notices::is_room(&read, &app.server_name, room)? {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM",
            "Administrators stay in the room of the server's notices",
        ));
    }
    Ok(())
}

async fn kick(
    app: Arc<App>,
    session: Session,
    request: kick_user::v3::Request,
) -> Result<kick_user::v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    app.rooms
        .kick(
            &caller(session)?,
            &request.room_id,
            &request.user_id,
            request.reason.as_deref(),
        )
        .await?;
    Ok(kick_user::v3::Response::new())
}

async fn ban(
    app: Arc<App>,
    session: Session,
    request: ban_user::v3::Request,
) -> Result<ban_user::v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    app.rooms
        .ban(
            &caller(session)?,
            &request.room_id,
            &request.user_id,
            request.reason.as_deref(),
        )
        .await?;
    Ok(ban_user::v3::Response::new())
}

async fn unban(
    app: Arc<App>,
    session: Session,
    request: unban_user::v3::Request,
) -> Result<unban_user::v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    app.rooms
        .unban(
            &caller(session)?,
            &request.room_id,
            &request.user_id,
            request.reason.as_deref(),
        )
        .await?;
    Ok(unban_user::v3::Response::new())
}

async fn forget(
    app: Arc<App>,
    session: Session,
    request: forget_room::v3::Request,
) -> Result<forget_room::v3::Response, ApiError> {
    app.rooms
        .forget(&caller_even_suspended(session), &request.room_id)
        .await?;
    Ok(forget_room::v3::Response::new())
}

async fn joined(
    app: Arc<App>,
    session: Session,
    _request: joined_rooms::v3::Request,
) -> Result<joined_rooms::v3::Response, ApiError> {
    let read = app.store.read();
    let mut ids = Vec::new();
    for num in membership::joined_rooms(&read, session.user)? {
        ids.push(room::by_num(&read, num)?.id.clone());
    }
    Ok(joined_rooms::v3::Response::new(ids))
}
