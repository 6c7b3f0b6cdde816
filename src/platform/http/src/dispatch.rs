//! One request: find the route, read the body, call the handler within its time, add what every answer has.
//!
//! When a client goes away, its handler's future is dropped at its next await. Whatever belongs together is
//! therefore one write of the store, or a task of its own.

use crate::body::{BodyReader, Outgoing};
use crate::listener::Origin;
use crate::router::{Bound, Found, Router};
use crate::{Body, BodyError, BodyPolicy, BoxFuture, Patience, Request, RequestBody, RequestId, Resource, Response};
use bytes::{Buf, Bytes};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH,
    HeaderValue,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use hyper::body::{Body as _, Incoming};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;
use tracing::Instrument;

static NEXT_REQUEST: AtomicU64 = AtomicU64::new(1);

/// Carries the request's name on answers with a 5xx status, so that a user can report it and its log lines be found.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The body of a request, from the network or from memory.
enum Arriving {
    Network(Incoming),
    Memory(Bytes),
}

impl Router {
    /// Answers a request that did not come over a network: tests, and the command line's own socket.
    pub async fn answer(&self, request: http::Request<Bytes>) -> http::Response<Vec<u8>> {
        let (parts, body) = request.into_parts();
        let response = self
            .route(parts, Arriving::Memory(body), &Resource::ALL, Origin::ourselves())
            .await;
        let mut answer = http::Response::new(Vec::new());
        *answer.status_mut() = response.status;
        *answer.headers_mut() = response.headers;
        let mut outgoing = Outgoing::from(response.body);
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut outgoing).poll_frame(cx)).await {
            if let Ok(mut data) = frame.into_data() {
                let length = data.remaining();
                answer.body_mut().extend_from_slice(&data.copy_to_bytes(length));
            }
        }
        answer
    }

    /// Answers a request from the network.
    pub(crate) async fn serve(
        &self,
        request: http::Request<Incoming>,
        offered: &[Resource],
        origin: Origin,
    ) -> http::Response<Outgoing> {
        let (parts, body) = request.into_parts();
        let response = self.route(parts, Arriving::Network(body), offered, origin).await;
        let mut answer = http::Response::new(Outgoing::from(response.body));
        *answer.status_mut() = response.status;
        *answer.headers_mut() = response.headers;
        answer
    }

    async fn route(
        &self,
        parts: http::request::Parts,
        body: Arriving,
        offered: &[Resource],
        origin: Origin,
    ) -> Response {
        let started = Instant::now();
        let http::request::Parts {
            method, uri, headers, ..
        } = parts;
        // "Servers MUST expect that clients will approach them with OPTIONS requests", for any endpoint.
        if method == Method::OPTIONS {
            return share(Response {
                status: StatusCode::NO_CONTENT,
                ..Response::default()
            });
        }
        let is_head = method == Method::HEAD;
        let is_offered = |resource| offered.contains(&resource) && !self.gates.is_absent(resource);
        let found = self.find(&method, uri.path(), is_offered);
        let resource = match &found {
            Found::Route(bound, _) => Some(bound.route.resource),
            Found::OtherMethods | Found::BadEncoding | Found::Nothing => None,
        };
        let refusal = self.gates.refusal(resource, uri.path(), offered);
        let (mut response, resource) = match (refusal, found) {
            (Some(response), _) => {
                self.discard(body).await;
                self.unrouted
                    .record(&self.metrics, "any", "none", response.status, started.elapsed());
                (response, resource.unwrap_or(Resource::Client))
            }
            (None, Found::Route(bound, params)) => {
                let id = RequestId(NEXT_REQUEST.fetch_add(1, Ordering::Relaxed));
                let span = tracing::info_span!("request", %id, method = method.as_str(), route = &*bound.route.path);
                let request = Request {
                    method,
                    uri,
                    params,
                    headers,
                    body: RequestBody::Empty,
                    id,
                    peer: origin.peer.address(),
                    peer_uid: origin.peer.uid(),
                    is_encrypted: origin.is_encrypted,
                    caller: None,
                };
                let mut response = self.carry_out(bound, request, body).instrument(span.clone()).await;
                let took = started.elapsed();
                bound.metrics.record(
                    &self.metrics,
                    bound.route.method.as_str(),
                    &bound.route.path,
                    response.status,
                    took,
                );
                span.in_scope(|| {
                    tracing::debug!(
                        status = response.status.as_u16(),
                        ms = took.as_secs_f64() * 1e3,
                        "answered"
                    )
                });
                if response.status.is_server_error()
                    && let Ok(value) = HeaderValue::try_from(id.to_string())
                {
                    response.headers.insert(REQUEST_ID, value);
                }
                (response, bound.route.resource)
            }
            (None, refused) => {
                let response = match refused {
                    Found::OtherMethods => Response::refuse(
                        StatusCode::METHOD_NOT_ALLOWED,
                        "M_UNRECOGNIZED",
                        "This endpoint does not know this method",
                    ),
                    Found::BadEncoding => Response::refuse(
                        StatusCode::BAD_REQUEST,
                        "M_INVALID_PARAM",
                        "The path is not percent-encoded UTF-8",
                    ),
                    Found::Route(..) | Found::Nothing => Response::refuse(
                        StatusCode::NOT_FOUND,
                        "M_UNRECOGNIZED",
                        "This endpoint is not implemented",
                    ),
                };
                self.discard(body).await;
                self.unrouted
                    .record(&self.metrics, "any", "none", response.status, started.elapsed());
                (response, Resource::Client)
            }
        };
        if is_head {
            if let Some(length) = response.body.length() {
                response.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            response.body = Body::Empty;
        }
        if resource.cross_origin() {
            share(response)
        } else {
            response
        }
    }

    async fn carry_out(&self, bound: &Bound, mut request: Request, body: Arriving) -> Response {
        let limits = &self.limits;
        request.body = match (bound.route.body, body) {
            (_, Arriving::Memory(bytes)) if bytes.is_empty() => RequestBody::Empty,
            (_, Arriving::Network(incoming)) if incoming.is_end_stream() => RequestBody::Empty,
            (BodyPolicy::Limit(limit), Arriving::Memory(bytes)) if bytes.len() > limit => return too_large(),
            (BodyPolicy::Stream(limit), Arriving::Memory(bytes)) if bytes.len() as u64 > limit => return too_large(),
            (BodyPolicy::Limit(_), Arriving::Memory(bytes)) => RequestBody::Full(bytes),
            (BodyPolicy::Stream(_), Arriving::Memory(bytes)) => RequestBody::Stream(BodyReader::of(bytes)),
            (BodyPolicy::Limit(limit), Arriving::Network(incoming)) => {
                let deadline = tokio::time::Instant::now() + limits.body_read_time;
                let mut reader = BodyReader::network(incoming, limit as u64, limits.body_read_time, deadline);
                match reader.collect().await {
                    Ok(bytes) => RequestBody::Full(bytes),
                    Err(error) => {
                        if matches!(error, BodyError::TooLarge { .. }) && !expects_continue(&request.headers) {
                            reader.discard(limits.discard_bytes, limits.discard_time).await;
                        }
                        return refuse_body(&error);
                    }
                }
            }
            (BodyPolicy::Stream(limit), Arriving::Network(incoming)) => {
                if incoming.size_hint().lower() > limit {
                    let expects_continue = expects_continue(&request.headers);
                    if !expects_continue {
                        self.discard(Arriving::Network(incoming)).await;
                    }
                    return too_large();
                }
                let deadline = tokio::time::Instant::now() + limits.body_stream_time;
                RequestBody::Stream(BodyReader::network(incoming, limit, limits.body_pause, deadline))
            }
        };
        let begin = AssertUnwindSafe(|| (bound.route.handler)(request));
        let Ok(future) = std::panic::catch_unwind(begin) else {
            return self.panicked();
        };
        let work = CatchPanic(future);
        let outcome = match bound.route.patience {
            Patience::Own => work.await,
            Patience::Bounded => match tokio::time::timeout(limits.handler_time, work).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    tracing::error!("a handler took too long and was stopped");
                    return fault();
                }
            },
        };
        outcome.unwrap_or_else(|_| self.panicked())
    }

    fn panicked(&self) -> Response {
        // The panic's message went to the panic hook; here only the request that it belongs to is told.
        tracing::error!("a handler panicked");
        self.metrics.panics.inc();
        fault()
    }

    async fn discard(&self, body: Arriving) {
        if let Arriving::Network(incoming) = body
            && !incoming.is_end_stream()
        {
            let deadline = tokio::time::Instant::now() + self.limits.discard_time;
            let mut reader = BodyReader::network(incoming, 0, self.limits.discard_time, deadline);
            reader
                .discard(self.limits.discard_bytes, self.limits.discard_time)
                .await;
        }
    }
}

