//! Events that are sent later (MSC4140, unstable): Element Call has the server tell that a participant is gone, and puts that off
//! as long as the participant is there.

use crate::limit::Limited;
use crate::wire::{body, check_json, json};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response, query_value};
use lamchat_rooms::delayed::{DELAY_MS_MAX, Delayed, NewDelayed, ScheduleError, UpdateError};
use lamchat_rooms::visibility::LookError;
use lamchat_rooms::{Caller, membership, room};
use lamchat_rules::Object;
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use std::sync::Arc;

const ALL: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
const ONE: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}";
const ACTION: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/{action}";
const DELAY: &str = "org.matrix.msc4140.delay";
const PARENT: &str = "org.matrix.msc4140.parent_delay_id";

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, ALL, all);
    r.raw(Method::GET, ONE, one);
    // Who knows an id may use it: a call's media server restarts the delay for a participant whom it still sees. The action
    // stands in the path; in an earlier draft, which clients still speak, in the body.
    r.raw_optional(Method::POST, ACTION, update_by_path).to_the_end();
    r.raw_optional(Method::POST, ONE, update_by_body).to_the_end();
}

/// The delay that a query of `/send` or `/state` asks for, in milliseconds.
pub(crate) fn asked(query: &str) -> Result<Option<u64>, ApiError> {
    if !query.contains("org.matrix.msc4140") {
        return Ok(None);
    }
    if query_value(query, PARENT).is_some() {
        return Err(ApiError::invalid_param(
            "Events cannot follow other delayed events here",
        ));
    }
    match query_value(query, DELAY).map(|delay| delay.parse::<u64>()) {
        None => Ok(None),
        Some(Ok(delay)) if delay > 0 => Ok(Some(delay)),
        Some(_) => Err(ApiError::invalid_param("The delay is a number of milliseconds above 0")),
    }
}

/// What is to be sent later.
pub(crate) struct Later {
    pub(crate) room: OwnedRoomId,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) content: Object,
    pub(crate) transaction_id: Option<String>,
    pub(crate) delay_ms: u64,
}

/// Has an event wait.
pub(crate) async fn schedule(app: Arc<App>, caller: Caller, later: Later) -> Result<Response, ApiError> {
    must_be_joined(&app, &caller, &later.room)?;
    // Carried out even if the client hangs up: between its two steps nothing may be lost.
    let work = async move {
        let new = NewDelayed {
            room: &later.room,
            event_type: &later.event_type,
            state_key: later.state_key.as_deref(),
            content: later.content,
            transaction_id: later.transaction_id.as_deref(),
            delay_ms: later.delay_ms,
        };
        app.delayed.schedule(&caller, new).await
    };
    let id = tokio::spawn(work).await.map_err(ApiError::internal)??;
    json(StatusCode::OK, &json!({ "delay_id": id }))
}

/// What the room's rules say is seen when the event is sent; whoever is not in the room is told now.
fn must_be_joined(app: &App, caller: &Caller, room_id: &RoomId) -> Result<(), ApiError> {
    let read = app.store.read();
    match room::num(&read, room_id)? {
        Some(room) if membership::is_joined(&read, caller.user, room)? => Ok(()),
        _ => Err(LookError::NotMember.into()),
    }
}

/// After a state event: what others wanted to set there later is out of date.
pub(crate) async fn supersede(app: &Arc<App>, caller: &Caller, room: OwnedRoomId, event_type: &str, state_key: &str) {
    if !app.delayed.is_any() {
        return;
    }
    let (app, user) = (Arc::clone(app), caller.user);
    let (event_type, state_key) = (event_type.to_owned(), state_key.to_owned());
    let work = async move { app.delayed.supersede(user, &room, &event_type, &state_key).await };
    match tokio::spawn(work).await {
        Ok(Ok(())) => {}
        // The state is set all the same.
        Ok(Err(error)) => tracing::warn!(%error, "a delayed event is out of date and could not be cancelled"),
        Err(error) => tracing::error!(%error, "cancelling a delayed event failed"),
    }
}

async fn all(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let query = request.query();
    let (status, id) = (query_value(query, "status"), query_value(query, "delay_id"));
    let waiting = app.delayed.of_user(session.user)?;
    let waiting: Vec<Value> = waiting
        .iter()
        .filter(|(own, _)| id.as_deref().is_none_or(|id| id == own))
        .map(|(id, delayed)| item(id, delayed))
        .collect::<Result<_, _>>()?;
    let answer = match status.as_deref() {
        // What has been sent is in the timeline; nothing is kept of it here.
        Some("finalised") => json!({ "finalised": [] }),
        Some("scheduled") => json!({ "scheduled": waiting }),
        Some(_) => return Err(ApiError::invalid_param("status is `scheduled` or `finalised`")),
        // `delayed_events` is the name of an earlier draft.
        None => json!({ "scheduled": waiting, "finalised": [], "delayed_events": waiting }),
    };
    json(StatusCode::OK, &answer)
}

