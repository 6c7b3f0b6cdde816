//! Key backups: versions, and the session keys in them. All routes are raw: keys are passed through as they came.

use crate::keys::json_body;
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response};
use lamchat_keys::backup::{self, Counts, Encryption, Version, VersionError};
use lamchat_keys::backup_session::{self, PutError, Selection, SessionKey};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest portion of session keys that a client may put at once.
const KEYS_BODY_BYTES_MAX: usize = 8 << 20;

/// The endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::POST, "/_matrix/client/v3/room_keys/version", create);
    r.raw(Method::GET, "/_matrix/client/v3/room_keys/version", newest);
    r.raw(Method::GET, "/_matrix/client/v3/room_keys/version/{version}", version);
    r.raw(Method::PUT, "/_matrix/client/v3/room_keys/version/{version}", update);
    r.raw(Method::DELETE, "/_matrix/client/v3/room_keys/version/{version}", delete)
        .to_the_end();
    for path in [
        "/_matrix/client/v3/room_keys/keys",
        "/_matrix/client/v3/room_keys/keys/{room_id}",
        "/_matrix/client/v3/room_keys/keys/{room_id}/{session_id}",
    ] {
        r.raw(Method::PUT, path, put_keys).body_max(KEYS_BODY_BYTES_MAX);
        r.raw(Method::GET, path, read_keys);
        r.raw(Method::DELETE, path, delete_keys);
    }
}

#[derive(serde::Deserialize)]
struct VersionBody {
    algorithm: String,
    auth_data: Box<RawValue>,
    #[serde(default)]
    version: Option<String>,
}

async fn version_body(request: &mut Request) -> Result<(Encryption, Option<String>), ApiError> {
    let VersionBody {
        algorithm,
        auth_data,
        version,
    } = serde_json::from_slice(&json_body(request).await?)?;
    Ok((Encryption { algorithm, auth_data }, version))
}

async fn create(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    let (encryption, _) = version_body(&mut request).await?;
    let version = app
        .store
        .write(move |txn| backup::create(txn, session.user, encryption))
        .await?;
    crate::wire::json(StatusCode::OK, &json!({ "version": version }))
}

async fn newest(app: Arc<App>, session: Session, _: Request) -> Result<Response, ApiError> {
    show(backup::newest(&app.store.read(), session.user)?)
}

async fn version(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    show(backup::version(
        &app.store.read(),
        session.user,
        request.params.value("version"),
    )?)
}

fn show(version: Option<Version>) -> Result<Response, ApiError> {
    let Version {
        version,
        encryption,
        counts,
    } = version.ok_or(VersionError::NotFound)?;
    crate::wire::json(
        StatusCode::OK,
        &json!({
            "algorithm": encryption.algorithm,
            "auth_data": encryption.auth_data,
            "count": counts.count,
            "etag": counts.etag,
            "version": version,
        }),
    )
}

async fn update(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    let (encryption, in_body) = version_body(&mut request).await?;
    let version = request.params.value("version").to_owned();
    app.store
        .write(move |txn| backup::update(txn, session.user, &version, in_body.as_deref(), encryption))
        .await?;
    empty()
}

async fn delete(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let (user, version) = (session.user, request.params.value("version").to_owned());
    let deleted = version.clone();
    app.store.write(move |txn| backup::delete(txn, user, &deleted)).await?;
    // The keys go in portions, so that other writes get their turn. Nobody can read them meanwhile.
    loop {
        let version = version.clone();
        if !app
            .store
            .write(move |txn| backup_session::purge(txn, user, &version))
            .await?
        {
            return empty();
        }
    }
}

/// Which keys the path names.
fn selection(request: &Request) -> Selection<'_> {
    match (request.params.value("room_id"), request.params.value("session_id")) {
        ("", _) => Selection::All,
        (room_id, "") => Selection::Room(room_id),
        (room_id, session_id) => Selection::Session(room_id, session_id),
    }
}

fn asked_version(request: &Request) -> Result<String, ApiError> {
    lamchat_http::query_value(request.query(), "version").ok_or_else(|| ApiError::missing_param("`version` is missing"))
}

async fn put_keys(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    #[derive(serde::Deserialize)]
    struct Rooms<'q> {
        #[serde(borrow)]
        rooms: BTreeMap<String, Sessions<'q>>,
    }
    #[derive(serde::Deserialize)]
    struct Sessions<'q> {
        #[serde(borrow)]
        sessions: BTreeMap<String, &'q RawValue>,
    }
    let version = asked_version(&request)?;
    let bytes = json_body(&mut request).await?;
    let mut keys = Vec::new();
    let mut add = |room_id: &str, sessions: Sessions<'_>| -> Result<(), PutError> {
        for (session_id, json) in &sessions.sessions {
            keys.push(SessionKey::parse(room_id, session_id, json)?);
        }
        Ok(())
    };
    match selection(&request) {
        Selection::All => {
            let Rooms { rooms } = serde_json::from_slice(&bytes)?;
            rooms
                .into_iter()
                .try_for_each(|(room_id, sessions)| add(&room_id, sessions))?;
        }
        Selection::Room(room_id) => add(room_id, serde_json::from_slice(&bytes)?)?,
        Selection::Session(room_id, session_id) => {
            keys.push(SessionKey::parse(room_id, session_id, serde_json::from_slice(&bytes)?)?);
        }
    }
    let counts = app
        .store
        .write(move |txn| backup_session::put(txn, session.user, &version, &keys))
        .await?;
    show_counts(&counts)
}

async fn read_keys(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let version = asked_version(&request)?;
    let json = backup_session::json(&app.store.read(), session.user, &version, selection(&request))?;
    let json = json.ok_or_else(|| ApiError::not_found("There is no such key, or no such version of the backup"))?;
    Ok(Response::json(StatusCode::OK, json.into_bytes()))
}

async fn delete_keys(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let version = asked_version(&request)?;
    let deleted = move |txn: &mut lamchat_store::WriteTxn<'_>| {
        backup_session::delete(txn, session.user, &version, selection(&request))
    };
    show_counts(&app.store.write(deleted).await?)
}

fn show_counts(counts: &Counts) -> Result<Response, ApiError> {
    crate::wire::json(StatusCode::OK, &json!({ "count": counts.count, "etag": counts.etag }))
}

fn empty() -> Result<Response, ApiError> {
    Ok(Response::json(StatusCode::OK, &b"{}"[..]))
}

impl From<VersionError> for ApiError {
    fn from(error: VersionError) -> Self {
        match error {
            VersionError::NotFound => Self::not_found(error.to_string()),
            VersionError::OtherAlgorithm | VersionError::OtherVersion | VersionError::Malformed => {
                Self::invalid_param(error.to_string())
            }
            VersionError::Read(error) => error.into(),
            VersionError::Commit(error) => error.into(),
        }
    }
}

impl From<PutError> for ApiError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::NotFound => Self::not_found(error.to_string()),
            PutError::WrongVersion(ref current) => {
                Self::new(StatusCode::FORBIDDEN, "M_WRONG_ROOM_KEYS_VERSION", error.to_string())
                    .with("current_version", current.clone())
            }
            PutError::Malformed(_) => Self::bad_json(error.to_string()),
            PutError::TooMany => Self::too_large(error.to_string()),
            PutError::Read(error) => error.into(),
            PutError::Commit(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
