//! `GET /rooms/{roomId}/context/{eventId}`.

use crate::look::{Look, write_one};
use crate::message::{filter, limit};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response};
use lamchat_rooms::event::{EventRow, write_string};
use lamchat_rooms::timeline::{self, Entry, Point};
use lamchat_rooms::{context, log};
use std::collections::HashSet;
use std::sync::Arc;

/// "limit: (…) Default: 10." (Matrix 1.16)
const LIMIT_DEFAULT: usize = 10;
/// Most events around one.
const LIMIT_MAX: usize = 200;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(
        Method::GET,
        "/_matrix/client/v3/rooms/{room_id}/context/{event_id}",
        around,
    );
}

async fn around(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let filter = filter(request.query())?;
    let limit = limit(request.query())?
        .or(filter.limit)
        .unwrap_or(LIMIT_DEFAULT)
        .min(LIMIT_MAX);
    let epoch = app.store.epoch();
    let look = Look::at(&app, &session, request.params.value("room_id"))?;
    let mut view = look.view();
    let (read, room) = (&look.read, look.room.num);
    let event_id = request.params.value("event_id");
    let found = context::around(read, room, &look.standing, &mut view, event_id, limit, &filter)?;
    let mut out = Vec::with_capacity(16 << 10);
    out.extend_from_slice(b"{\"event\":");
    write_one(&mut out, &mut view, &found.event)?;
    out.extend_from_slice(b",\"events_before\":");
    timeline::write_events(&mut out, &mut view, &found.before.entries)?;
    out.extend_from_slice(b",\"events_after\":");
    timeline::write_events(&mut out, &mut view, &found.after.entries)?;
    // Both are always there: a client goes on from them when new events have come.
    let start = found.before.entries.last().unwrap_or(&found.event);
    out.extend_from_slice(b",\"start\":");
    write_string(
        &mut out,
        &found.before.end.unwrap_or(Point::before(start.order)).token(epoch),
    );
    let end = found.after.entries.last().unwrap_or(&found.event);
    out.extend_from_slice(b",\"end\":");
    write_string(&mut out, &found.after.end.unwrap_or(Point(end.order)).token(epoch));
    out.extend_from_slice(b",\"state\":[");
    let senders = senders(
        found
            .before
            .entries
            .iter()
            .chain(&found.after.entries)
            .chain([&found.event]),
    )?;
    let mut is_first = true;
    for ((event_type, state_key), position) in &found.state {
        if filter.lazy_load_members && event_type == "m.room.member" && !senders.contains(state_key.as_str()) {
            continue;
        }
        let bytes = log::known_event(read, *position)?;
        // "The filter is only applied to `events_before`, `events_after`, and `state`."
        if !filter.is_all() && !filter.allows(&EventRow::decode(&bytes)?) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        view.write(&mut out, *position, &EventRow::decode(&bytes)?)?;
    }
    out.extend_from_slice(b"]}");
    Ok(Response::json(StatusCode::OK, out))
}

fn senders<'e>(entries: impl Iterator<Item = &'e Entry>) -> Result<HashSet<&'e str>, ApiError> {
    let mut senders = HashSet::new();
    for entry in entries {
        senders.insert(entry.row()?.sender);
    }
    Ok(senders)
}
