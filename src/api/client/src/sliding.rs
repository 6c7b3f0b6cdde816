//! Simplified sliding sync (MSC4186), under its final and its unstable path.

use crate::wire::{body, check_json};
use crate::{ApiError, App, Routes, Session, presence};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response, query_value};
use lamchat_sync::{SlidingError, Who};
use std::sync::Arc;
use std::time::Duration;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    for path in [
        "/_matrix/client/v4/sync",
        "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
    ] {
        r.raw(Method::POST, path, sync).long();
    }
}

async fn sync(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    let bytes = body(&mut request).await?;
    check_json(&bytes)?;
    let asked: lamchat_sync::sliding::request::Body = serde_json::from_slice(&bytes)?;
    let query = request.query();
    let pos = query_value(query, "pos").filter(|pos| !pos.is_empty());
    let timeout = query_value(query, "timeout").map(|timeout| timeout.parse()).transpose();
    let timeout = Duration::from_millis(
        timeout
            .map_err(|_| ApiError::invalid_param("timeout is not a number"))?
            .unwrap_or(0),
    );
    let _syncing = presence::syncing(&app, &session, query)?;
    let who = Who {
        user: session.user,
        user_id: session.user_id,
        device: session.device,
    };
    Ok(Response::json(
        StatusCode::OK,
        app.syncer.slide(who, asked, pos.as_deref(), timeout).await?,
    ))
}

impl From<SlidingError> for ApiError {
    fn from(error: SlidingError) -> Self {
        match error {
            SlidingError::UnknownPos => Self::new(
                StatusCode::BAD_REQUEST,
                "M_UNKNOWN_POS",
                "The position is not known any more",
            ),
            SlidingError::Invalid(why) => Self::invalid_param(why),
            SlidingError::Sync(error) => error.into(),
        }
    }
}
