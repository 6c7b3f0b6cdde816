//! `GET /sync`.

use crate::{ApiError, App, Routes, Session, presence};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response, query_value};
use lamchat_sync::{StateAfter, SyncError, Token, Who};
use std::sync::Arc;
use std::time::Duration;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, "/_matrix/client/v3/sync", sync).long();
}

async fn sync(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let query = request.query();
    let text = |name| query_value(query, name).filter(|text| !text.is_empty());
    let flag = |name| match text(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ApiError::invalid_param(format!("{name} is neither true nor false"))),
    };
    let since = text("since").map(|since| Token::parse(&since)).transpose();
    let timeout = text("timeout").map(|timeout| timeout.parse()).transpose();
    let timeout = timeout.map_err(|_| ApiError::invalid_param("timeout is not a number"))?;
    let state_after = if flag("use_state_after")? {
        StateAfter::Stable
    } else if flag("org.matrix.msc4222.use_state_after")? {
        StateAfter::Unstable
    } else {
        StateAfter::No
    };
    let filter = text("filter");
    if let Some(filter) = filter.as_deref().filter(|filter| filter.starts_with('{')) {
        crate::wire::check_json(filter.as_bytes())?;
    }
    let asked = lamchat_sync::Request {
        since: since.map_err(|error| ApiError::invalid_param(error.to_string()))?,
        filter: app.syncer.filter(session.user, filter.as_deref())?,
        full_state: flag("full_state")?,
        state_after,
        timeout: Duration::from_millis(timeout.unwrap_or(0)),
    };
    let _syncing = presence::syncing(&app, &session, query)?;
    let who = Who {
        user: session.user,
        user_id: session.user_id,
        device: session.device,
    };
    Ok(Response::json(StatusCode::OK, app.syncer.sync(who, asked).await?))
}

impl From<SyncError> for ApiError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::NoFilter => Self::invalid_param("There is no such filter"),
            SyncError::BadFilter(error) => Self::bad_json(error.to_string()),
            SyncError::Read(error) => error.into(),
            SyncError::Commit(error) => error.into(),
            SyncError::Closed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "M_UNKNOWN",
                "The exchange is shutting down",
            ),
        }
    }
}
