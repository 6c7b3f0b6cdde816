//! A first look: at one room (`GET /rooms/{roomId}/initialSync`), also without being in it, and at all of them
//! (`GET /initialSync`).

use crate::limit::Limited;
use crate::look::Look;
use crate::message::limit;
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_accounts::account_data::{self, Item, Scope};
use lamchat_base::UserNum;
use lamchat_http::{Request, Response, query_value};
use lamchat_rooms::event::{EventRow, write_string};
use lamchat_rooms::filter::EventFilter;
use lamchat_rooms::timeline::{self, PageRequest, Point};
use lamchat_rooms::{Membership, context, directory, invite_permission, log, membership, room};
use lamchat_store::{Order, Read};
use std::sync::Arc;

/// Events of a room if the client does not say, and the most.
const EVENTS_DEFAULT: usize = 20;
const EVENTS_MAX: usize = 100;
const PUSH_RULES: &str = "m.push_rules";

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, "/_matrix/client/v3/rooms/{room_id}/initialSync", one);
    r.raw(Method::GET, "/_matrix/client/v3/initialSync", all);
}

fn events(request: &Request) -> Result<usize, ApiError> {
    Ok(limit(request.query())?.unwrap_or(EVENTS_DEFAULT).min(EVENTS_MAX))
}

/// "Get a copy of the current state and the most recent messages in a room."
async fn one(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let events = events(&request)?;
    let look = Look::at(&app, &session, request.params.value("room_id"))?;
    let mut out = Vec::with_capacity(16 << 10);
    write_room(&mut out, &app, &look, session.user, events)?;
    out.pop();
    out.extend_from_slice(b",\"presence\":[],\"receipts\":[]}");
    Ok(Response::json(StatusCode::OK, out))
}

/// "This endpoint was deprecated in r0 of this specification." Like an initial sync, and as long.
async fn all(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    let events = events(&request)?;
    let with_left = query_value(request.query(), "archived").as_deref() == Some("true");
    let written = tokio::task::spawn_blocking(move || write_all(&app, &session, events, with_left)).await;
    Ok(Response::json(StatusCode::OK, written.map_err(ApiError::internal)??))
}

