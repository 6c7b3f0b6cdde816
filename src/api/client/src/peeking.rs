//! Looking into a room without being in it: `GET /events`. Who has been in it may as well. What is there already,
//! `GET /rooms/{roomId}/initialSync` tells.

use crate::look::{Look, parse_room_id};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response, query_value};
use lamchat_rooms::event::write_string;
use lamchat_rooms::filter::EventFilter;
use lamchat_rooms::timeline::{self, PageRequest, Point};
use lamchat_store::{Order, Read, Topic};
use lamchat_sync::TIMEOUT_MAX;
use std::sync::Arc;
use std::time::Duration;

/// Most events of an answer.
const EVENTS_MAX: usize = 100;
/// How long a request waits if the client does not say, in milliseconds.
const TIMEOUT_DEFAULT_MS: u64 = 30_000;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, "/_matrix/client/v3/events", listen).long();
}

/// "This will listen for new events related to a particular room and return them to the caller. This will block until an
/// event is received, or until the timeout is reached."
async fn listen(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let query = request.query();
    let room_id = query_value(query, "room_id").ok_or_else(|| ApiError::missing_param("room_id"))?;
    let room_id = parse_room_id(&room_id)?;
    let from = query_value(query, "from").filter(|from| !from.is_empty());
    let from = from.map(|from| Point::parse(&from, app.store.epoch())).transpose()?;
    let timeout = query_value(query, "timeout").map(|timeout| timeout.parse()).transpose();
    let timeout = timeout.map_err(|_| ApiError::invalid_param("timeout is not a number"))?;
    let timeout = Duration::from_millis(timeout.unwrap_or(TIMEOUT_DEFAULT_MS)).min(TIMEOUT_MAX);
    let deadline = tokio::time::Instant::now() + timeout;
    let (mut watch, from) = {
        let look = Look::into(&app, &session, &room_id)?;
        let from = from.unwrap_or(Point::after(look.read.position()));
        (app.store.watch(&[Topic::room(look.room.num)]), from)
    };
    loop {
        let (body, is_news) = since(&app, &session, &room_id, from)?;
        if is_news || !app.syncer.changed(&mut watch, deadline).await {
            return Ok(Response::json(StatusCode::OK, body));
        }
    }
}

/// What is new after a point, and whether there is anything.
fn since(app: &App, session: &Session, room_id: &ruma::RoomId, from: Point) -> Result<(Vec<u8>, bool), ApiError> {
    let epoch = app.store.epoch();
    let look = Look::into(app, session, room_id)?;
    let mut view = look.view();
    let everything = EventFilter::default();
    let asked = PageRequest {
        from: Some(from),
        to: None,
        direction: Order::Ascending,
        limit: EVENTS_MAX,
        filter: &everything,
    };
    let page = timeline::page(&look.read, look.room.num, &look.standing, &mut view, &asked)?;
    let end = match page.entries.last() {
        _ if page.end.is_some() => page.end,
        Some(last) => Some(Point(last.order)),
        None => None,
    };
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"start\":");
    write_string(&mut out, &from.token(epoch));
    out.extend_from_slice(b",\"end\":");
    write_string(&mut out, &end.unwrap_or(from).token(epoch));
    out.extend_from_slice(b",\"chunk\":");
    timeline::write_events(&mut out, &mut view, &page.entries)?;
    out.push(b'}');
    Ok((out, !page.entries.is_empty()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use crate::testing::{self, call};
    use serde_json::{Value, json};
    use std::time::Duration;

    #[tokio::test]
    async fn world_readable_rooms_can_be_watched_by_everybody() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let bob = testing::register(&app, "bob").await;
        let readable =
            json!([{"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}]);
        let make = async |body: Value| {
            let (_, room) = call(&app, "POST", "/_matrix/client/v3/createRoom", Some(&alice), Some(body)).await;
            room["room_id"].as_str().unwrap().to_owned()
        };
        let open = make(json!({"initial_state": readable, "name": "Open"})).await;
        let closed = make(json!({})).await;
        let say = async |room: &str, body: &str| {
            let content = json!({"msgtype": "m.text", "body": body});
            let target = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{body}");
            assert_eq!(call(&app, "PUT", &target, Some(&alice), Some(content)).await.0, 200);
        };
        say(&open, "one").await;
        say(&open, "two").await;
        let first = |room: &str, query: &str| format!("/_matrix/client/v3/rooms/{room}/initialSync{query}");
        let (status, look) = call(&app, "GET", &first(&open, "?limit=1"), Some(&bob), None).await;
        assert_eq!(status, 200, "{look}");
        assert_eq!(
            (&look["room_id"], &look["membership"], &look["visibility"]),
            (&json!(open), &Value::Null, &json!("private"))
        );
        let chunk = look["messages"]["chunk"].as_array().unwrap();
        assert_eq!((chunk.len(), &chunk[0]["content"]["body"]), (1, &json!("two")));
        let state = look["state"].as_array().unwrap();
        assert!(state.iter().any(|event| event["type"] == "m.room.name"));
        // Back from its start.
        let start = look["messages"]["start"].as_str().unwrap();
        let back = format!("/_matrix/client/v3/rooms/{open}/messages?dir=b&limit=1&from={start}");
        let (_, page) = call(&app, "GET", &back, Some(&bob), None).await;
        assert_eq!(page["chunk"][0]["content"]["body"], "one");

        // And on from its end.
        let end = look["messages"]["end"].as_str().unwrap().to_owned();
        let listen = |from: &str, timeout: u64| {
            format!("/_matrix/client/v3/events?room_id={open}&from={from}&timeout={timeout}")
        };
        let (_, quiet) = call(&app, "GET", &listen(&end, 0), Some(&bob), None).await;
        assert_eq!((&quiet["chunk"], &quiet["end"]), (&json!([]), &json!(end)));
        let waiting = tokio::spawn({
            let (app, bob, target) = (app.clone(), bob.clone(), listen(&end, 60_000));
            async move { call(&app, "GET", &target, Some(&bob), None).await.1 }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        say(&open, "three").await;
        let news = tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(news["chunk"][0]["content"]["body"], "three");
        let next = news["end"].as_str().unwrap();
        let (_, quiet) = call(&app, "GET", &listen(next, 0), Some(&bob), None).await;
        assert_eq!(quiet["chunk"], json!([]));

        let (status, error) = call(&app, "GET", &first(&closed, ""), Some(&bob), None).await;
        assert_eq!((status.as_u16(), &error["errcode"]), (403, &json!("M_FORBIDDEN")));
        let target = format!("/_matrix/client/v3/events?room_id={closed}&timeout=0");
        assert_eq!(call(&app, "GET", &target, Some(&bob), None).await.0, 403);
        for wrong in [
            "",
            "?room_id=x",
            &format!("?room_id={open}&from=x"),
            &format!("?room_id={open}&timeout=x"),
        ] {
            let target = format!("/_matrix/client/v3/events{wrong}");
            assert_eq!(call(&app, "GET", &target, Some(&bob), None).await.0, 400, "{wrong}");
        }
        let (_, own) = call(&app, "GET", &first(&closed, ""), Some(&alice), None).await;
        assert_eq!(own["membership"], "join");
    }
}
