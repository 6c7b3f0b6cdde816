//! An answer as handlers make it.

use crate::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};

/// `application/json`.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer. CORS headers and Content-Length are added when it is sent.
#[derive(Debug, Default)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Headers of the handler's own.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

impl Response {
    /// An answer in JSON; `body` is JSON already.
    pub fn json(status: StatusCode, body: impl Into<Body>) -> Self {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, JSON);
        Self {
            status,
            headers,
            body: body.into(),
        }
    }

    /// 200 with JSON made of pieces that are not copied together.
    pub fn spliced(chunks: Vec<Bytes>) -> Self {
        Self::json(StatusCode::OK, Body::Chunks(chunks))
    }

    /// Plain text.
    pub fn text(status: StatusCode, body: impl Into<String>) -> Self {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        Self {
            status,
            headers,
            body: Body::Full(body.into().into()),
        }
    }

    /// Matrix's standard error object. For text that needs no escaping in JSON; the API crates have their own error types.
    pub(crate) fn refuse(status: StatusCode, errcode: &'static str, message: &'static str) -> Self {
        Self::json(
            status,
            Body::Full(format!(r#"{{"errcode":"{errcode}","error":"{message}"}}"#).into()),
        )
    }
}