/// Adds the headers that let browsers of any origin use the API.
///
/// "Access-Control-Allow-Origin: *, Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS,
/// Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization" (Matrix 1.16, "Web Browser Clients")
fn share(mut response: Response) -> Response {
    let headers = &mut response.headers;
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS"),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("X-Requested-With, Content-Type, Authorization"),
    );
    response
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn fault() -> Response {
    Response::refuse(
        StatusCode::INTERNAL_SERVER_ERROR,
        "M_UNKNOWN",
        "Something went wrong inside the server; its log has the reason under this request's id",
    )
}

fn too_large() -> Response {
    Response::refuse(
        StatusCode::PAYLOAD_TOO_LARGE,
        "M_TOO_LARGE",
        "The body is larger than this endpoint takes",
    )
}

fn refuse_body(error: &BodyError) -> Response {
    match error {
        BodyError::TooLarge { .. } => too_large(),
        BodyError::TooSlow => Response::refuse(
            StatusCode::REQUEST_TIMEOUT,
            "M_UNKNOWN",
            "The body did not arrive in time",
        ),
        BodyError::Broken => Response::refuse(StatusCode::BAD_REQUEST, "M_NOT_JSON", "The body ended early"),
    }
}

/// A future whose panic is an error instead of the end of its connection.
struct CatchPanic(BoxFuture<Response>);

