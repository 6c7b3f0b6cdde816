//! Knocking.

use crate::limit::Limited;
use crate::room::{caller, resolve};
use crate::{ApiError, App, Routes, Session};
use lamchat_rooms::AppendError;
use ruma::api::client::knock::knock_room;
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session(knock);
}

async fn knock(
    app: Arc<App>,
    session: Session,
    request: knock_room::v3::Request,
) -> Result<knock_room::v3::Response, ApiError> {
    app.limit(Limited::Join, session.user)?;
    let room = resolve(&app, &request.room_id_or_alias)?;
    match app
        .rooms
        .knock(&caller(session)?, &room, request.reason.as_deref())
        .await
    {
        Err(AppendError::NoSuchRoom) => Err(ApiError::not_found("This server does not know that room")),
        knocked => {
            knocked?;
            Ok(knock_room::v3::Response::new(room))
        }
    }
}
