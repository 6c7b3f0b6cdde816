//! A look into a room: what all endpoints that show events begin with.

use crate::{ApiError, App, Session};
use lamchat_rooms::context::FindError;
use lamchat_rooms::timeline::BadToken;
use lamchat_rooms::view::{Ignored, Reader, View};
use lamchat_rooms::visibility::{LookError, Standing};
use lamchat_rooms::{Room, room};
use lamchat_store::{ReadError, ReadTxn};
use ruma::RoomId;
use std::sync::Arc;

/// A snapshot, a room, and what the caller is to it.
pub(crate) struct Look<'s> {
    pub(crate) read: ReadTxn,
    pub(crate) room: Arc<Room>,
    pub(crate) standing: Standing,
    session: &'s Session,
    ignored: Ignored,
    now_ms: u64,
}

impl<'s> Look<'s> {
    /// Opens the snapshot. A room that does not exist is refused like one that the caller may not see.
    pub(crate) fn into(app: &App, session: &'s Session, room_id: &RoomId) -> Result<Self, ApiError> {
        let read = app.store.read();
        let room = app.rooms.room(&read, room_id)?.ok_or(LookError::NotMember)?;
        let standing = Standing::of(&read, session.user, room.num)?;
        standing.admit(&read, room.num)?;
        let ignored = Ignored::of(&read, session.user)?;
        Ok(Self {
            read,
            room,
            standing,
            session,
            ignored,
            now_ms: app.now_ms(),
        })
    }

    /// The room of a raw route.
    pub(crate) fn at(app: &App, session: &'s Session, room_id: &str) -> Result<Self, ApiError> {
        Self::into(app, session, &parse_room_id(room_id)?)
    }

    /// The room as the caller sees it, events with room ids.
    pub(crate) fn view(&self) -> View<'_> {
        let reader = Reader {
            user: self.session.user,
            user_id: &self.session.user_id,
            device: self.session.device,
            now_ms: self.now_ms,
            ignored: &self.ignored,
        };
        View::new(
            &self.read,
            self.room.num,
            Some(self.room.id.as_str()),
            reader,
            self.standing,
        )
    }
}

/// A room id out of a path.
pub(crate) fn parse_room_id(text: &str) -> Result<ruma::OwnedRoomId, ApiError> {
    RoomId::parse(text).map_err(|error| ApiError::invalid_param(error.to_string()))
}

/// The number of a room that the caller is joined to.
pub(crate) fn joined_room(app: &App, session: &Session, room_id: &RoomId) -> Result<lamchat_base::RoomNum, ApiError> {
    let read = app.store.read();
    let room = room::num(&read, room_id)?.ok_or(LookError::NotMember)?;
    if lamchat_rooms::membership::is_joined(&read, session.user, room)? {
        Ok(room)
    } else {
        Err(LookError::NotMember.into())
    }
}

impl From<LookError> for ApiError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::NotMember => Self::forbidden("You are not in this room, or there is no such room"),
            LookError::Read(error) => error.into(),
        }
    }
}

impl From<FindError> for ApiError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::NoEvent => Self::not_found("There is no such event, or you may not see it"),
            FindError::Look(error) => error.into(),
        }
    }
}

impl From<BadToken> for ApiError {
    fn from(error: BadToken) -> Self {
        Self::invalid_param(error.to_string())
    }
}

/// Appends one event that must be there.
pub(crate) fn write_one(
    out: &mut Vec<u8>,
    view: &mut View<'_>,
    entry: &lamchat_rooms::timeline::Entry,
) -> Result<(), ReadError> {
    view.load_relations(entry.position, entry.position)?;
    view.write(out, entry.position, &entry.row()?)
}
