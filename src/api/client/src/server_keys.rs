//! `GET /_matrix/key/v2/server`: this server's signing keys, those of before among them. Of the server-server API; whoever
//! keeps something that this server signed needs nothing else of it.

use crate::limit::Limited;
use crate::{ApiError, App, Routes};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response};
use std::sync::Arc;

/// Who knows the keys and signs the answer.
pub trait ServerKeys: Send + Sync + 'static {
    /// The body, signed (Matrix 1.16, server-server API, "Publishing Keys"). May block.
    fn published(&self) -> Result<String, String>;
}

/// Adds the endpoint.
pub fn routes(r: &mut Routes) {
    r.raw_open(Method::GET, "/_matrix/key/v2/server", server_keys);
}

async fn server_keys(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Other, request.peer)?;
    let keys = Arc::clone(&app.server_keys);
    let body = tokio::task::spawn_blocking(move || keys.published()).await;
    let body = body.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    Ok(Response::json(StatusCode::OK, body.into_bytes()))
}