fn write_all(app: &App, session: &Session, events: usize, with_left: bool) -> Result<Vec<u8>, ApiError> {
    let read = app.store.read();
    let takes_invites = !invite_permission::blocks(&read, session.user)?;
    let mut out = b"{\"end\":".to_vec();
    write_string(&mut out, &Point::after(read.position()).token(app.store.epoch()));
    out.extend_from_slice(b",\"presence\":[],\"rooms\":[");
    let mut is_first = true;
    for (num, member) in membership::rooms_of(&read, session.user)? {
        let is_told = match member.membership {
            Membership::Join | Membership::Knock => true,
            Membership::Invite => takes_invites,
            Membership::Leave | Membership::Ban => with_left && !member.forgotten,
        };
        if !is_told {
            continue;
        }
        let room = room::by_num(&read, num)?;
        let mut entry = Vec::with_capacity(16 << 10);
        if matches!(member.membership, Membership::Invite | Membership::Knock) {
            entry.extend_from_slice(b"{\"room_id\":");
            write_string(&mut entry, room.id.as_str());
            entry.extend_from_slice(b",\"membership\":");
            write_string(&mut entry, member.membership.as_str());
            if member.membership == Membership::Invite {
                let bytes = log::known_event(&read, member.position)?;
                entry.extend_from_slice(b",\"invite\":");
                EventRow::decode(&bytes)?.write_stripped(&mut entry);
            }
            entry.push(b'}');
        } else {
            // Who only refused an invitation sees nothing of the room.
            let Ok(look) = Look::into(app, session, &room.id) else {
                continue;
            };
            write_room(&mut entry, app, &look, session.user, events)?;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        out.append(&mut entry);
    }
    out.extend_from_slice(b"],\"account_data\":[");
    let mut items = account_data::all(&read, session.user, Scope::Global)?;
    items.retain(|item| item.event_type != PUSH_RULES);
    items.push(Item {
        scope: Scope::Global,
        event_type: PUSH_RULES.to_owned(),
        content: lamchat_push::rules::account_data_content(&read, session.user, &session.user_id)?,
        position: read.position(),
    });
    write_items(&mut out, &items);
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// Appends a room with its newest events, oldest first, and its state.
fn write_room(out: &mut Vec<u8>, app: &App, look: &Look<'_>, user: UserNum, limit: usize) -> Result<(), ApiError> {
    let epoch = app.store.epoch();
    let (read, room) = (&look.read, look.room.num);
    let mut view = look.view();
    let everything = EventFilter::default();
    let newest = Point::after(read.position());
    let asked = PageRequest {
        from: Some(newest),
        to: None,
        direction: Order::Descending,
        limit,
        filter: &everything,
    };
    let mut page = timeline::page(read, room, &look.standing, &mut view, &asked)?;
    // The most recent event is the last.
    page.entries.reverse();
    out.extend_from_slice(b"{\"room_id\":");
    write_string(out, look.room.id.as_str());
    if let Some(member) = look.standing.member {
        out.extend_from_slice(b",\"membership\":");
        write_string(out, member.membership.as_str());
    }
    out.extend_from_slice(b",\"visibility\":");
    let is_published = directory::is_published(read, room)?;
    write_string(out, if is_published { "public" } else { "private" });
    out.extend_from_slice(b",\"messages\":{\"chunk\":");
    timeline::write_events(out, &mut view, &page.entries)?;
    out.extend_from_slice(b",\"start\":");
    let oldest = page.entries.first().map_or(newest, |entry| Point::before(entry.order));
    write_string(out, &page.end.unwrap_or(oldest).token(epoch));
    out.extend_from_slice(b",\"end\":");
    write_string(out, &newest.token(epoch));
    out.extend_from_slice(b"},\"state\":[");
    for (index, position) in context::state_for(read, room, &look.standing)?.values().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let bytes = log::known_event(read, *position)?;
        view.write(out, *position, &EventRow::decode(&bytes)?)?;
    }
    out.extend_from_slice(b"],\"account_data\":[");
    write_items(out, &account_data::all(read, user, Scope::Room(room))?);
    out.extend_from_slice(b"]}");
    Ok(())
}

fn write_items(out: &mut Vec<u8>, items: &[Item]) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"content\":");
        out.extend_from_slice(&item.content);
        out.extend_from_slice(b",\"type\":");
        write_string(out, &item.event_type);
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use crate::testing::{self, call};
    use serde_json::{Value, json};

    #[tokio::test]
    async fn all_rooms_are_looked_at_at_once() {
        let app = testing::app();
        let (alice, bob) = (
            testing::register(&app, "alice").await,
            testing::register(&app, "bob").await,
        );
        let ask = async |method: &str, path: &str, token: &str, body: Option<Value>| {
            let path = format!("/_matrix/client/v3{path}");
            let (status, answer) = call(&app, method, &path, Some(token), body).await;
            assert_eq!(status, 200, "{path}: {answer}");
            answer
        };
        let room = async |body: Value| {
            let made = ask("POST", "/createRoom", &alice, Some(body)).await;
            made["room_id"].as_str().unwrap().to_owned()
        };
        let joined = room(json!({"preset": "public_chat", "name": "Here"})).await;
        let left = room(json!({"preset": "public_chat"})).await;
        let invited = room(json!({"invite": ["@bob:example.org"]})).await;
        for id in [&joined, &left] {
            ask("POST", &format!("/rooms/{id}/join"), &bob, Some(json!({}))).await;
        }
        ask("POST", &format!("/rooms/{left}/leave"), &bob, Some(json!({}))).await;
        let path = "/initialSync?limit=1";
        let look = ask("GET", path, &bob, None).await;
        let rooms = look["rooms"].as_array().unwrap();
        assert_eq!(rooms.len(), 2, "{look}");
        let of = |rooms: &[Value], id: &str| rooms.iter().find(|room| room["room_id"] == id).unwrap().clone();
        let here = of(rooms, &joined);
        assert_eq!(
            (&here["membership"], &here["visibility"]),
            (&json!("join"), &json!("private"))
        );
        let chunk = here["messages"]["chunk"].as_array().unwrap();
        assert_eq!((chunk.len(), &chunk[0]["state_key"]), (1, &json!("@bob:example.org")));
        assert!(
            here["state"]
                .as_array()
                .unwrap()
                .iter()
                .any(|event| event["type"] == "m.room.name")
        );
        assert_eq!(of(rooms, &invited)["invite"]["content"]["membership"], "invite");
        assert_eq!(look["account_data"][0]["type"], "m.push_rules");
        // On from its end.
        let events = format!(
            "/events?room_id={joined}&timeout=0&from={}",
            look["end"].as_str().unwrap()
        );
        assert_eq!(ask("GET", &events, &bob, None).await["chunk"], json!([]));
        let all = ask("GET", &format!("{path}&archived=true"), &bob, None).await;
        let rooms = all["rooms"].as_array().unwrap();
        assert_eq!((rooms.len(), &of(rooms, &left)["membership"]), (3, &json!("leave")));
    }
}
