//! Presence, in memory: shown to those who share a room, here and in `/sync`.

use crate::account_data::must_be_own;
use crate::{ApiError, App, Routes, Session};
use http::StatusCode;
use lamchat_accounts::presence::{State, StatusTooLong, Syncing};
use lamchat_accounts::user;
use lamchat_connections::{Reach, may_reach};
use lamchat_http::query_value;
use lamchat_rooms::membership;
use ruma::api::client::presence::{get_presence, set_presence};
use ruma::presence::PresenceState;
use std::sync::Arc;
use std::time::Duration;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<get_presence::v3::Request>(show);
    r.session::<set_presence::v3::Request>(set);
}

async fn show(
    app: Arc<App>,
    session: Session,
    request: get_presence::v3::Request,
) -> Result<get_presence::v3::Response, ApiError> {
    // "403: The user is not permitted to see this user's presence information", which hides who exists.
    let hidden = || ApiError::forbidden("This user's presence is not shown to you");
    let read = app.store.read();
    let user = user::num(&read, &request.user_id)?.ok_or_else(hidden)?;
    let may_see = user == session.user
        || (may_reach(session.user, user, Reach::Presence) && membership::share_room(&read, session.user, user)?);
    if !may_see {
        return Err(hidden());
    }
    let now_ms = app.now_ms();
    let mut response = get_presence::v3::Response::new(PresenceState::Offline);
    if let Some(presence) = app.presence.of(user, now_ms) {
        response.presence = match presence.state {
            State::Online => PresenceState::Online,
            State::Unavailable => PresenceState::Unavailable,
            State::Offline => PresenceState::Offline,
        };
        response.currently_active = Some(presence.is_active);
        let has_been_active = presence.last_active_ms > 0;
        let ago = Duration::from_millis(now_ms.saturating_sub(presence.last_active_ms));
        response.last_active_ago = has_been_active.then_some(ago);
        response.status_msg = presence.status_msg;
    }
    Ok(response)
}

async fn set(
    app: Arc<App>,
    session: Session,
    request: set_presence::v3::Request,
) -> Result<set_presence::v3::Response, ApiError> {
    must_be_own(&session, &request.user_id)?;
    let state = match request.presence {
        PresenceState::Online => State::Online,
        PresenceState::Unavailable => State::Unavailable,
        PresenceState::Offline => State::Offline,
        _ => {
            return Err(ApiError::invalid_param(
                "presence is one of online, unavailable, offline",
            ));
        }
    };
    if !app.settings.load().presence {
        // Nobody is told. Clients set it at every turn, so it is no error.
        return Ok(set_presence::v3::Response::new());
    }
    let is_news = app
        .presence
        .set(session.user, session.device, state, request.status_msg, app.now_ms())?;
    tell(&app, &session, is_news)?;
    Ok(set_presence::v3::Response::new())
}

/// Wakes who should hear of a change.
fn tell(app: &App, session: &Session, is_news: bool) -> Result<(), ApiError> {
    if is_news {
        app.syncer.wake_for_presence(session.user)?;
    }
    Ok(())
}

/// Notes that the user asks for news, as `set_presence` of the query says; they count as there while the answer's guard
/// lives.
pub(crate) fn syncing(app: &App, session: &Session, query: &str) -> Result<Syncing, ApiError> {
    let wish = match query_value(query, "set_presence").filter(|word| !word.is_empty()) {
        None => State::Online,
        Some(word) => State::parse(&word)
            .ok_or_else(|| ApiError::invalid_param("set_presence is one of online, unavailable, offline"))?,
    };
    let wish = if app.settings.load().presence {
        wish
    } else {
        State::Offline
    };
    let (syncing, is_news) = app.presence.syncing(session.user, session.device, wish, &app.clock);
    tell(app, session, is_news)?;
    Ok(syncing)
}

/// Notes that the user did something: wrote a message, or read one.
pub(crate) fn active(app: &App, session: &Session) -> Result<(), ApiError> {
    let is_news = app.presence.active(session.user, session.device, app.now_ms());
    tell(app, session, is_news)
}

impl From<StatusTooLong> for ApiError {
    fn from(error: StatusTooLong) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_TOO_LARGE", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{self, call};
    use serde_json::json;

    #[tokio::test]
    async fn presence_can_be_switched_off() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let path = "/_matrix/client/v3/presence/@alice:example.org/status";
        let here = json!({"presence": "online", "status_msg": "here"});
        let settings = crate::Settings {
            presence: false,
            ..crate::Settings::default()
        };
        app.settings.store(std::sync::Arc::new(settings));
        assert_eq!(call(&app, "PUT", path, Some(&alice), Some(here)).await.0, 200);
        let (_, sync) = call(&app, "GET", "/_matrix/client/v3/sync", Some(&alice), None).await;
        let told = sync.pointer("/presence/events/0/content/presence");
        assert_eq!(told, Some(&json!("offline")));
        let (_, body) = call(&app, "GET", path, Some(&alice), None).await;
        assert_eq!(body.get("presence"), Some(&json!("offline")));
        assert_eq!(body.get("status_msg"), None);
    }

    #[tokio::test]
    async fn syncing_tells_that_somebody_is_there_unless_they_hide() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let path = "/_matrix/client/v3/presence/@alice:example.org/status";
        for (query, expected) in [
            ("?set_presence=offline", "offline"),
            ("?set_presence=unavailable", "unavailable"),
            ("", "online"),
        ] {
            let target = format!("/_matrix/client/v3/sync{query}");
            let (_, sync) = call(&app, "GET", &target, Some(&alice), None).await;
            let told = sync.pointer("/presence/events/0/content/presence");
            assert_eq!(told, Some(&json!(expected)), "{sync}");
            let (_, body) = call(&app, "GET", path, Some(&alice), None).await;
            assert_eq!(body.get("presence"), Some(&json!(expected)));
        }
        let wrong = "/_matrix/client/v3/sync?set_presence=floating";
        assert_eq!(call(&app, "GET", wrong, Some(&alice), None).await.0, 400);
    }

    #[tokio::test]
    async fn presence_is_shown_to_those_who_share_a_room() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let bob = testing::register(&app, "bob").await;
        let path = "/_matrix/client/v3/presence/@alice:example.org/status";
        let (status, body) = call(&app, "GET", path, Some(&alice), None).await;
        assert_eq!((status.as_u16(), body), (200, json!({"presence": "offline"})));
        let here = json!({"presence": "online", "status_msg": "here"});
        assert_eq!(call(&app, "PUT", path, Some(&alice), Some(here.clone())).await.0, 200);
        assert_eq!(call(&app, "PUT", path, Some(&bob), Some(here)).await.0, 403);
        let (_, body) = call(&app, "GET", path, Some(&alice), None).await;
        assert_eq!(
            body,
            json!({"presence": "online", "status_msg": "here", "currently_active": true, "last_active_ago": 0})
        );
        assert_eq!(call(&app, "GET", path, Some(&bob), None).await.0, 403);
        let nobody = "/_matrix/client/v3/presence/@nobody:example.org/status";
        assert_eq!(call(&app, "GET", nobody, Some(&bob), None).await.0, 403);
        let wrong = json!({"presence": "floating"});
        assert_eq!(call(&app, "PUT", path, Some(&alice), Some(wrong)).await.0, 400);
    }
}
