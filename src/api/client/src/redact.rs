//! Redacting.

use crate::limit::Limited;
use crate::look::parse_room_id;
use crate::room::{caller, caller_even_suspended};
use crate::send::{Sent, check_transaction_id};
use crate::wire::{body, json};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response};
use lamchat_rooms::Caller;
use lamchat_rooms::event::EventRow;
use lamchat_rooms::event_id;
use lamchat_rooms::redact::RedactError;
use lamchat_rules::{Value, canonical};
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(
        Method::PUT,
        "/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}",
        redact,
    );
}

impl From<RedactError> for ApiError {
    fn from(error: RedactError) -> Self {
        match error {
            RedactError::NoSuchEvent => Self::not_found(error.to_string()),
            RedactError::NotYours | RedactError::Create => Self::forbidden(error.to_string()),
            RedactError::Append(error) => error.into(),
        }
    }
}

/// Who redacts `target`: a suspended account may redact what it sent itself.
pub(crate) fn redacter(app: &App, session: Session, target: &str) -> Result<Caller, ApiError> {
    if session.is_suspended
        && let Some((_, bytes)) = event_id::find(&app.store.read(), target)?
        && EventRow::decode(&bytes)?.sender == session.user_id.as_str()
    {
        return Ok(caller_even_suspended(session));
    }
    caller(session)
}

async fn redact(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Message, session.user)?;
    let bytes = body(&mut request).await?;
    // Clients may leave out the body, whose only member is optional.
    let mut content = if bytes.is_empty() {
        canonical::Object::new()
    } else {
        canonical::parse_object(&bytes)?
    };
    let reason = match content.remove("reason") {
        Some(Value::String(reason)) => Some(reason),
        Some(Value::Null) | None => None,
        Some(_) => return Err(ApiError::bad_json("The reason is not a string")),
    };
    let room = parse_room_id(request.params.value("room_id"))?;
    let (target, transaction_id) = (request.params.value("event_id"), request.params.value("txn_id"));
    check_transaction_id(transaction_id)?;
    let event_id = app
        .rooms
        .redact(
            &redacter(&app, session, target)?,
            &room,
            target,
            reason.as_deref(),
            transaction_id,
        )
        .await?;
    json(StatusCode::OK, &Sent { event_id })
}
