//! From a request to ruma's type, and from ruma's answer to ours.

use crate::ApiError;
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use lamchat_base::limits::JSON_DEPTH_MAX;
use lamchat_http::{Body, Request, RequestBody, Response};
use ruma::api::{IncomingRequest, OutgoingResponse, OutgoingResponseExt};

/// The whole JSON body, however the route takes it.
pub async fn body(request: &mut Request) -> Result<Bytes, ApiError> {
    match std::mem::take(&mut request.body) {
        RequestBody::Empty => Ok(Bytes::new()),
        RequestBody::Full(bytes) => Ok(bytes),
        RequestBody::Stream(mut reader) => Ok(reader.collect().await?),
    }
}

/// A request as ruma's type.
pub(crate) async fn parse<R: IncomingRequest>(mut request: Request) -> Result<R, ApiError> {
    let body = body(&mut request).await?;
    if !body.is_empty() && request.method != Method::GET && request.method != Method::HEAD {
        check_json(&body)?;
    }
    let body = match body.is_empty() && matches!(request.method, Method::POST | Method::PUT | Method::DELETE) {
        // Clients leave the body out where all of its fields are optional: `POST /join/{room}` of matrix-nio.
        true => Bytes::from_static(b"{}"),
        false => crate::uia::with_identifier(body),
    };
    let mut typed = http::Request::new(body.as_ref());
    *typed.method_mut() = request.method;
    *typed.uri_mut() = request.uri;
    *typed.headers_mut() = request.headers;
    let arguments: Vec<&str> = request.params.values().iter().map(String::as_str).collect();
    Ok(R::try_from_http_request_inner(typed, &arguments)?)
}

/// Refuses what is not JSON, and what nests so deep that a parser behind us could run out of stack.
/// Endpoints without parameters never look at their body, so this is not left to the parser.
pub fn check_json(body: &[u8]) -> Result<(), ApiError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in body {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    return Err(ApiError::bad_json(format!(
                        "The body nests deeper than {JSON_DEPTH_MAX} levels"
                    )));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    // JSON text is UTF-8, in skipped strings too.
    std::str::from_utf8(body).map_err(|_| ApiError::not_json("The body is not valid UTF-8"))?;
    serde_json::from_slice::<WellFormed>(body)?;
    Ok(())
}

/// Any JSON, looked at to the last escape and kept nowhere. serde's `IgnoredAny` skips strings and numbers unread: half a
/// surrogate pair would pass, be spliced into a recipient's `/sync`, and break the whole answer for their parser.
struct WellFormed;

impl<'de> serde::Deserialize<'de> for WellFormed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> serde::de::Visitor<'de> for WellFormed {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// ruma's response type as an answer; for raw routes.
pub fn into_response(response: impl OutgoingResponse) -> Result<Response, ApiError> {
    let response = response
        .try_into_http_response::<BytesMut>()
        .map_err(ApiError::internal)?;
    let (parts, body) = response.into_parts();
    Ok(Response {
        status: parts.status,
        headers: parts.headers,
        body: Body::Full(body.freeze()),
    })
}

/// A value as a JSON answer; for raw routes.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Result<Response, ApiError> {
    Ok(Response::json(
        status,
        serde_json::to_vec(value).map_err(ApiError::internal)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::check_json;

    fn errcode(body: &[u8]) -> Option<String> {
        check_json(body)
            .err()
            .and_then(|error| error.errcode)
            .map(|code| code.as_str().to_owned())
    }

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let nested = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
        assert_eq!(errcode(&nested(100)), None);
        assert_eq!(errcode(&nested(101)).as_deref(), Some("M_BAD_JSON"));
        let braces = format!(r#"["\\\"{}"]"#, "[".repeat(500));
        assert_eq!(errcode(braces.as_bytes()), None);
    }

    #[test]
    fn only_json_passes() {
        for wrong in [
            b"{".as_slice(),
            b"{}x",
            b"\xff",
            b"\"\xff\"",
            b"nul",
            b"\"\x01\"",
            b"{\"a\":1,}",
            b"\"\\ud83d\"",
            b"{\"\\ude00\":1}",
            b"1e400",
        ] {
            assert_eq!(errcode(wrong).as_deref(), Some("M_NOT_JSON"), "{wrong:?}");
        }
    }
}
