//! `GET /rooms/{roomId}/threads`.

use crate::look::Look;
use crate::message::limit;
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_base::Position;
use lamchat_http::{Request, Response, query_value};
use lamchat_rooms::event::write_string;
use lamchat_rooms::table::{LIVE, live_order};
use lamchat_rooms::thread::{self, ThreadRequest};
use lamchat_rooms::timeline::Point;
use std::sync::Arc;

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 100;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, "/_matrix/client/v1/rooms/{room_id}/threads", threads);
}

async fn threads(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let query = request.query();
    let epoch = app.store.epoch();
    let from = query_value(query, "from")
        .filter(|token| !token.is_empty())
        .map(|token| Point::parse(&token, epoch))
        .transpose()?;
    let participated = match query_value(query, "include").as_deref() {
        None | Some("all") => None,
        Some("participated") => Some((session.user, &*session.user_id)),
        Some(_) => return Err(ApiError::invalid_param("include is neither `all` nor `participated`")),
    };
    let asked = ThreadRequest {
        before: from.map_or(Position(u64::MAX), |from| Position(from.0.saturating_sub(LIVE))),
        limit: limit(query)?.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
        participated,
    };
    let look = Look::at(&app, &session, request.params.value("room_id"))?;
    let mut view = look.view();
    let found = thread::list(&look.read, look.room.num, &look.standing, &mut view, &asked)?;
    let mut out = b"{\"chunk\":[".to_vec();
    for (index, root) in found.roots.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        // Roots lie anywhere in the timeline: their relations are loaded one by one.
        crate::look::write_one(&mut out, &mut view, root)?;
    }
    out.push(b']');
    if let Some(next) = found.next {
        out.extend_from_slice(b",\"next_batch\":");
        write_string(&mut out, &Point(live_order(next)).token(epoch));
    }
    out.push(b'}');
    Ok(Response::json(StatusCode::OK, out))
}
