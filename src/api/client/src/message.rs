//! `GET /rooms/{roomId}/messages`: pages of a room's timeline.

#[cfg(test)]
mod from_disk;
#[cfg(test)]
mod tests;

use crate::look::Look;
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response, query_value};
use lamchat_rooms::event::write_string;
use lamchat_rooms::filter::EventFilter;
use lamchat_rooms::timeline::{self, PageRequest, Point};
use lamchat_store::Order;
use ruma::api::client::filter::RoomEventFilter;
use std::sync::Arc;

/// "limit: The maximum number of events to return. Default: 10." (Matrix 1.16)
const LIMIT_DEFAULT: usize = 10;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, "/_matrix/client/v3/rooms/{room_id}/messages", messages);
}

async fn messages(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let query = request.query();
    let epoch = app.store.epoch();
    let point = |name| {
        query_value(query, name)
            .filter(|token| !token.is_empty())
            .map(|token| Point::parse(&token, epoch))
            .transpose()
    };
    let filter = filter(query)?;
    let asked = PageRequest {
        from: point("from")?,
        to: point("to")?,
        direction: direction(query)?.ok_or_else(|| ApiError::missing_param("dir: `b` or `f`"))?,
        limit: limit(query)?.or(filter.limit).unwrap_or(LIMIT_DEFAULT),
        filter: &filter,
    };
    let look = Look::at(&app, &session, request.params.value("room_id"))?;
    let mut view = look.view();
    let page = if filter.rooms.is_all() || filter.allows_room(&look.room.id) {
        timeline::page(&look.read, look.room.num, &look.standing, &mut view, &asked)?
    } else {
        timeline::Page {
            start: asked
                .from
                .or(Some(Point::after(lamchat_store::Read::position(&look.read)))),
            ..timeline::Page::default()
        }
    };
    let mut out = Vec::with_capacity(page.entries.iter().map(|entry| entry.bytes.len() + 64).sum::<usize>() + 128);
    out.extend_from_slice(b"{\"chunk\":");
    timeline::write_events(&mut out, &mut view, &page.entries)?;
    if let Some(start) = page.start {
        out.extend_from_slice(b",\"start\":");
        write_string(&mut out, &start.token(epoch));
    }
    // "end: (…) If no further events are available (either because we have reached the start of the timeline, or because the
    // user does not have permission to see any more events), this property is omitted from the response."
    if let Some(end) = page.end {
        out.extend_from_slice(b",\"end\":");
        write_string(&mut out, &end.token(epoch));
    }
    if filter.lazy_load_members {
        out.extend_from_slice(b",\"state\":[");
        timeline::write_members_of(&mut out, &look.read, look.room.num, &mut view, &page.entries)?;
        out.push(b']');
    }
    out.push(b'}');
    Ok(Response::json(StatusCode::OK, out))
}

/// The `dir` of a query.
pub(crate) fn direction(query: &str) -> Result<Option<Order>, ApiError> {
    match query_value(query, "dir").as_deref() {
        Some("b") => Ok(Some(Order::Descending)),
        Some("f") => Ok(Some(Order::Ascending)),
        Some(_) => Err(ApiError::invalid_param("dir is neither `b` nor `f`")),
        None => Ok(None),
    }
}

/// The `limit` of a query.
pub(crate) fn limit(query: &str) -> Result<Option<usize>, ApiError> {
    let limit = query_value(query, "limit")
        .map(|limit| limit.parse::<u64>())
        .transpose();
    let limit = limit.map_err(|_| ApiError::invalid_param("limit is not a number"))?;
    Ok(limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX).min(timeline::PAGE_MAX)))
}

/// The `filter` of a query, for events in rooms.
pub(crate) fn filter(query: &str) -> Result<EventFilter, ApiError> {
    match query_value(query, "filter").filter(|filter| !filter.is_empty()) {
        Some(filter) => {
            crate::wire::check_json(filter.as_bytes())?;
            Ok(EventFilter::of_room(&serde_json::from_str::<RoomEventFilter>(&filter)?))
        }
        None => Ok(EventFilter::default()),
    }
}
