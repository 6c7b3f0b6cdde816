//! `GET /rooms/{roomId}/event/{eventId}`.

use crate::look::{Look, write_one};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response};
use lamchat_rooms::context;
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(
        Method::GET,
        "/_matrix/client/v3/rooms/{room_id}/event/{event_id}",
        event,
    );
}

/// "The event was not found or you do not have permission to read this event": 404 in both cases.
async fn event(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let hidden = || ApiError::not_found("There is no such event, or you may not see it");
    let look = match Look::at(&app, &session, request.params.value("room_id")) {
        Err(error) if error.status == StatusCode::FORBIDDEN => return Err(hidden()),
        look => look?,
    };
    let mut view = look.view();
    let entry = context::one(
        &look.read,
        look.room.num,
        &look.standing,
        &mut view,
        request.params.value("event_id"),
    )?;
    let mut out = Vec::with_capacity(entry.bytes.len() + 256);
    write_one(&mut out, &mut view, &entry)?;
    Ok(Response::json(StatusCode::OK, out))
}
