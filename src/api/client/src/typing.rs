//! `PUT /rooms/{roomId}/typing/{userId}`.

use crate::account_data::path_must_be_own;
use crate::look::{joined_room, parse_room_id};
use crate::wire::{body, check_json, json};
use crate::{ApiError, App, Routes, Session, presence};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response};
use lamchat_rooms::typing::TIMEOUT_MS_MAX;
use std::sync::Arc;

/// How long somebody types if the client does not say: as long as clients say.
const TIMEOUT_MS_DEFAULT: u64 = 30_000;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::PUT, "/_matrix/client/v3/rooms/{room_id}/typing/{user_id}", set);
}

/// The body. ruma's type insists on a timeout, which may be left out.
#[derive(serde::Deserialize)]
struct Wish {
    typing: bool,
    timeout: Option<u64>,
}

async fn set(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    path_must_be_own(&session, &request)?;
    let room_id = parse_room_id(request.params.value("room_id"))?;
    let bytes = body(&mut request).await?;
    check_json(&bytes)?;
    let wish: Wish = serde_json::from_slice(&bytes)?;
    let room = joined_room(&app, &session, &room_id)?;
    presence::active(&app, &session)?;
    if wish.typing {
        let timeout_ms = wish.timeout.unwrap_or(TIMEOUT_MS_DEFAULT).min(TIMEOUT_MS_MAX);
        let until_ms = app.now_ms().saturating_add(timeout_ms);
        app.typing
            .start(&app.store, room, session.user, session.user_id.clone(), until_ms);
    } else {
        app.typing.stop(&app.store, room, session.user);
    }
    json(StatusCode::OK, &serde_json::json!({}))
}

#[cfg(test)]
mod tests {
    use crate::testing::{self, call};
    use serde_json::{Value, json};

    #[tokio::test]
    async fn a_timeout_may_be_left_out() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let bob = testing::register(&app, "bob").await;
        let create = "/_matrix/client/v3/createRoom";
        let (_, room) = call(&app, "POST", create, Some(&alice), Some(json!({}))).await;
        let room = room.get("room_id").and_then(Value::as_str).unwrap_or_default();
        let path = format!("/_matrix/client/v3/rooms/{room}/typing/@alice:example.org");
        let put = async |token: &str, body: Value| {
            let (status, answer) = call(&app, "PUT", &path, Some(token), Some(body)).await;
            (status.as_u16(), answer)
        };
        assert_eq!(put(&alice, json!({"typing": true})).await, (200, json!({})));
        let (_, sync) = call(&app, "GET", "/_matrix/client/v3/sync", Some(&alice), None).await;
        let users = sync.pointer(&format!("/rooms/join/{room}/ephemeral/events/0/content/user_ids"));
        assert_eq!(users, Some(&json!(["@alice:example.org"])));
        assert_eq!(put(&alice, json!({"typing": false})).await, (200, json!({})));
        assert_eq!(put(&alice, json!({})).await.0, 400);
        assert_eq!(put(&alice, json!({"typing": true, "timeout": -1})).await.0, 400);
        assert_eq!(put(&bob, json!({"typing": true})).await.0, 403);
    }
}
