//! Who sends a request: from the access token to a session. No handler sees the token itself.

use crate::{ApiError, App, guest};
use http::header::AUTHORIZATION;
use lamchat_accounts::session::{self, AuthenticateError};
use lamchat_http::{Request, RequestBody};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

pub use lamchat_accounts::session::Session;

/// Of a refused request, so many bytes of an unread body are read so that the client hears why.
const DISCARD_BYTES_MAX: u64 = 256 * 1024;
/// And no longer than this.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(1);

/// Whom [`admit`] lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Holders of access tokens.
    Usual,
    /// Those, and holders whose account is locked. "servers MUST return a 401 Unauthorized error response with an
    /// M_USER_LOCKED error code and soft_logout set to true on all but the following Client-Server APIs: POST /logout,
    /// POST /logout/all" (Matrix 1.12, "Account locking")
    EvenLocked,
}

/// The session of a request that must have one.
pub(crate) async fn admit(app: &Arc<App>, mut request: Request, door: Door) -> Result<(Session, Request), ApiError> {
    let session = match token(&request) {
        Some(token) => authenticate(app, &token, door).await,
        None => Err(ApiError::missing_token()),
    };
    let session = session.and_then(|session| {
        guest::check(app, &session, &request.method, request.uri.path())?;
        Ok(session)
    });
    match session {
        Ok(session) => Ok((session, request)),
        Err(error) => {
            discard(&mut request).await;
            Err(error)
        }
    }
}

/// The session of a request that may have one.
pub(crate) async fn admit_optional(
    app: &Arc<App>,
    mut request: Request,
) -> Result<(Option<Session>, Request), ApiError> {
    let Some(token) = token(&request) else {
        return Ok((None, request));
    };
    match authenticate(app, &token, Door::Usual).await {
        Ok(session) => Ok((Some(session), request)),
        Err(error) => {
            discard(&mut request).await;
            Err(error)
        }
    }
}

async fn discard(request: &mut Request) {
    if let RequestBody::Stream(reader) = &mut request.body {
        reader.discard(DISCARD_BYTES_MAX, DISCARD_TIME_MAX).await;
    }
}

/// The access token of a request: from the `Authorization` header, or from the query.
///
/// "Clients may alternatively provide the access token via a query string parameter: `access_token=`…
/// This method is deprecated (…) and is likely to be removed in the future." (Matrix 1.11)
fn token(request: &Request) -> Option<Cow<'static, str>> {
    if let Some(header) = request.headers.get(AUTHORIZATION) {
        let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| Cow::Owned(token.trim().to_owned()));
    }
    let query = request.query();
    if !query.contains("access_token=") {
        return None;
    }
    lamchat_http::query_value(query, "access_token").map(Cow::Owned)
}

async fn authenticate(app: &Arc<App>, token: &str, door: Door) -> Result<Session, ApiError> {
    let now_ms = app.now_ms();
    let read = app.store.read();
    let session = match door {
        Door::Usual => session::authenticate(&read, token, now_ms)?,
        Door::EvenLocked => session::authenticate_even_locked(&read, token, now_ms)?,
    };
    drop(read);
    if session.must_confirm() {
        // Before anything else happens under it, the first use of a refreshed token ends the old refresh token.
        let used = session.clone();
        app.store
            .write(move |txn| session::note_use(txn, &used, now_ms))
            .await?;
    } else if session.is_last_seen_due(now_ms) {
        let (app, used) = (Arc::clone(app), session.clone());
        tokio::spawn(async move {
            if let Err(error) = app.store.write(move |txn| session::note_use(txn, &used, now_ms)).await {
                tracing::warn!(?error, "could not record when a device was seen");
            }
        });
    }
    Ok(session)
}

impl From<AuthenticateError> for ApiError {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::Unknown => Self::unknown_token(false),
            // "the server requires re-authentication, however does not want to invalidate the client's session"
            AuthenticateError::Expired => Self::unknown_token(true),
            AuthenticateError::Locked => Self::locked(),
            AuthenticateError::Read(error) => error.into(),
        }
    }
}
