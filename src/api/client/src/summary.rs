//! `GET /room_summary/{roomIdOrAlias}`: what a room is, before one joins it or knocks.

use crate::limit::Limited;
use crate::room::resolve;
use crate::wire::into_response;
use crate::{ApiError, App, Routes, Session};
use http::Method;
use lamchat_base::UserNum;
use lamchat_http::{Request, Response};
use lamchat_rooms::preview::{self, JoinRule};
use lamchat_rooms::{Membership, Room, directory, membership};
use lamchat_store::{Read, ReadError};
use ruma::api::client::room::get_summary;
use ruma::room::{JoinRuleSummary, RestrictedSummary, RoomSummary, RoomType};
use ruma::{OwnedMxcUri, RoomOrAliasId, RoomVersionId};
use std::sync::Arc;

/// The first name of the endpoint, which clients still ask under.
const OLD: &str = "/_matrix/client/unstable/im.nheko.summary/summary/{room_id_or_alias}";

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<get_summary::v1::Request>(show);
    r.raw(Method::GET, OLD, show_old);
}

async fn show(
    app: Arc<App>,
    session: Session,
    request: get_summary::v1::Request,
) -> Result<get_summary::v1::Response, ApiError> {
    answer(&app, session.user, &request.room_id_or_alias)
}

async fn show_old(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let room = RoomOrAliasId::parse(request.params.value("room_id_or_alias"))
        .map_err(|error| ApiError::invalid_param(error.to_string()))?;
    into_response(answer(&app, session.user, &room)?)
}

/// The specification lets servers answer without a token; this one does not.
fn answer(app: &App, user: UserNum, room: &RoomOrAliasId) -> Result<get_summary::v1::Response, ApiError> {
    app.limit(Limited::Other, user)?;
    let room_id = resolve(app, room)?;
    let read = app.store.read();
    // A room that does not exist is refused like one that the caller may not see.
    let hidden = || ApiError::not_found("There is no such room here, or you may not see it");
    let room = app.rooms.room(&read, &room_id)?.ok_or_else(hidden)?;
    if !preview::may_see(&read, user, &room)? {
        return Err(hidden());
    }
    let mut response = get_summary::v1::Response::new(summary(&read, &room)?);
    let member = membership::of(&read, user, room.num)?;
    let membership = member.map_or(Membership::Leave, |member| member.membership);
    response.membership = Some(membership.as_str().into());
    Ok(response)
}

/// What is shown of a room to who is not in it.
pub(crate) fn summary(read: &dyn Read, room: &Room) -> Result<RoomSummary, ReadError> {
    let listed = directory::listed(read, room)?;
    let rule = match JoinRule::of(read, room)? {
        JoinRule::Public => JoinRuleSummary::Public,
        JoinRule::Invite => JoinRuleSummary::Invite,
        JoinRule::Knock => JoinRuleSummary::Knock,
        JoinRule::Restricted(rooms) => JoinRuleSummary::Restricted(RestrictedSummary::new(rooms)),
        JoinRule::KnockRestricted(rooms) => JoinRuleSummary::KnockRestricted(RestrictedSummary::new(rooms)),
    };
    let mut summary = RoomSummary::new(
        listed.room_id,
        rule,
        listed.guest_can_join,
        listed.joined.into(),
        listed.world_readable,
    );
    summary.canonical_alias = listed.canonical_alias;
    summary.name = listed.name;
    summary.topic = listed.topic;
    summary.avatar_url = listed.avatar_url.map(OwnedMxcUri::from);
    summary.room_type = listed.room_type.map(RoomType::from);
    summary.encryption = listed.encryption.map(Into::into);
    summary.room_version = RoomVersionId::try_from(listed.version).ok();
    Ok(summary)
}
