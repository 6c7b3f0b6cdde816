//! Cross-signing keys, and the signatures that users make with them.

use crate::device::wake_rooms;
use crate::keys::json_body;
use crate::{ApiError, App, Routes, Session, uia};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response};
use lamchat_keys::cross_signing::{self, ParsedKeys, UploadError};
use lamchat_keys::signatures::{self, SignatureError, Uploaded};
use ruma::api::client::keys::upload_signing_keys;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<upload_signing_keys::v3::Request>(upload);
    r.raw(Method::POST, "/_matrix/client/v3/keys/signatures/upload", sign);
    r.raw(Method::POST, "/_matrix/client/unstable/keys/signatures/upload", sign);
}

async fn upload(
    app: Arc<App>,
    session: Session,
    request: upload_signing_keys::v3::Request,
) -> Result<upload_signing_keys::v3::Response, ApiError> {
    let [master, self_signing, user_signing] = [
        &request.master_key,
        &request.self_signing_key,
        &request.user_signing_key,
    ]
    .map(|key| key.as_ref().map(|key| key.json()));
    let parsed = ParsedKeys::parse(&session.user_id, master, self_signing, user_signing)?;
    let verified = cross_signing::verify(&app.store.read(), session.user, &session.user_id, &parsed)?;
    if verified.needs_auth() {
        uia::confirm(&app, &session, "POST /keys/device_signing/upload", request.auth).await?;
    }
    let stored = move |txn: &mut lamchat_store::WriteTxn<'_>| -> Result<(), ApiError> {
        if cross_signing::upload(txn, session.user, &verified)? {
            wake_rooms(txn, session.user)?;
        }
        Ok(())
    };
    app.store.write(stored).await?;
    Ok(upload_signing_keys::v3::Response::new())
}

async fn sign(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    let uploaded: Uploaded = serde_json::from_slice(&json_body(&mut request).await?)?;
    let verified = signatures::verify(&app.store.read(), session.user, &session.user_id, &uploaded)?;
    let mut failures = Map::new();
    for (user_id, keys) in &verified.failures {
        let keys = keys.iter().map(|(name, error)| {
            let errcode = match error {
                SignatureError::Unknown => "M_NOT_FOUND",
                SignatureError::Invalid => "M_INVALID_SIGNATURE",
                SignatureError::Malformed => "M_BAD_JSON",
            };
            (name.clone(), json!({"errcode": errcode, "error": error.to_string()}))
        });
        failures.insert(user_id.to_string(), Value::Object(keys.collect()));
    }
    if !verified.is_empty() {
        let stored = move |txn: &mut lamchat_store::WriteTxn<'_>| -> Result<(), ApiError> {
            if signatures::store(txn, session.user, &session.user_id, &verified)? {
                wake_rooms(txn, session.user)?;
            }
            Ok(())
        };
        app.store.write(stored).await?;
    }
    crate::wire::json(StatusCode::OK, &json!({ "failures": failures }))
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Json(_) => Self::bad_json(error.to_string()),
            UploadError::Malformed(..) => Self::invalid_param(error.to_string()),
            UploadError::Signature(_) => Self::new(StatusCode::BAD_REQUEST, "M_INVALID_SIGNATURE", error.to_string()),
            UploadError::NoMaster => Self::missing_param(error.to_string()),
            UploadError::IdInUse => Self::forbidden(error.to_string()),
            UploadError::Raced => Self::new(StatusCode::CONFLICT, "M_UNKNOWN", error.to_string()),
            UploadError::Read(error) => error.into(),
            UploadError::Commit(error) => error.into(),
        }
    }
}

impl From<signatures::UploadError> for ApiError {
    fn from(error: signatures::UploadError) -> Self {
        match error {
            signatures::UploadError::TooMany => Self::too_large(error.to_string()),
            signatures::UploadError::Read(error) => error.into(),
            signatures::UploadError::Commit(error) => error.into(),
        }
    }
}
