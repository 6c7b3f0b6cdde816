//! Who is in a room.

use crate::look::{Look, joined_room};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_accounts::user;
use lamchat_base::Position;
use lamchat_http::{Request, Response, query_value};
use lamchat_rooms::event::{EventRow, write_string};
use lamchat_rooms::membership::{self, Membership};
use lamchat_rooms::table::LIVE;
use lamchat_rooms::timeline::Point;
use lamchat_rooms::{context, log, state};
use lamchat_store::Read;
use std::collections::BTreeMap;
use std::sync::Arc;

const MEMBER: &str = "m.room.member";

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, "/_matrix/client/v3/rooms/{room_id}/members", members);
    r.raw(
        Method::GET,
        "/_matrix/client/v3/rooms/{room_id}/joined_members",
        joined_members,
    );
}

async fn members(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let query = request.query();
    let only = membership_in(query, "membership")?;
    let not = membership_in(query, "not_membership")?;
    let at = query_value(query, "at").filter(|at| !at.is_empty());
    let at = at.map(|at| Point::parse(&at, app.store.epoch())).transpose()?;
    let look = Look::at(&app, &session, request.params.value("room_id"))?;
    let positions = positions(&look, at)?;
    let mut view = look.view();
    let mut out = Vec::with_capacity(positions.len().saturating_mul(400) + 16);
    out.extend_from_slice(b"{\"chunk\":[");
    let mut is_first = true;
    for position in positions.into_values() {
        let bytes = log::known_event(&look.read, position)?;
        let row = EventRow::decode(&bytes)?;
        let membership = log::membership_in(&row);
        // "the two parameters create an 'or' condition: either the membership is the same as `membership` or is not the same
        // as `not_membership`."
        let is_wanted = match (only, not) {
            (None, None) => true,
            (Some(only), None) => membership == only,
            (None, Some(not)) => membership != not,
            (Some(only), Some(not)) => membership == only || membership != not,
        };
        if !is_wanted {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        view.write(&mut out, position, &row)?;
    }
    out.extend_from_slice(b"]}");
    Ok(Response::json(StatusCode::OK, out))
}

/// The membership events now, or at a point, or at the caller's leaving.
fn positions(look: &Look<'_>, at: Option<Point>) -> Result<BTreeMap<String, Position>, ApiError> {
    let (read, room) = (&look.read, look.room.num);
    let horizon = look.standing.horizon(read, room)?;
    let at = at
        .map(|at| Position(at.0.saturating_sub(LIVE)))
        .filter(|at| *at < read.position());
    let then = match (at, horizon) {
        (Some(at), Some(horizon)) => at.min(horizon),
        (Some(at), None) | (None, Some(at)) => at,
        (None, None) => return Ok(state::current_of_type(read, room, MEMBER)?),
    };
    let state = context::state_at(read, room, then)?;
    let members = state.into_iter().filter(|((event_type, _), _)| event_type == MEMBER);
    Ok(members.map(|((_, user_id), position)| (user_id, position)).collect())
}

fn membership_in(query: &str, name: &str) -> Result<Option<Membership>, ApiError> {
    match query_value(query, name) {
        Some(word) => match Membership::parse(&word) {
            Some(membership) => Ok(Some(membership)),
            None => Err(ApiError::invalid_param(format!("{name} is not a membership"))),
        },
        None => Ok(None),
    }
}

/// "For each of the joined members, their display name and avatar": `null` where there is none.
async fn joined_members(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    #[derive(serde::Deserialize)]
    struct Content {
        #[serde(default)]
        displayname: serde_json::Value,
        #[serde(default)]
        avatar_url: serde_json::Value,
    }
    let room = joined_room(
        &app,
        &session,
        &crate::look::parse_room_id(request.params.value("room_id"))?,
    )?;
    let read = app.store.read();
    let mut out = b"{\"joined\":{".to_vec();
    for (index, member) in membership::members(&read, room, Membership::Join, usize::MAX)?
        .into_iter()
        .enumerate()
    {
        let user_id = user::known_id(&read, member)?;
        if index > 0 {
            out.push(b',');
        }
        write_string(&mut out, user_id.as_str());
        out.extend_from_slice(b":{\"avatar_url\":");
        let content = match state::current(&read, room, MEMBER, user_id.as_str())? {
            Some(position) => {
                let bytes = log::known_event(&read, position)?;
                serde_json::from_str::<Content>(EventRow::decode(&bytes)?.content).ok()
            }
            None => None,
        };
        let (avatar_url, display_name) = content
            .map(|content| (content.avatar_url, content.displayname))
            .unwrap_or_default();
        write_text(&mut out, &avatar_url);
        out.extend_from_slice(b",\"display_name\":");
        write_text(&mut out, &display_name);
        out.push(b'}');
    }
    out.extend_from_slice(b"}}");
    Ok(Response::json(StatusCode::OK, out))
}

fn write_text(out: &mut Vec<u8>, value: &serde_json::Value) {
    match value.as_str() {
        Some(text) => write_string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}
