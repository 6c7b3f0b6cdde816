//! Account data and tags.

use crate::wire::json;
use crate::{ApiError, App, Routes, Session};
use bytes::Bytes;
use http::{Method, StatusCode};
use lamchat_accounts::account_data::{self, PutAccountDataError, Scope, is_reserved};
use lamchat_accounts::tag::{self, SetTagError};
use lamchat_base::RoomNum;
use lamchat_http::{Request, Response};
use lamchat_rooms::{membership, room};
use lamchat_store::Read;
use ruma::{RoomId, UserId};
use serde_json::{Map, Value};
use std::sync::Arc;

const GLOBAL: &str = "/_matrix/client/v3/user/{user_id}/account_data/{event_type}";
const ROOM: &str = "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{event_type}";
const TAGS: &str = "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags";
const TAG: &str = "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}";

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    for path in [GLOBAL, ROOM] {
        r.raw(Method::GET, path, show);
        r.raw(Method::PUT, path, set);
    }
    r.raw(Method::GET, TAGS, show_tags);
    r.raw(Method::PUT, TAG, set_tag);
    r.raw(Method::DELETE, TAG, remove_tag);
}

/// Refuses what concerns another user than the caller.
pub(crate) fn must_be_own(session: &Session, user_id: &UserId) -> Result<(), ApiError> {
    if session.user_id == *user_id {
        Ok(())
    } else {
        Err(ApiError::forbidden("You can do this for yourself only"))
    }
}

/// Checks the user of a path; for raw routes.
pub(crate) fn path_must_be_own(session: &Session, request: &Request) -> Result<(), ApiError> {
    let user_id = UserId::parse(request.params.value("user_id"));
    must_be_own(
        session,
        &user_id.map_err(|error| ApiError::invalid_param(error.to_string()))?,
    )
}

/// The room of a path, with which the caller has or had to do.
fn room_of(read: &dyn Read, session: &Session, request: &Request) -> Result<RoomNum, ApiError> {
    let id =
        RoomId::parse(request.params.value("room_id")).map_err(|error| ApiError::invalid_param(error.to_string()))?;
    let room = room::num(read, &id)?;
    let known = match room {
        Some(room) => membership::of(read, session.user, room)?.map(|_| room),
        None => None,
    };
    known.ok_or_else(|| ApiError::not_found("You have never been in such a room"))
}

fn scope_of(read: &dyn Read, session: &Session, request: &Request) -> Result<Scope, ApiError> {
    path_must_be_own(session, request)?;
    if request.params.value("room_id").is_empty() {
        Ok(Scope::Global)
    } else {
        Ok(Scope::Room(room_of(read, session, request)?))
    }
}

async fn show(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let read = app.store.read();
    let scope = scope_of(&read, &session, &request)?;
    let event_type = request.params.value("event_type");
    let content = match (scope, event_type) {
        // What is stored is completed with the rules that everybody has.
        (Scope::Global, "m.push_rules") => Some(lamchat_push::rules::account_data_content(
            &read,
            session.user,
            &session.user_id,
        )?),
        _ => account_data::content(&read, session.user, scope, event_type)?,
    };
    let content = content.ok_or_else(|| ApiError::not_found("There is no account data of this type"))?;
    Ok(Response::json(StatusCode::OK, content))
}

async fn set(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    let scope = scope_of(&app.store.read(), &session, &request)?;
    let content = object(&mut request).await?;
    let event_type = request.params.value("event_type").to_owned();
    // "The server MUST return a 405 … with `M_BAD_JSON`: account data of this type is controlled by the server."
    if is_reserved(&event_type) {
        let message = format!("{event_type} has endpoints of its own");
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "M_BAD_JSON", message));
    }
    app.store
        .write(move |txn| account_data::put(txn, session.user, scope, &event_type, &content))
        .await?;
    empty()
}

/// The body of a request, if it is a JSON object.
async fn object(request: &mut Request) -> Result<Bytes, ApiError> {
    let bytes = crate::wire::body(request).await?;
    crate::wire::check_json(&bytes)?;
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::bad_json("The body has to be a JSON object"));
    }
    Ok(bytes)
}

async fn show_tags(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    path_must_be_own(&session, &request)?;
    let read = app.store.read();
    let room = room_of(&read, &session, &request)?;
    json(
        StatusCode::OK,
        &serde_json::json!({ "tags": tag::all(&read, session.user, room)? }),
    )
}

async fn set_tag(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    path_must_be_own(&session, &request)?;
    let room = room_of(&app.store.read(), &session, &request)?;
    let info: Map<String, Value> = serde_json::from_slice(&object(&mut request).await?)?;
    // "order: A number in a range [0,1]".
    if info
        .get("order")
        .is_some_and(|order| !order.is_number() && !order.is_null())
    {
        return Err(ApiError::bad_json("order has to be a number"));
    }
    let name = request.params.value("tag").to_owned();
    app.store
        .write(move |txn| tag::set(txn, session.user, room, &name, info))
        .await?;
    empty()
}

async fn remove_tag(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    path_must_be_own(&session, &request)?;
    let room = room_of(&app.store.read(), &session, &request)?;
    let name = request.params.value("tag").to_owned();
    app.store
        .write(move |txn| tag::remove(txn, session.user, room, &name))
        .await?;
    empty()
}

fn empty() -> Result<Response, ApiError> {
    json(StatusCode::OK, &Map::new())
}

impl From<PutAccountDataError> for ApiError {
    fn from(error: PutAccountDataError) -> Self {
        match error {
            PutAccountDataError::TooMany => Self::too_large(error.to_string()),
            PutAccountDataError::Type => Self::invalid_param(error.to_string()),
            PutAccountDataError::Read(error) => error.into(),
        }
    }
}

impl From<SetTagError> for ApiError {
    fn from(error: SetTagError) -> Self {
        match error {
            SetTagError::TooLong => Self::invalid_param(error.to_string()),
            SetTagError::TooMany => Self::too_large(error.to_string()),
            SetTagError::Put(error) => error.into(),
            SetTagError::Read(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
