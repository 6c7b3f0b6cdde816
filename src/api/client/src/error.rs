//! Errors as clients see them: a status, an errcode, a sentence. Inner detail goes to the log under the request's
//! id, never to the client. Each endpoint file maps its domain's errors itself with `impl From<…> for ApiError`.

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use lamchat_http::{BodyError, Response};
use lamchat_store::{CommitError, ReadError, WriteError};
use ruma::api::error::{DeserializationError, ErrorKind, FromHttpRequestError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Matrix's machine-readable name of an error, such as `M_FORBIDDEN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errcode(Cow<'static, str>);

impl Errcode {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Errcode {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<ErrorKind> for Errcode {
    fn from(kind: ErrorKind) -> Self {
        Self(Cow::Owned(kind.errcode().to_string()))
    }
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The errcode; `None` only where the specification has none (the first answer of user-interactive authentication).
    pub errcode: Option<Errcode>,
    /// For people. Says what to do where that is known.
    pub message: Cow<'static, str>,
    /// Further members of the error object.
    pub fields: Map<String, Value>,
}

impl ApiError {
    /// An error with a status, an errcode (text or ruma's [`ErrorKind`]) and a sentence.
    pub fn new(status: StatusCode, errcode: impl Into<Errcode>, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            errcode: Some(errcode.into()),
            message: message.into(),
            fields: Map::new(),
        }
    }

    /// The same with one more member in the error object.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// 401 with the flows of user-interactive authentication as the body.
    pub fn uia(body: &impl Serialize) -> Self {
        match serde_json::to_value(body) {
            Ok(Value::Object(fields)) => Self {
                status: StatusCode::UNAUTHORIZED,
                errcode: None,
                message: Cow::Borrowed(""),
                fields,
            },
            Ok(_) => Self::internal("the body of user-interactive authentication is no object"),
            Err(error) => Self::internal(error),
        }
    }

    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", message)
    }

    /// 404 `M_NOT_FOUND`.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", message)
    }

    /// 400 `M_INVALID_PARAM`.
    pub fn invalid_param(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", message)
    }

    /// 400 `M_MISSING_PARAM`.
    pub fn missing_param(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", message)
    }

    /// 400 `M_BAD_JSON`: JSON, but not what the endpoint takes.
    pub fn bad_json(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", message)
    }

    /// 400 `M_NOT_JSON`.
    pub fn not_json(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", message)
    }

    /// 413 `M_TOO_LARGE`.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", message)
    }

    /// 404 `M_UNRECOGNIZED`: nothing here answers that.
    pub fn unrecognized() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "M_UNRECOGNIZED",
            "This endpoint is not implemented",
        )
    }

    /// 401 `M_MISSING_TOKEN`.
    pub fn missing_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_MISSING_TOKEN", "An access token is needed")
    }

    /// 401 `M_UNKNOWN_TOKEN`. With `soft_logout` the client keeps its keys and logs in or refreshes again.
    pub fn unknown_token(soft_logout: bool) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "M_UNKNOWN_TOKEN",
            "The access token is unknown or has expired",
        )
        .with("soft_logout", soft_logout)
    }

    /// 401 `M_USER_LOCKED`. The client keeps its keys and asks again from time to time.
    pub fn locked() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "M_USER_LOCKED",
            "This account has been locked by an administrator",
        )
        .with("soft_logout", true)
    }

    /// 403 `M_USER_SUSPENDED`.
    pub fn suspended() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "M_USER_SUSPENDED",
            "This account has been suspended by an administrator: it can read, redact its own messages and leave",
        )
    }

    /// 403 `M_GUEST_ACCESS_FORBIDDEN`.
    pub fn guest() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "M_GUEST_ACCESS_FORBIDDEN",
            "Guests may not do this here",
        )
    }

    /// 429 `M_LIMIT_EXCEEDED`, with `Retry-After` in whole seconds and `retry_after_ms` in the body.
    pub fn limit_exceeded(retry_after_ms: u64) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "M_LIMIT_EXCEEDED",
            "Too many requests: wait, then try again",
        )
        .with("retry_after_ms", retry_after_ms)
    }

    /// 500 `M_UNKNOWN`. Logs the detail now, under the request's span; the client does not get it.
    pub fn internal(detail: impl std::fmt::Display) -> Self {
        tracing::error!(%detail, "a request failed because of an internal fault");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "M_UNKNOWN",
            "Something went wrong inside the server; its log has the reason under this request's id",
        )
    }

    /// The answer to send.
    pub fn into_response(self) -> Response {
        let mut object = self.fields;
        let retry_after_ms = object.get("retry_after_ms").and_then(Value::as_u64);
        if let Some(errcode) = self.errcode {
            object.insert("errcode".to_owned(), Value::String(errcode.0.into_owned()));
            object.insert("error".to_owned(), Value::String(self.message.into_owned()));
        }
        let mut response = Response::json(self.status, Value::Object(object).to_string().into_bytes());
        if let Some(ms) = retry_after_ms {
            response
                .headers
                .insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        response
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::internal(error)
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        match error {
            // The specification's code for a server that "has reached a resource limit"; its `admin_contact` is
            // optional in practice and not configured. 507 says the rest: clients treat it as a failure worth retrying.
            CommitError::DiskFull => {
                tracing::error!("the disk is full: writes are refused until there is room");
                Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "M_RESOURCE_LIMIT_EXCEEDED",
                    "The server's disk is full; its administrator has to make room",
                )
            }
            CommitError::Unknown(_) | CommitError::Panicked => Self::internal(error),
            CommitError::Closed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "M_UNKNOWN",
                "The server is shutting down: try again soon",
            ),
        }
    }
}

