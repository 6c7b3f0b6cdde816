//! `GET /rooms/{roomId}/timestamp_to_event`: the event nearest to a time.

#[cfg(test)]
mod tests;

use crate::limit::Limited;
use crate::look::Look;
use crate::{ApiError, App, Routes, Session};
use lamchat_rooms::at_time;
use lamchat_store::Order;
use ruma::api::Direction;
use ruma::api::client::room::get_event_by_timestamp::v1::{Request, Response};
use ruma::{EventId, MilliSecondsSinceUnixEpoch, UInt};
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session(nearest);
}

async fn nearest(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    let direction = match request.dir {
        Direction::Forward => Order::Ascending,
        Direction::Backward => Order::Descending,
    };
    let look = Look::into(&app, &session, &request.room_id)?;
    let mut view = look.view();
    let time_ms = request.ts.get().into();
    let found = at_time::nearest(&look.read, look.room.num, &look.standing, &mut view, time_ms, direction)?
        .ok_or_else(|| ApiError::not_found("There is no event that you may see on that side of that time"))?;
    let row = found.row()?;
    let event_id = EventId::parse(row.event_id).map_err(ApiError::internal)?;
    let time = UInt::try_from(row.origin_server_ts).map_err(ApiError::internal)?;
    Ok(Response::new(event_id, MilliSecondsSinceUnixEpoch(time)))
}
