//! `GET /rooms/{roomId}/relations/{eventId}…`: the events that relate to one.

use crate::look::Look;
use crate::message::{direction, limit};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response, query_value};
use lamchat_rooms::event::{EventRow, write_number, write_string};
use lamchat_rooms::relation::{self, RECURSION_DEPTH_MAX};
use lamchat_rooms::table::live_order;
use lamchat_rooms::timeline::{self, Entry, Point};
use lamchat_rooms::{context, log};
use lamchat_store::Order;
use std::sync::Arc;

const LIMIT_DEFAULT: usize = 30;
const LIMIT_MAX: usize = 200;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(
        Method::GET,
        "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}",
        relations,
    );
    r.raw(
        Method::GET,
        "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}/{rel_type}",
        relations,
    );
    r.raw(
        Method::GET,
        "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}/{rel_type}/{event_type}",
        relations,
    );
}

async fn relations(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let query = request.query();
    let epoch = app.store.epoch();
    let point = |name| {
        query_value(query, name)
            .filter(|token| !token.is_empty())
            .map(|token| Point::parse(&token, epoch))
            .transpose()
    };
    let (from, to) = (point("from")?, point("to")?);
    // "dir: (…) Default: b."
    let descending = direction(query)?.unwrap_or(Order::Descending) == Order::Descending;
    let limit = limit(query)?.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let recurse = query_value(query, "recurse").as_deref() == Some("true");
    let (rel_type, event_type) = (request.params.value("rel_type"), request.params.value("event_type"));
    let look = Look::at(&app, &session, request.params.value("room_id"))?;
    let (read, room) = (&look.read, look.room.num);
    let mut view = look.view();
    let parent = context::one(read, room, &look.standing, &mut view, request.params.value("event_id"))?;
    let depth = if recurse { RECURSION_DEPTH_MAX } else { 1 };
    let mut related = relation::descendants(read, room, parent.position, depth)?;
    related.retain(|relation| {
        let order = live_order(relation.child);
        let (after, upto) = if descending { (to, from) } else { (from, to) };
        after.is_none_or(|after| order > after.0)
            && upto.is_none_or(|upto| order <= upto.0)
            && (rel_type.is_empty() || relation.is(rel_type))
            && (event_type.is_empty() || relation.event_type == event_type)
    });
    if descending {
        related.reverse();
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = None;
    for relation in related {
        let order = live_order(relation.child);
        if entries.len() == limit {
            next = Some(if descending { Point(order) } else { Point::before(order) });
            break;
        }
        let bytes = log::known_event(read, relation.child)?;
        if view.is_visible(relation.child, &EventRow::decode(&bytes)?)? {
            entries.push(Entry {
                order,
                position: relation.child,
                bytes,
            });
        }
    }
    let mut out = b"{\"chunk\":".to_vec();
    timeline::write_events(&mut out, &mut view, &entries)?;
    if let Some(next) = next {
        out.extend_from_slice(b",\"next_batch\":");
        write_string(&mut out, &next.token(epoch));
    }
    if let Some(from) = from {
        out.extend_from_slice(b",\"prev_batch\":");
        write_string(&mut out, &from.token(epoch));
    }
    if recurse {
        out.extend_from_slice(b",\"recursion_depth\":");
        write_number(&mut out, u64::from(RECURSION_DEPTH_MAX));
    }
    out.push(b'}');
    Ok(Response::json(StatusCode::OK, out))
}