impl<E: Into<ApiError>> From<WriteError<E>> for ApiError {
    fn from(error: WriteError<E>) -> Self {
        match error {
            WriteError::Refused(error) => error.into(),
            WriteError::Commit(error) => error.into(),
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::too_large(format!("The body is larger than {limit} bytes")),
            BodyError::TooSlow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "M_UNKNOWN",
                "The body did not arrive in time",
            ),
            BodyError::Broken => Self::not_json("The body ended early"),
        }
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        use serde_json::error::Category;
        match error.classify() {
            Category::Syntax | Category::Eof | Category::Io => Self::not_json("The body is not valid JSON"),
            // serde's own sentences: there is no other way to tell them apart.
            Category::Data => {
                let text = error.to_string();
                if text.starts_with("missing field") {
                    Self::missing_param(text)
                } else {
                    Self::bad_json(text)
                }
            }
        }
    }
}

impl From<DeserializationError> for ApiError {
    fn from(error: DeserializationError) -> Self {
        match error {
            DeserializationError::Json(error) => error.into(),
            DeserializationError::Utf8(_) => Self::not_json("The body is not valid UTF-8"),
            DeserializationError::Query(error) => {
                let text = error.to_string();
                if text.starts_with("missing field") {
                    Self::missing_param(text)
                } else {
                    Self::invalid_param(text)
                }
            }
            DeserializationError::Ident(error) => Self::invalid_param(error.to_string()),
            DeserializationError::Header(error) => Self::invalid_param(error.to_string()),
            other => Self::invalid_param(other.to_string()),
        }
    }
}

impl From<FromHttpRequestError> for ApiError {
    fn from(error: FromHttpRequestError) -> Self {
        match error {
            FromHttpRequestError::Deserialization(error) => error.into(),
            other => Self::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::ApiError;
    use lamchat_http::Body;
    use serde_json::{Value, json};

    fn body(error: ApiError) -> Value {
        match error.into_response().body {
            Body::Full(bytes) => serde_json::from_slice(&bytes).unwrap(),
            _ => Value::Null,
        }
    }

    #[test]
    fn limits_tell_when_to_come_back() {
        let response = ApiError::limit_exceeded(1500).into_response();
        assert_eq!(response.headers.get("retry-after").unwrap(), "2");
        assert_eq!(response.status, 429);
        assert_eq!(
            body(ApiError::limit_exceeded(1500)).get("retry_after_ms"),
            Some(&json!(1500))
        );
    }

    #[test]
    fn expired_tokens_are_soft_logouts() {
        let error = body(ApiError::unknown_token(true));
        assert_eq!(error.get("errcode"), Some(&json!("M_UNKNOWN_TOKEN")));
        assert_eq!(error.get("soft_logout"), Some(&json!(true)));
    }

    #[test]
    fn the_first_answer_of_uia_has_no_errcode() {
        let error = ApiError::uia(&json!({"flows": [{"stages": ["m.login.dummy"]}], "session": "x"}));
        assert_eq!(error.status, 401);
        assert_eq!(
            body(error),
            json!({"flows": [{"stages": ["m.login.dummy"]}], "session": "x"})
        );
    }

    #[test]
    fn json_errors_are_told_apart() {
        #[derive(Debug, serde::Deserialize)]
        struct Wanted {
            #[serde(rename = "name")]
            _name: String,
        }
        let code = |text: &str| {
            ApiError::from(serde_json::from_str::<Wanted>(text).unwrap_err())
                .errcode
                .unwrap()
                .as_str()
                .to_owned()
        };
        assert_eq!(code("{"), "M_NOT_JSON");
        assert_eq!(code(r#"{"name": 1}"#), "M_BAD_JSON");
        assert_eq!(code("{}"), "M_MISSING_PARAM");
    }

    #[test]
    fn internal_detail_stays_inside() {
        let error = ApiError::from(lamchat_store::ReadError::Database("page 17 of /var/lib".to_owned()));
        assert_eq!(error.status, 500);
        assert!(!body(error).to_string().contains("page 17"));
    }
}
