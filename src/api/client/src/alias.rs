//! Aliases.

use crate::limit::Limited;
use crate::room::caller;
use crate::{ApiError, App, Routes, Session};
use http::StatusCode;
use lamchat_rooms::alias::{self, CreateAliasError, DeleteAliasError};
use lamchat_rooms::room;
use ruma::api::client::alias::{create_alias, delete_alias, get_alias};
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session(create);
    r.session(delete);
    r.open(show);
}

impl From<CreateAliasError> for ApiError {
    fn from(error: CreateAliasError) -> Self {
        match error {
            CreateAliasError::NotOurs | CreateAliasError::TooLong => Self::invalid_param(error.to_string()),
            // "409 A room alias with that name already exists." Its example has M_UNKNOWN.
            CreateAliasError::InUse => Self::new(StatusCode::CONFLICT, "M_UNKNOWN", error.to_string()),
            CreateAliasError::NotInRoom => Self::forbidden(error.to_string()),
            CreateAliasError::TooMany => {
                Self::new(StatusCode::BAD_REQUEST, "M_RESOURCE_LIMIT_EXCEEDED", error.to_string())
            }
            CreateAliasError::Read(error) => error.into(),
            CreateAliasError::Commit(error) => error.into(),
        }
    }
}

impl From<DeleteAliasError> for ApiError {
    fn from(error: DeleteAliasError) -> Self {
        match error {
            DeleteAliasError::NoSuchAlias => Self::not_found(error.to_string()),
            DeleteAliasError::NotYours => Self::forbidden(error.to_string()),
            DeleteAliasError::Append(error) => error.into(),
        }
    }
}

async fn create(
    app: Arc<App>,
    session: Session,
    request: create_alias::v3::Request,
) -> Result<create_alias::v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    app.rooms
        .create_alias(&caller(session)?, &request.room_alias, &request.room_id)
        .await?;
    Ok(create_alias::v3::Response::new())
}

async fn delete(
    app: Arc<App>,
    session: Session,
    request: delete_alias::v3::Request,
) -> Result<delete_alias::v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    app.rooms.delete_alias(&caller(session)?, &request.room_alias).await?;
    Ok(delete_alias::v3::Response::new())
}

async fn show(app: Arc<App>, request: get_alias::v3::Request) -> Result<get_alias::v3::Response, ApiError> {
    let read = app.store.read();
    let target = alias::find(&read, &request.room_alias)?;
    let target = target.ok_or_else(|| ApiError::not_found("There is no such alias here"))?;
    let room = room::by_num(&read, target.room)?;
    Ok(get_alias::v3::Response::new(
        room.id.clone(),
        vec![app.server_name.clone()],
    ))
}
