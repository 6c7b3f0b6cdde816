//! `GET /notifications`: what the caller was notified about.

use crate::message::limit;
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response, query_value};
use lamchat_push::unread::PAGE_MAX;
use lamchat_rooms::event::{EventRow, write_number, write_string};
use lamchat_rooms::room;
use lamchat_rooms::timeline::Point;
use lamchat_rooms::view::{Ignored, Reader, View};
use lamchat_rooms::visibility::Standing;
use std::sync::Arc;

/// Notifications of a page, if the client does not say.
const LIMIT_DEFAULT: usize = 20;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, "/_matrix/client/v3/notifications", list);
}

async fn list(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let query = request.query();
    let epoch = app.store.epoch();
    let from = query_value(query, "from").filter(|from| !from.is_empty());
    let from = from.map(|from| Point::parse(&from, epoch)).transpose()?;
    let limit = limit(query)?.unwrap_or(LIMIT_DEFAULT).min(PAGE_MAX);
    // "Supply `highlight` to return only events where the notification had the highlight tweak set." Other words filter nothing.
    let only_highlights = query_value(query, "only").as_deref() == Some("highlight");
    app.limit(crate::limit::Limited::Other, session.user)?;
    // Up to some thousand events are looked at: not on a worker that others need.
    let body = tokio::task::spawn_blocking(move || write(&app, &session, from, limit, only_highlights)).await;
    Ok(Response::json(StatusCode::OK, body.map_err(ApiError::internal)??))
}

