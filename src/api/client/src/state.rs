//! State: setting it, and reading it as it is or was when one left.

use crate::delayed::{self, Later};
use crate::limit::Limited;
use crate::look::{Look, parse_room_id};
use crate::membership::check_invited;
use crate::room::caller;
use crate::send::Sent;
use crate::wire::{body, json};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_base::Position;
use lamchat_http::{Request, Response, query_value};
use lamchat_rooms::event::EventRow;
use lamchat_rooms::put_state::PutStateError;
use lamchat_rooms::{context, log, state};
use lamchat_rules::canonical;
use ruma::UserId;
use std::sync::Arc;

const ALL: &str = "/_matrix/client/v3/rooms/{room_id}/state";
const ONE: &str = "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}";

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::PUT, ONE, put);
    r.raw(Method::GET, ONE, one);
    r.raw(Method::GET, ALL, all);
}

impl From<PutStateError> for ApiError {
    fn from(error: PutStateError) -> Self {
        match error {
            PutStateError::Create => Self::forbidden(error.to_string()),
            PutStateError::InvalidAlias(_) => Self::invalid_param(error.to_string()),
            PutStateError::BadAlias(_) => Self::new(StatusCode::BAD_REQUEST, "M_BAD_ALIAS", error.to_string()),
            PutStateError::Append(error) => error.into(),
        }
    }
}

async fn put(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Message, session.user)?;
    let content = canonical::parse_object(&body(&mut request).await?)?;
    let room = parse_room_id(request.params.value("room_id"))?;
    let (event_type, state_key) = (request.params.value("event_type"), request.params.value("state_key"));
    if event_type == "m.room.member"
        && content.get("membership").and_then(|word| word.as_str()) == Some("invite")
        && let Ok(invited) = <&UserId>::try_from(state_key)
    {
        check_invited(&app, session.user, &room, invited)?;
    }
    let caller = caller(session)?;
    if let Some(delay_ms) = delayed::asked(request.query())? {
        let later = Later {
            room,
            event_type: event_type.to_owned(),
            state_key: Some(state_key.to_owned()),
            content,
            transaction_id: None,
            delay_ms,
        };
        return delayed::schedule(Arc::clone(&app), caller, later).await;
    }
    let event_id = app
        .rooms
        .put_state(&caller, &room, event_type, state_key, content)
        .await?;
    delayed::supersede(&app, &caller, room, event_type, state_key).await;
    json(StatusCode::OK, &Sent { event_id })
}

async fn one(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let look = Look::at(&app, &session, request.params.value("room_id"))?;
    let (event_type, state_key) = (request.params.value("event_type"), request.params.value("state_key"));
    let position = position(&look, event_type, state_key)?;
    let position = position.ok_or_else(|| ApiError::not_found("The room has no such state"))?;
    let bytes = log::known_event(&look.read, position)?;
    let row = EventRow::decode(&bytes)?;
    if query_value(request.query(), "format").as_deref() != Some("event") {
        return Ok(Response::json(StatusCode::OK, row.content.as_bytes().to_vec()));
    }
    let mut out = Vec::with_capacity(bytes.len());
    look.view().write(&mut out, position, &row)?;
    Ok(Response::json(StatusCode::OK, out))
}

async fn all(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let look = Look::at(&app, &session, request.params.value("room_id"))?;
    let state = context::state_for(&look.read, look.room.num, &look.standing)?;
    let mut view = look.view();
    let mut out = Vec::with_capacity(state.len().saturating_mul(512));
    out.push(b'[');
    for position in state.into_values() {
        if out.len() > 1 {
            out.push(b',');
        }
        let bytes = log::known_event(&look.read, position)?;
        view.write(&mut out, position, &EventRow::decode(&bytes)?)?;
    }
    out.push(b']');
    Ok(Response::json(StatusCode::OK, out))
}

/// An event of the state that the reader may see, without reading all of it where that is the present one.
fn position(look: &Look<'_>, event_type: &str, state_key: &str) -> Result<Option<Position>, ApiError> {
    match look.standing.horizon(&look.read, look.room.num)? {
        Some(left_at) => {
            let key = (event_type.to_owned(), state_key.to_owned());
            Ok(context::state_at(&look.read, look.room.num, left_at)?
                .get(&key)
                .copied())
        }
        None => Ok(state::current(&look.read, look.room.num, event_type, state_key)?),
    }
}
