//! The public directory of rooms.

use crate::limit::Limited;
use crate::look::parse_room_id;
use crate::room::caller;
use crate::wire::{body, check_json, json};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response};
use lamchat_rooms::directory::{self, Filter, Listed, PAGE_MAX, Page, PublishError};
use lamchat_rooms::room;
use ruma::api::client::directory::{get_public_rooms, get_public_rooms_filtered, get_room_visibility};
use ruma::api::client::room::Visibility;
use ruma::directory::{PublicRoomsChunk, PublicRoomsChunkInit};
use ruma::room::{JoinRuleKind, RoomType};
use ruma::{OwnedMxcUri, ServerName, UInt};
use std::sync::Arc;

/// How many rooms a page has if the client does not say.
const PAGE_DEFAULT: usize = 100;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.optional(list);
    r.session(search);
    r.open(visibility);
    r.raw(
        Method::PUT,
        "/_matrix/client/v3/directory/list/room/{room_id}",
        set_visibility,
    );
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::NoSuchRoom => Self::not_found(error.to_string()),
            PublishError::NotAllowed => Self::forbidden(error.to_string()),
            PublishError::Append(error) => error.into(),
        }
    }
}

/// The specification asks for no token here; this server does, unless its configuration says otherwise.
async fn list(
    app: Arc<App>,
    session: Option<Session>,
    request: get_public_rooms::v3::Request,
) -> Result<get_public_rooms::v3::Response, ApiError> {
    match &session {
        Some(session) => app.limit(Limited::Other, session.user)?,
        None if app.settings.load().public_list_without_auth => {}
        None => return Err(ApiError::missing_token()),
    }
    let page = page(
        &app,
        request.server.as_deref(),
        &Filter::default(),
        request.since.as_deref(),
        request.limit,
    )?;
    let mut response = get_public_rooms::v3::Response::new(page.rooms.into_iter().map(chunk).collect());
    response.next_batch = page.next.map(|from| from.to_string());
    response.prev_batch = page.before.map(|from| from.to_string());
    response.total_room_count_estimate = UInt::try_from(page.total).ok();
    Ok(response)
}

async fn search(
    app: Arc<App>,
    session: Session,
    request: get_public_rooms_filtered::v3::Request,
) -> Result<get_public_rooms_filtered::v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    let room_types = request
        .filter
        .room_types
        .iter()
        .map(|kind| kind.as_str().map(str::to_owned))
        .collect();
    let filter = Filter {
        search: request.filter.generic_search_term,
        room_types,
    };
    let page = page(
        &app,
        request.server.as_deref(),
        &filter,
        request.since.as_deref(),
        request.limit,
    )?;
    let mut response = get_public_rooms_filtered::v3::Response::new();
    response.next_batch = page.next.map(|from| from.to_string());
    response.prev_batch = page.before.map(|from| from.to_string());
    response.total_room_count_estimate = UInt::try_from(page.total).ok();
    response.chunk = page.rooms.into_iter().map(chunk).collect();
    Ok(response)
}

fn page(
    app: &App,
    server: Option<&ServerName>,
    filter: &Filter,
    since: Option<&str>,
    limit: Option<UInt>,
) -> Result<Page, ApiError> {
    if server.is_some_and(|server| server != app.server_name) {
        return Err(ApiError::not_found(
            "This server does not ask other servers for their rooms",
        ));
    }
    let from = match since {
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::invalid_param("`since` is not a token of this endpoint"))?,
        None => 0,
    };
    let limit = limit.map_or(PAGE_DEFAULT, |limit| usize::try_from(limit).unwrap_or(PAGE_MAX));
    Ok(directory::page(&app.store.read(), filter, from, limit)?)
}

fn chunk(listed: Listed) -> PublicRoomsChunk {
    let mut chunk = PublicRoomsChunk::from(PublicRoomsChunkInit {
        num_joined_members: listed.joined.into(),
        room_id: listed.room_id,
        world_readable: listed.world_readable,
        guest_can_join: listed.guest_can_join,
    });
    chunk.name = listed.name;
    chunk.topic = listed.topic;
    chunk.canonical_alias = listed.canonical_alias;
    chunk.avatar_url = listed.avatar_url.map(OwnedMxcUri::from);
    chunk.join_rule = JoinRuleKind::from(listed.join_rule);
    chunk.room_type = listed.room_type.map(RoomType::from);
    chunk
}

async fn visibility(
    app: Arc<App>,
    request: get_room_visibility::v3::Request,
) -> Result<get_room_visibility::v3::Response, ApiError> {
    let read = app.store.read();
    let room = room::num(&read, &request.room_id)?
        .ok_or_else(|| ApiError::not_found("This server does not know that room"))?;
    let is_published = directory::is_published(&read, room)?;
    Ok(get_room_visibility::v3::Response::new(if is_published {
        Visibility::Public
    } else {
        Visibility::Private
    }))
}

async fn set_visibility(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    #[derive(serde::Deserialize)]
    struct Wish {
        /// "Defaults to `public`", which ruma's type does not know.
        #[serde(default)]
        visibility: Option<String>,
    }
    app.limit(Limited::Other, session.user)?;
    let room_id = parse_room_id(request.params.value("room_id"))?;
    let bytes = body(&mut request).await?;
    check_json(&bytes)?;
    let wish: Wish = serde_json::from_slice(&bytes)?;
    let is_published = match wish.visibility.as_deref() {
        None | Some("public") => true,
        Some("private") => false,
        Some(_) => return Err(ApiError::invalid_param("The visibility is public or private")),
    };
    app.rooms.publish(&caller(session)?, &room_id, is_published).await?;
    json(StatusCode::OK, &serde_json::json!({}))
}