fn write(
    app: &App,
    session: &Session,
    from: Option<Point>,
    limit: usize,
    only_highlights: bool,
) -> Result<Vec<u8>, ApiError> {
    let read = app.store.read();
    let from = from.map(|point| point.0);
    let page =
        app.syncer
            .unread()
            .notifications(&read, session.user, &session.user_id, from, limit, only_highlights)?;
    let ignored = Ignored::of(&read, session.user)?;
    let reader = Reader {
        user: session.user,
        user_id: &session.user_id,
        device: session.device,
        now_ms: app.now_ms(),
        ignored: &ignored,
    };
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(b"{\"notifications\":[");
    for (index, found) in page.notifications.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let room = room::by_num(&read, found.room)?;
        let row = EventRow::decode(&found.bytes)?;
        out.extend_from_slice(b"{\"actions\":");
        serde_json::to_writer(&mut out, &found.actions).map_err(ApiError::internal)?;
        out.extend_from_slice(b",\"event\":");
        let standing = Standing::of(&read, session.user, found.room)?;
        let mut view = View::new(&read, found.room, None, reader, standing);
        view.load_relations(found.position, found.position)?;
        view.write(&mut out, found.position, &row)?;
        out.extend_from_slice(b",\"read\":");
        out.extend_from_slice(if found.is_read { b"true" } else { b"false" });
        out.extend_from_slice(b",\"room_id\":");
        write_string(&mut out, room.id.as_str());
        out.extend_from_slice(b",\"ts\":");
        write_number(&mut out, row.origin_server_ts);
        out.push(b'}');
    }
    out.push(b']');
    if let Some(next) = page.next {
        out.extend_from_slice(b",\"next_token\":");
        write_string(&mut out, &Point(next).token(app.store.epoch()));
    }
    out.push(b'}');
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use crate::App;
    use crate::testing::{self, call};
    use serde_json::{Value, json};
    use std::sync::Arc;

    async fn list(app: &Arc<App>, token: &str, query: &str) -> Value {
        let target = format!("/_matrix/client/v3/notifications?{query}");
        let (status, page) = call(app, "GET", &target, Some(token), None).await;
        assert_eq!(status, 200, "{page}");
        page
    }

    fn bodies(page: &Value) -> Vec<&str> {
        let list = page["notifications"].as_array().unwrap();
        assert!(
            list.iter()
                .all(|found| found["event"]["room_id"].is_null() && found["room_id"].is_string())
        );
        list.iter()
            .map(|found| found["event"]["content"]["body"].as_str().unwrap_or("?"))
            .collect()
    }

    #[tokio::test]
    async fn notifications_come_newest_first_in_pages_and_know_what_was_read() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let bob = testing::register(&app, "bob").await;
        let room = async || {
            let body = json!({"preset": "public_chat", "name": "r"});
            let (_, room) = call(&app, "POST", "/_matrix/client/v3/createRoom", Some(&alice), Some(body)).await;
            room["room_id"].as_str().unwrap().to_owned()
        };
        let (one, two) = (room().await, room().await);
        let say = async |token: &str, room: &str, body: &str, mentions: Value| {
            let content = json!({"msgtype": "m.text", "body": body, "m.mentions": mentions});
            let target = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{body}");
            let (status, sent) = call(&app, "PUT", &target, Some(token), Some(content)).await;
            assert_eq!(status, 200, "{sent}");
            sent["event_id"].as_str().unwrap().to_owned()
        };
        say(&alice, &one, "before", json!({})).await;
        for room in [&one, &two] {
            let join = format!("/_matrix/client/v3/rooms/{room}/join");
            assert_eq!(call(&app, "POST", &join, Some(&bob), Some(json!({}))).await.0, 200);
        }
        let first = say(&alice, &one, "a", json!({})).await;
        say(&alice, &two, "b", json!({"user_ids": ["@bob:example.org"]})).await;
        say(&bob, &one, "own", json!({})).await;
        let gone = say(&alice, &one, "gone", json!({})).await;
        say(&alice, &one, "c", json!({})).await;
        let redact = format!("/_matrix/client/v3/rooms/{one}/redact/{gone}/1");
        assert_eq!(call(&app, "PUT", &redact, Some(&alice), Some(json!({}))).await.0, 200);
        let receipt = format!("/_matrix/client/v3/rooms/{one}/receipt/m.read/{first}");
        assert_eq!(call(&app, "POST", &receipt, Some(&bob), Some(json!({}))).await.0, 200);
        // What came before Bob is none of his notifications; changes of his name do not move that.
        let name = "/_matrix/client/v3/profile/@bob:example.org/displayname";
        call(&app, "PUT", name, Some(&bob), Some(json!({"displayname": "Bob"}))).await;

        let all = list(&app, &bob, "").await;
        assert_eq!(bodies(&all), ["c", "b", "a"]);
        let read: Vec<_> = all["notifications"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| found["read"].clone())
            .collect();
        assert_eq!(read, [json!(false), json!(false), json!(true)]);
        assert_eq!(all["notifications"][0]["actions"][0], "notify");
        assert_eq!(all["notifications"][0]["ts"], 1_767_225_600_000_u64);
        assert_eq!(all["next_token"], Value::Null);
        assert_eq!(bodies(&list(&app, &bob, "only=highlight").await), ["b"]);
        let page = list(&app, &bob, "limit=2").await;
        assert_eq!(bodies(&page), ["c", "b"]);
        let next = page["next_token"].as_str().unwrap();
        let page = list(&app, &bob, &format!("limit=2&from={next}")).await;
        assert_eq!((bodies(&page), &page["next_token"]), (vec!["a"], &Value::Null));

        // Whoever is ignored notifies no more.
        let ignored = "/_matrix/client/v3/user/@bob:example.org/account_data/m.ignored_user_list";
        let content = json!({"ignored_users": {"@alice:example.org": {}}});
        assert_eq!(call(&app, "PUT", ignored, Some(&bob), Some(content)).await.0, 200);
        assert!(bodies(&list(&app, &bob, "").await).is_empty());
        let (_, sync) = call(&app, "GET", "/_matrix/client/v3/sync", Some(&bob), None).await;
        assert_eq!(
            sync["rooms"]["join"][&one]["unread_notifications"]["notification_count"],
            0
        );

        for wrong in ["from=x", "limit=x", "from=t9_1"] {
            let target = format!("/_matrix/client/v3/notifications?{wrong}");
            let (status, error) = call(&app, "GET", &target, Some(&bob), None).await;
            assert_eq!(
                (status.as_u16(), &error["errcode"]),
                (400, &json!("M_INVALID_PARAM")),
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn an_invitation_notifies() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let bob = testing::register(&app, "bob").await;
        let body = json!({"invite": ["@bob:example.org"]});
        let (_, room) = call(&app, "POST", "/_matrix/client/v3/createRoom", Some(&alice), Some(body)).await;
        let page = list(&app, &bob, "").await;
        let found = page["notifications"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{page}");
        assert_eq!(
            (&found[0]["room_id"], &found[0]["event"]["type"]),
            (&room["room_id"], &json!("m.room.member"))
        );
        assert!(
            list(&app, &alice, "").await["notifications"]
                .as_array()
                .unwrap()
                .is_empty()
        );
    }
}
