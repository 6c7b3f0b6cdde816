//! Creating and upgrading rooms, and what all endpoints about rooms share.

use crate::carry_over::carry_over;
use crate::limit::Limited;
use crate::membership::check_exists;
use crate::{ApiError, App, Routes, Session};
use http::StatusCode;
use lamchat_rooms::alias;
use lamchat_rooms::create::{CreateError, InitialState, NewRoom, Preset};
use lamchat_rooms::visibility::{History, LookError, Standing};
use lamchat_rooms::{AppendError, Caller};
use lamchat_rules::canonical::{self, BadJson};
use lamchat_rules::{Object, Value};
use ruma::api::client::room::create_room::v3::RoomPreset;
use ruma::api::client::room::{Visibility, aliases, create_room, upgrade_room};
use ruma::serde::Raw;
use ruma::{OwnedRoomId, RoomId, RoomOrAliasId};
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session(create);
    r.session(upgrade);
    r.session(aliases_of_room);
}

/// Who acts, for everything that a suspended account may not do.
pub(crate) fn caller(session: Session) -> Result<Caller, ApiError> {
    if session.is_suspended {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "M_USER_SUSPENDED",
            "This account is suspended",
        ));
    }
    Ok(caller_even_suspended(session))
}

/// Who acts, for leaving and forgetting.
pub(crate) fn caller_even_suspended(session: Session) -> Caller {
    Caller {
        user: session.user,
        user_id: session.user_id,
        device: Some(session.device),
    }
}

/// The room that an id or alias stands for. Other servers are not asked.
pub(crate) fn resolve(app: &App, room: &RoomOrAliasId) -> Result<OwnedRoomId, ApiError> {
    let alias = match <&RoomId>::try_from(room) {
        Ok(id) => return Ok(id.to_owned()),
        Err(alias) => alias,
    };
    let read = app.store.read();
    let target = alias::find(&read, alias)?.ok_or_else(|| ApiError::not_found("There is no such alias here"))?;
    Ok(lamchat_rooms::room::by_num(&read, target.room)?.id.clone())
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NoSuchRoom | AppendError::Refused(_) | AppendError::NotReachable(_) => {
                Self::forbidden(error.to_string())
            }
            AppendError::NoGuests => Self::guest(),
            AppendError::InviteBlocked(_) => Self::new(StatusCode::FORBIDDEN, "M_INVITE_BLOCKED", error.to_string()),
            AppendError::TooLarge(_) => Self::too_large(error.to_string()),
            AppendError::BadContent(why) => Self::bad_json(why),
            AppendError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "M_UNKNOWN",
                "The room is too busy: try again",
            ),
            AppendError::Read(error) => error.into(),
            AppendError::Commit(error) => error.into(),
        }
    }
}

impl From<BadJson> for ApiError {
    fn from(error: BadJson) -> Self {
        match error {
            BadJson::NotJson(_) => Self::not_json("The body is not valid JSON"),
            BadJson::NotCanonical(_) | BadJson::TooDeep => Self::bad_json(error.to_string()),
        }
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        let bad_request = |errcode: &'static str| Self::new(StatusCode::BAD_REQUEST, errcode, error.to_string());
        match &error {
            CreateError::UnsupportedVersion(_) => bad_request("M_UNSUPPORTED_ROOM_VERSION"),
            CreateError::InvalidAlias(_) | CreateError::TooMany(_) => bad_request("M_INVALID_PARAM"),
            CreateError::AliasInUse(_) => bad_request("M_ROOM_IN_USE"),
            CreateError::InvalidState(_) => bad_request("M_INVALID_ROOM_STATE"),
            CreateError::Append(_) => match error {
                CreateError::Append(error) => error.into(),
                other => Self::internal(other),
            },
        }
    }
}