async fn one(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let id = request.params.value("delay_id");
    let delayed = app.delayed.one(session.user, id)?.ok_or(UpdateError::NotFound)?;
    json(StatusCode::OK, &item(id, &delayed)?)
}

fn item(id: &str, delayed: &Delayed) -> Result<Value, ApiError> {
    let content: Value = serde_json::from_str(&delayed.content).map_err(ApiError::internal)?;
    let mut item = json!({
        "delay_id": id,
        "room_id": delayed.room,
        "type": delayed.event_type,
        "delay": delayed.delay_ms,
        "running_since": delayed.since_ms,
        "content": content,
    });
    if let (Some(item), Some(state_key)) = (item.as_object_mut(), &delayed.state_key) {
        item.insert("state_key".to_owned(), state_key.as_str().into());
    }
    Ok(item)
}

async fn update_by_path(app: Arc<App>, session: Option<Session>, request: Request) -> Result<Response, ApiError> {
    let (id, action) = (request.params.value("delay_id"), request.params.value("action"));
    admit(&app, session.as_ref(), &request, id)?;
    update(&app, id, action).await
}

async fn update_by_body(app: Arc<App>, session: Option<Session>, mut request: Request) -> Result<Response, ApiError> {
    #[derive(serde::Deserialize)]
    struct Body {
        action: String,
    }
    let bytes = body(&mut request).await?;
    check_json(&bytes)?;
    let asked: Body = serde_json::from_slice(&bytes)?;
    let id = request.params.value("delay_id");
    admit(&app, session.as_ref(), &request, id)?;
    update(&app, id, &asked.action).await
}

/// The id of somebody else's is as good as none for who says who they are.
fn admit(app: &App, session: Option<&Session>, request: &Request, id: &str) -> Result<(), ApiError> {
    let Some(session) = session else {
        return app.limit(Limited::Other, request.peer);
    };
    app.limit(Limited::Message, session.user)?;
    app.delayed.one(session.user, id)?.ok_or(UpdateError::NotFound)?;
    Ok(())
}

async fn update(app: &App, id: &str, action: &str) -> Result<Response, ApiError> {
    match action {
        "cancel" => app.delayed.cancel(id).await?,
        "restart" => app.delayed.restart(id).await?,
        "send" => app.delayed.send(id).await?,
        _ => return Err(ApiError::invalid_param("action is `cancel`, `restart` or `send`")),
    }
    json(StatusCode::OK, &json!({}))
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> Self {
        // The names of the errors are unstable: "M_UNKNOWN" carries them.
        let unstable = |name: &'static str| {
            Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", error.to_string()).with("org.matrix.msc4140.errcode", name)
        };
        match error {
            ScheduleError::Delay => unstable("M_MAX_DELAY_EXCEEDED").with("org.matrix.msc4140.max_delay", DELAY_MS_MAX),
            ScheduleError::TooMany => unstable("M_MAX_DELAYED_EVENTS_EXCEEDED"),
            ScheduleError::TooLarge => Self::too_large(error.to_string()),
            ScheduleError::Read(error) => error.into(),
            ScheduleError::Commit(error) => error.into(),
        }
    }
}

