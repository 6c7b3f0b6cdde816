//! `PUT /rooms/{roomId}/typing/{userId}`.

use crate::account_data::must_be_own;
use crate::look::joined_room;
use crate::{ApiError, App, Routes, Session, presence};
use lamchat_rooms::typing::TIMEOUT_MS_MAX;
use ruma::api::client::typing::create_typing_event::v3;
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<v3::Request>(set);
}

async fn set(app: Arc<App>, session: Session, request: v3::Request) -> Result<v3::Response, ApiError> {
    must_be_own(&session, &request.user_id)?;
    let room = joined_room(&app, &session, &request.room_id)?;
    presence::active(&app, &session)?;
    match request.state {
        v3::Typing::Yes(info) => {
            let timeout_ms = u64::try_from(info.timeout.as_millis())
                .unwrap_or(u64::MAX)
                .min(TIMEOUT_MS_MAX);
            let until_ms = app.now_ms().saturating_add(timeout_ms);
            app.typing
                .start(&app.store, room, session.user, session.user_id.clone(), until_ms);
        }
        v3::Typing::No => app.typing.stop(&app.store, room, session.user),
    }
    Ok(v3::Response::new())
}
