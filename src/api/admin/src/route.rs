//! The way from a request to a handler and back.

use crate::{Admin, AdminError};
use http::{Method, StatusCode};
use lamchat_http::{Auth, BodyPolicy, Patience, Request, Resource, Response, Route};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// Largest body of an administrative request.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// A route of the Unix socket whose answer is JSON.
pub(crate) fn on<F, Fut>(admin: &Arc<Admin>, method: &Method, path: &'static str, handler: F) -> Route
where
    F: Fn(Arc<Admin>, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, AdminError>> + Send + 'static,
{
    raw(admin, method, path, Auth::Admin, move |admin, request| {
        json_answer(handler(admin, request))
    })
}

/// An answer in JSON.
pub(crate) async fn json_answer(
    answer: impl Future<Output = Result<Value, AdminError>>,
) -> Result<Response, AdminError> {
    Ok(Response::json(StatusCode::OK, answer.await?.to_string().into_bytes()))
}

/// A route of the resource `admin` that answers as it likes.
pub(crate) fn raw<F, Fut>(admin: &Arc<Admin>, method: &Method, path: &'static str, auth: Auth, handler: F) -> Route
where
    F: Fn(Arc<Admin>, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, AdminError>> + Send + 'static,
{
    let (admin, handler) = (Arc::clone(admin), Arc::new(handler));
    Route {
        method: method.clone(),
        path: path.into(),
        resource: Resource::Admin,
        auth,
        body: BodyPolicy::Limit(BODY_BYTES_MAX),
        // A command waits as long as it takes: leaving a thousand rooms, streaming a backup.
        patience: if auth == Auth::Admin {
            Patience::Own
        } else {
            Patience::Bounded
        },
        handler: Arc::new(move |request| {
            let (admin, handler) = (Arc::clone(&admin), Arc::clone(&handler));
            Box::pin(async move { handler(admin, request).await.unwrap_or_else(Response::from) })
        }),
    }
}

/// The same where a request without a body means what `T` is by default.
pub(crate) fn parse_or_default<T: DeserializeOwned + Default>(request: &Request) -> Result<T, AdminError> {
    if request.bytes().is_empty() {
        return Ok(T::default());
    }
    parse(request)
}

/// The body as `T`. `M_NOT_JSON` when it is no JSON, `M_BAD_JSON` when it is another.
pub(crate) fn parse<T: DeserializeOwned>(request: &Request) -> Result<T, AdminError> {
    let bytes = request.bytes();
    serde_json::from_slice(&bytes).map_err(|error| {
        let errcode = if error.is_data() { "M_BAD_JSON" } else { "M_NOT_JSON" };
        AdminError::new(
            StatusCode::BAD_REQUEST,
            errcode,
            format!("The request's body cannot be used: {error}"),
        )
    })
}