async fn create(
    app: Arc<App>,
    session: Session,
    request: create_room::v3::Request,
) -> Result<create_room::v3::Response, ApiError> {
    app.limit(Limited::Join, session.user)?;
    if !request.invite_3pid.is_empty() {
        return Err(third_party_denied());
    }
    if !request.invite.is_empty() {
        app.limit(Limited::Invite, session.user)?;
    }
    for invited in request.invite.iter().take(lamchat_rooms::create::INVITES_MAX) {
        check_exists(&app, invited)?;
    }
    let is_published = request.visibility == Visibility::Public;
    let preset = match request.preset {
        Some(RoomPreset::PrivateChat) => Preset::PrivateChat,
        Some(RoomPreset::TrustedPrivateChat) => Preset::TrustedPrivateChat,
        Some(RoomPreset::PublicChat) => Preset::PublicChat,
        Some(_) => return Err(ApiError::invalid_param("There is no such preset")),
        // "If unspecified, the server should use the visibility to determine which preset to use."
        None if is_published => Preset::PublicChat,
        None => Preset::PrivateChat,
    };
    let version = match &request.room_version {
        Some(version) => version.to_string(),
        None => app.settings.load().default_room_version.to_string(),
    };
    let new = NewRoom {
        version,
        preset,
        is_published,
        alias_localpart: request.room_alias_name,
        name: request.name.filter(|name| !name.is_empty()),
        topic: request.topic.filter(|topic| !topic.is_empty()),
        invite: request.invite,
        is_direct: request.is_direct,
        initial_state: request
            .initial_state
            .iter()
            .map(initial_state)
            .collect::<Result<_, _>>()?,
        creation_content: object(request.creation_content.as_ref())?,
        power_levels: object(request.power_level_content_override.as_ref())?,
    };
    let room_id = app.rooms.create(&caller(session)?, new).await?;
    Ok(create_room::v3::Response::new(room_id))
}

/// 403: identity servers are not used.
pub(crate) fn third_party_denied() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "M_THREEPID_DENIED",
        "This server invites by user id only",
    )
}

fn object<T>(raw: Option<&Raw<T>>) -> Result<Object, ApiError> {
    match raw {
        Some(raw) => Ok(canonical::parse_object(raw.json().get().as_bytes())?),
        None => Ok(Object::new()),
    }
}

fn initial_state<T>(raw: &Raw<T>) -> Result<InitialState, ApiError> {
    let mut event = object(Some(raw))?;
    let event_type = match event.remove("type") {
        Some(Value::String(event_type)) => event_type,
        _ => return Err(ApiError::bad_json("A state event in initial_state has no type")),
    };
    let state_key = match event.remove("state_key") {
        Some(Value::String(state_key)) => state_key,
        None => String::new(),
        Some(_) => return Err(ApiError::bad_json("A state key in initial_state is not a string")),
    };
    match event.remove("content") {
        Some(Value::Object(content)) => Ok(InitialState {
            event_type,
            state_key,
            content,
        }),
        _ => Err(ApiError::bad_json("A state event in initial_state has no content")),
    }
}

async fn upgrade(
    app: Arc<App>,
    session: Session,
    request: upgrade_room::v3::Request,
) -> Result<upgrade_room::v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    let version = request.new_version.as_str();
    let creators = &request.additional_creators;
    let (user, user_id) = (session.user, session.user_id.clone());
    let replacement = app
        .rooms
        .upgrade(&caller(session)?, &request.room_id, version, creators)
        .await?;
    carry_over(&app, user, &user_id, &replacement).await;
    Ok(upgrade_room::v3::Response::new(replacement))
}

/// "A user who is a member of the room, or any user if the room's history is world-readable."
async fn aliases_of_room(
    app: Arc<App>,
    session: Session,
    request: aliases::v3::Request,
) -> Result<aliases::v3::Response, ApiError> {
    let read = app.store.read();
    let room = app.rooms.room(&read, &request.room_id)?.ok_or(LookError::NotMember)?;
    let is_joined = Standing::of(&read, session.user, room.num)?.is_joined();
    if !is_joined && History::now(&read, room.num)? != History::WorldReadable {
        return Err(LookError::NotMember.into());
    }
    Ok(aliases::v3::Response::new(alias::of_room(&read, room.num)?))
}

#[cfg(test)]
mod tests;
