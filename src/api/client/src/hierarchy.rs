//! `GET /rooms/{roomId}/hierarchy`: the rooms of a space.

#[cfg(test)]
mod tests;

use crate::limit::Limited;
use crate::summary::summary;
use crate::{ApiError, App, Routes, Session};
use lamchat_rooms::hierarchy::{self, DEPTH_MAX, Walk, WalkError};
use ruma::api::client::space::SpaceHierarchyRoomsChunk;
use ruma::api::client::space::get_hierarchy::v1::{Request, Response};
use ruma::serde::Raw;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Rooms on a page if the client does not say.
const PAGE_DEFAULT: usize = 20;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session(show);
}

impl From<WalkError> for ApiError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::NotVisible => Self::forbidden("You may not view this room, or there is no such room"),
            WalkError::Read(error) => error.into(),
        }
    }
}

/// Where a page starts: a token is `h{room}_{depth}_{0 or 1}_{rooms shown}`. It does not expire: nothing is kept for it,
/// and rooms that came or went in between shift what the next page begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The root's number.
    pub room: u32,
    /// Levels below the root.
    pub max_depth: u32,
    /// Only suggested children.
    pub suggested_only: bool,
    /// Rooms that were shown.
    pub skip: usize,
}

impl Token {
    /// From text; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('h')?.split('_');
        let token = Self {
            room: parts.next()?.parse().ok()?,
            max_depth: parts.next()?.parse().ok()?,
            suggested_only: match parts.next()? {
                "0" => false,
                "1" => true,
                _ => return None,
            },
            skip: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(token)
    }

    /// As text.
    pub fn text(&self) -> String {
        format!(
            "h{}_{}_{}_{}",
            self.room,
            self.max_depth,
            u8::from(self.suggested_only),
            self.skip
        )
    }
}

async fn show(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    let limit = match request.limit {
        // "Must be an integer greater than zero."
        Some(limit) if limit == ruma::uint!(0) => return Err(ApiError::invalid_param("limit is greater than zero")),
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        None => PAGE_DEFAULT,
    };
    let max_depth = request
        .max_depth
        .map(|depth| u32::try_from(depth).unwrap_or(DEPTH_MAX).min(DEPTH_MAX));
    let read = app.store.read();
    let root = app.rooms.room(&read, &request.room_id)?.ok_or(WalkError::NotVisible)?;
    let mut token = match request.from.as_deref() {
        Some(from) => Token::parse(from)
            .filter(|token| token.room == root.num.0)
            .ok_or_else(|| ApiError::invalid_param("`from` is not a token of this endpoint and room"))?,
        None => Token {
            room: root.num.0,
            max_depth: max_depth.unwrap_or(DEPTH_MAX),
            suggested_only: request.suggested_only,
            skip: 0,
        },
    };
    if token.suggested_only != request.suggested_only || max_depth.is_some_and(|depth| depth != token.max_depth) {
        return Err(ApiError::invalid_param(
            "suggested_only and max_depth cannot change on paginated requests",
        ));
    }
    let walk = Walk {
        suggested_only: token.suggested_only,
        max_depth: token.max_depth,
        skip: token.skip,
        limit,
    };
    let page = hierarchy::page(&read, session.user, root, &walk)?;
    let mut response = Response::new();
    for found in page.rooms {
        let children = found.children.into_iter().map(RawValue::from_string);
        let children = children.map(|child| child.map(Raw::from_json).map_err(ApiError::internal));
        response.rooms.push(SpaceHierarchyRoomsChunk::new(
            summary(&read, &found.room)?,
            children.collect::<Result<_, _>>()?,
        ));
    }
    response.next_batch = page.next.map(|next| {
        token.skip = next;
        token.text()
    });
    Ok(response)
}