impl From<UpdateError> for ApiError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::NotFound => Self::not_found("No event waits under this id"),
            UpdateError::Message(error) => error.into(),
            UpdateError::State(error) => error.into(),
            UpdateError::Read(error) => error.into(),
            UpdateError::Commit(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use crate::App;
    use crate::testing::{app, call, register};
    use serde_json::{Value, json};
    use std::sync::Arc;

    const ALL: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
    const CLIENT: &str = "/_matrix/client/v3";

    async fn room(app: &Arc<App>, token: &str) -> String {
        let body = json!({"preset": "public_chat"});
        let (_, made) = call(app, "POST", &format!("{CLIENT}/createRoom"), Some(token), Some(body)).await;
        made["room_id"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_delayed_leave_is_put_off_listed_and_sent() {
        let app = app();
        let (alice, bob) = (register(&app, "alice").await, register(&app, "bob").await);
        let room = room(&app, &alice).await;
        let state = format!("{CLIENT}/rooms/{room}/state/org.matrix.msc3401.call.member/@alice:example.org");
        let put = async |delay: &str, token: &str| {
            let path = format!("{state}?org.matrix.msc4140.delay={delay}");
            let (status, answer) = call(&app, "PUT", &path, Some(token), Some(json!({}))).await;
            (status.as_u16(), answer)
        };
        for wrong in ["0", "-1", "soon", ""] {
            let (status, error) = put(wrong, &alice).await;
            assert_eq!((status, &error["errcode"]), (400, &json!("M_INVALID_PARAM")), "{wrong}");
        }
        let (status, error) = put("86400001", &alice).await;
        assert_eq!((status, &error["errcode"]), (400, &json!("M_UNKNOWN")));
        assert_eq!(error["org.matrix.msc4140.errcode"], "M_MAX_DELAY_EXCEEDED");
        assert_eq!(error["org.matrix.msc4140.max_delay"], 86_400_000);
        assert_eq!(put("1000", &bob).await.0, 403);
        let (status, answer) = put("8000", &alice).await;
        assert_eq!(status, 200, "{answer}");
        let id = answer["delay_id"].as_str().unwrap().to_owned();
        assert_eq!(call(&app, "GET", &state, Some(&alice), None).await.0, 404);

        let listed = async |token: &str, query: &str| {
            let (status, answer) = call(&app, "GET", &format!("{ALL}{query}"), Some(token), None).await;
            assert_eq!(status, 200, "{answer}");
            answer
        };
        let waiting = listed(&alice, "").await;
        let item = &waiting["scheduled"][0];
        assert_eq!((&item["delay_id"], &item["delay"]), (&json!(id), &json!(8000)));
        assert_eq!((&item["room_id"], &item["content"]), (&json!(room), &json!({})));
        assert_eq!(item["state_key"], "@alice:example.org");
        assert_eq!(listed(&alice, &format!("/{id}")).await, *item);
        assert_eq!(listed(&alice, "?status=finalised").await, json!({"finalised": []}));
        assert_eq!(listed(&bob, "?status=scheduled").await, json!({"scheduled": []}));

        let update = async |token: Option<&str>, tail: &str, body: Value| {
            let (status, answer) = call(&app, "POST", &format!("{ALL}/{id}{tail}"), token, Some(body)).await;
            (status.as_u16(), answer["errcode"].clone())
        };
        let gone = (404, json!("M_NOT_FOUND"));
        assert_eq!(update(Some(&bob), "/restart", json!({})).await, gone);
        assert_eq!(update(Some(&alice), "/other", json!({})).await.0, 400);
        assert_eq!(update(Some(&alice), "/restart", json!({})).await, (200, Value::Null));
        assert_eq!(update(None, "", json!({"action": "restart"})).await, (200, Value::Null));
        assert_eq!(update(None, "/send", json!({})).await, (200, Value::Null));
        assert_eq!(call(&app, "GET", &state, Some(&alice), None).await.0, 200);
        assert_eq!(update(Some(&alice), "/cancel", json!({})).await, gone);
    }

    #[tokio::test]
    async fn messages_wait_and_newer_state_of_others_cancels() {
        let app = app();
        let (alice, bob) = (register(&app, "alice").await, register(&app, "bob").await);
        let room = room(&app, &alice).await;
        call(
            &app,
            "POST",
            &format!("{CLIENT}/rooms/{room}/join"),
            Some(&bob),
            Some(json!({})),
        )
        .await;
        let levels = json!({"users": {"@bob:example.org": 50}, "state_default": 50});
        let path = format!("{CLIENT}/rooms/{room}/state/m.room.power_levels/");
        assert_eq!(call(&app, "PUT", &path, Some(&alice), Some(levels)).await.0, 200);
        let send = format!("{CLIENT}/rooms/{room}/send/m.room.message/t?org.matrix.msc4140.delay=1000");
        let body = json!({"msgtype": "m.text", "body": "later"});
        let (status, first) = call(&app, "PUT", &send, Some(&alice), Some(body.clone())).await;
        assert_eq!(status, 200, "{first}");
        assert_eq!(call(&app, "PUT", &send, Some(&alice), Some(body)).await.1, first);
        let topic = format!("{CLIENT}/rooms/{room}/state/m.room.topic/");
        let later = format!("{topic}?org.matrix.msc4140.delay=1000");
        let put = async |token: &str, path: &str| {
            call(&app, "PUT", path, Some(token), Some(json!({"topic": token})))
                .await
                .0
        };
        assert_eq!(put(&alice, &later).await, 200);
        assert_eq!(put(&alice, &topic).await, 200);
        let waiting = async || {
            let (_, answer) = call(&app, "GET", ALL, Some(&alice), None).await;
            answer["scheduled"].as_array().unwrap().len()
        };
        assert_eq!(waiting().await, 2);
        assert_eq!(put(&bob, &topic).await, 200);
        assert_eq!(waiting().await, 1);
    }
}
