//! Sending messages: the busiest way to write. The body is parsed once, into canonical JSON.

use crate::delayed::{self, Later};
use crate::limit::Limited;
use crate::look::parse_room_id;
use crate::redact::redacter;
use crate::room::caller;
use crate::wire::{body, json};
use crate::{ApiError, App, Routes, Session, presence};
use http::{Method, StatusCode};
use lamchat_base::limits::TRANSACTION_ID_BYTES_MAX;
use lamchat_http::{Request, Response};
use lamchat_rooms::send::{Message, SendError};
use lamchat_rules::canonical;
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(
        Method::PUT,
        "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
        send,
    );
}

/// The answer of everything that makes one event.
#[derive(serde::Serialize)]
pub(crate) struct Sent {
    pub(crate) event_id: String,
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NoTarget => Self::bad_json(error.to_string()),
            SendError::DuplicateAnnotation => {
                Self::new(StatusCode::BAD_REQUEST, "M_DUPLICATE_ANNOTATION", error.to_string())
            }
            // "A specific error code is not currently available for this case: servers should use `M_UNKNOWN`".
            SendError::NestedThread => Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", error.to_string()),
            SendError::Redact(error) => error.into(),
            SendError::Append(error) => error.into(),
        }
    }
}

/// Refuses transaction ids that nobody needs.
pub(crate) fn check_transaction_id(id: &str) -> Result<(), ApiError> {
    if id.len() > TRANSACTION_ID_BYTES_MAX {
        return Err(ApiError::invalid_param(format!(
            "A transaction id has at most {TRANSACTION_ID_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

async fn send(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Message, session.user)?;
    presence::active(&app, &session)?;
    let content = canonical::parse_object(&body(&mut request).await?)?;
    let room = parse_room_id(request.params.value("room_id"))?;
    let transaction_id = request.params.value("txn_id");
    check_transaction_id(transaction_id)?;
    let event_type = request.params.value("event_type");
    let caller = match content.get("redacts").and_then(|id| id.as_str()) {
        Some(target) if event_type == "m.room.redaction" => redacter(&app, session, target)?,
        _ => caller(session)?,
    };
    if let Some(delay_ms) = delayed::asked(request.query())? {
        let later = Later {
            room,
            event_type: event_type.to_owned(),
            state_key: None,
            content,
            transaction_id: Some(transaction_id.to_owned()),
            delay_ms,
        };
        return delayed::schedule(Arc::clone(&app), caller, later).await;
    }
    let message = Message {
        room: &room,
        event_type,
        content,
        transaction_id,
        origin_server_ts: None,
    };
    let event_id = app.rooms.send(&caller, message).await?;
    json(StatusCode::OK, &Sent { event_id })
}
