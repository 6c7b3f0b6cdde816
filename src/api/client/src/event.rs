//! `GET /rooms/{roomId}/event/{eventId}`, and its older form without a room.

use crate::look::{Look, write_one};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response};
use lamchat_rooms::event::EventRow;
use lamchat_rooms::{context, event_id, room};
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(
        Method::GET,
        "/_matrix/client/v3/rooms/{room_id}/event/{event_id}",
        event,
    );
    r.raw(Method::GET, "/_matrix/client/v3/events/{event_id}", event_anywhere);
}

/// "This endpoint was deprecated in r0 of this specification."
async fn event_anywhere(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let event_id = request.params.value("event_id");
    let room_id = {
        let read = app.store.read();
        let (_, bytes) = event_id::find(&read, event_id)?.ok_or_else(hidden)?;
        room::by_num(&read, EventRow::decode(&bytes)?.room)?.id.clone()
    };
    show(&app, &session, room_id.as_str(), event_id)
}

fn hidden() -> ApiError {
    ApiError::not_found("There is no such event, or you may not see it")
}

/// "The event was not found or you do not have permission to read this event": 404 in both cases.
async fn event(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    show(
        &app,
        &session,
        request.params.value("room_id"),
        request.params.value("event_id"),
    )
}

fn show(app: &App, session: &Session, room_id: &str, event_id: &str) -> Result<Response, ApiError> {
    let look = match Look::at(app, session, room_id) {
        Err(error) if error.status == StatusCode::FORBIDDEN => return Err(hidden()),
        look => look?,
    };
    let mut view = look.view();
    let entry = context::one(&look.read, look.room.num, &look.standing, &mut view, event_id)?;
    let mut out = Vec::with_capacity(entry.bytes.len() + 256);
    write_one(&mut out, &mut view, &entry)?;
    Ok(Response::json(StatusCode::OK, out))
}