impl Future for CatchPanic {
    type Output = std::thread::Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The future is never polled again after a panic, so nobody sees what it left half-done.
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::super::{Auth, BodyPolicy, Limits, Patience, Resource, Response, Route, Router};
    use bytes::Bytes;
    use http::{Method, StatusCode};
    use std::sync::Arc;
    use std::time::Duration;

    fn router() -> Router {
        let route = |method: Method, path: &'static str, resource, handler| Route {
            method,
            path: path.into(),
            resource,
            auth: Auth::Open,
            body: BodyPolicy::Limit(8),
            patience: Patience::Bounded,
            handler,
        };
        let limits = Limits {
            handler_time: Duration::from_millis(50),
            ..Limits::default()
        };
        let routes = vec![
            route(
                Method::GET,
                "/hello/{name}",
                Resource::Client,
                Arc::new(|request| {
                    Box::pin(async move {
                        Response::spliced(vec![
                            "\"".into(),
                            request.params.value("name").to_owned().into(),
                            "\"".into(),
                        ])
                    })
                }),
            ),
            route(
                Method::POST,
                "/panic",
                Resource::Client,
                Arc::new(|_| Box::pin(async { panic!("on purpose") })),
            ),
            route(
                Method::POST,
                "/panic-at-once",
                Resource::Client,
                Arc::new(|_| panic!("on purpose")),
            ),
            route(
                Method::POST,
                "/slow",
                Resource::Admin,
                Arc::new(|_| Box::pin(std::future::pending())),
            ),
        ];
        Router::new(routes, limits).unwrap()
    }

    async fn call(method: Method, path: &str, body: &'static str) -> http::Response<Vec<u8>> {
        router()
            .answer(
                http::Request::builder()
                    .method(method)
                    .uri(path)
                    .body(Bytes::from_static(body.as_bytes()))
                    .unwrap(),
            )
            .await
    }

    #[tokio::test]
    async fn answers_carry_cors_headers() {
        let response = call(Method::GET, "/hello/a%20b", "").await;
        assert_eq!(
            (response.status(), response.body().as_slice()),
            (StatusCode::OK, b"\"a b\"".as_slice())
        );
        assert_eq!(response.headers().get("access-control-allow-origin").unwrap(), "*");
        let head = call(Method::HEAD, "/hello/ab", "").await;
        assert_eq!(
            (
                head.body().len(),
                head.headers().get("content-length").unwrap().to_str().unwrap()
            ),
            (0, "4")
        );
        for path in ["/hello/x", "/anything"] {
            let options = call(Method::OPTIONS, path, "").await;
            assert_eq!(options.status(), StatusCode::NO_CONTENT);
            assert!(options.headers().contains_key("access-control-allow-methods"));
        }
        assert!(
            call(Method::POST, "/slow", "")
                .await
                .headers()
                .get("access-control-allow-origin")
                .is_none()
        );
    }

    #[tokio::test]
    async fn refusals_have_an_errcode() {
        for (method, path, body, status, errcode) in [
            (Method::GET, "/nowhere", "", 404, "M_UNRECOGNIZED"),
            (Method::DELETE, "/hello/x", "", 405, "M_UNRECOGNIZED"),
            (Method::GET, "/hello/%ff", "", 400, "M_INVALID_PARAM"),
            (Method::POST, "/panic", "123456789", 413, "M_TOO_LARGE"),
            (Method::POST, "/panic", "", 500, "M_UNKNOWN"),
            (Method::POST, "/panic-at-once", "", 500, "M_UNKNOWN"),
            (Method::POST, "/slow", "", 500, "M_UNKNOWN"),
        ] {
            let response = call(method, path, body).await;
            assert_eq!(response.status().as_u16(), status, "{path}");
            assert!(
                String::from_utf8_lossy(response.body()).contains(&format!(r#""errcode":"{errcode}""#)),
                "{path}"
            );
            assert_eq!(response.headers().contains_key("x-request-id"), status == 500);
        }
    }
}
