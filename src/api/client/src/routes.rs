//! Every endpoint with the authentication that it needs, and the way from a request to ruma's type and back.

use crate::caller::{self, Session};
use crate::{ApiError, App};
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use lamchat_base::limits::{JSON_BODY_BYTES_MAX, JSON_DEPTH_MAX};
use lamchat_http::{Auth, Body, BodyPolicy, BoxFuture, Patience, Request, RequestBody, Resource, Response, Route};
use ruma::api::auth_scheme::{AccessTokenOptional, AppserviceTokenOptional, NoAccessToken, NoAuthentication};
use ruma::api::path_builder::PathBuilder;
use ruma::api::{IncomingRequest, OutgoingResponse, OutgoingResponseExt};
use std::borrow::Cow;
use std::sync::Arc;

/// Collects the endpoints of all files. Each owner adds one line.
fn collect() -> Routes {
    let mut r = Routes::default();
    crate::discovery::routes(&mut r);
    r
}

/// The routes of the client API, bound to the exchange.
pub fn routes(app: Arc<App>) -> Vec<Route> {
    collect().bind(&app)
}

/// Every method and path with whom it answers; for tests that prove something about all of them.
pub fn table() -> Vec<(Method, Cow<'static, str>, Auth)> {
    collect().declared.into_iter().map(|declared| (declared.method, declared.path, declared.auth)).collect()
}

type Answer = Arc<dyn Fn(Arc<App>, Request) -> BoxFuture<Response> + Send + Sync>;

struct Declared {
    method: Method,
    path: Cow<'static, str>,
    resource: Resource,
    auth: Auth,
    body: BodyPolicy,
    patience: Patience,
    answer: Answer,
}

/// A collection of endpoints.
#[derive(Default)]
pub struct Routes {
    declared: Vec<Declared>,
}

/// The authentication schemes in ruma's metadata that let an endpoint answer without a token.
pub trait AllowsOpen {}
impl AllowsOpen for NoAuthentication {}
impl AllowsOpen for NoAccessToken {}
impl AllowsOpen for AccessTokenOptional {}
impl AllowsOpen for AppserviceTokenOptional {}

/// `async fn(Arc<App>, Session, R) -> Result<R::OutgoingResponse, ApiError>`.
pub trait SessionHandler<R: IncomingRequest>: Send + Sync + 'static {
    /// Calls it.
    fn call(&self, app: Arc<App>, session: Session, request: R) -> BoxFuture<Result<R::OutgoingResponse, ApiError>>;
}
impl<R, F, Fut> SessionHandler<R> for F
where
    R: IncomingRequest,
    F: Fn(Arc<App>, Session, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R::OutgoingResponse, ApiError>> + Send + 'static,
{
    fn call(&self, app: Arc<App>, session: Session, request: R) -> BoxFuture<Result<R::OutgoingResponse, ApiError>> {
        Box::pin(self(app, session, request))
    }
}

/// `async fn(Arc<App>, Option<Session>, R) -> Result<R::OutgoingResponse, ApiError>`.
pub trait OptionalHandler<R: IncomingRequest>: Send + Sync + 'static {
    /// Calls it.
    fn call(&self, app: Arc<App>, session: Option<Session>, request: R) -> BoxFuture<Result<R::OutgoingResponse, ApiError>>;
}
impl<R, F, Fut> OptionalHandler<R> for F
where
    R: IncomingRequest,
    F: Fn(Arc<App>, Option<Session>, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R::OutgoingResponse, ApiError>> + Send + 'static,
{
    fn call(&self, app: Arc<App>, session: Option<Session>, request: R) -> BoxFuture<Result<R::OutgoingResponse, ApiError>> {
        Box::pin(self(app, session, request))
    }
}

/// Who asks, for endpoints without a session: what rate limits go by.
#[derive(Debug, Clone, Copy)]
pub struct Stranger {
    /// The address of the connection; `None` on a Unix socket. Never log it.
    pub peer: Option<std::net::IpAddr>,
}

/// `async fn(Arc<App>, Stranger, R) -> Result<R::OutgoingResponse, ApiError>`.
pub trait StrangerHandler<R: IncomingRequest>: Send + Sync + 'static {
    /// Calls it.
    fn call(&self, app: Arc<App>, stranger: Stranger, request: R) -> BoxFuture<Result<R::OutgoingResponse, ApiError>>;
}
impl<R, F, Fut> StrangerHandler<R> for F
where
    R: IncomingRequest,
    F: Fn(Arc<App>, Stranger, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R::OutgoingResponse, ApiError>> + Send + 'static,
{
    fn call(&self, app: Arc<App>, stranger: Stranger, request: R) -> BoxFuture<Result<R::OutgoingResponse, ApiError>> {
        Box::pin(self(app, stranger, request))
    }
}

/// `async fn(Arc<App>, R) -> Result<R::OutgoingResponse, ApiError>`.
pub trait OpenHandler<R: IncomingRequest>: Send + Sync + 'static {
    /// Calls it.
    fn call(&self, app: Arc<App>, request: R) -> BoxFuture<Result<R::OutgoingResponse, ApiError>>;
}
impl<R, F, Fut> OpenHandler<R> for F
where
    R: IncomingRequest,
    F: Fn(Arc<App>, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R::OutgoingResponse, ApiError>> + Send + 'static,
{
    fn call(&self, app: Arc<App>, request: R) -> BoxFuture<Result<R::OutgoingResponse, ApiError>> {
        Box::pin(self(app, request))
    }
}

impl Routes {
    /// An endpoint for the holder of an access token.
    pub fn session<R>(&mut self, handler: impl SessionHandler<R>) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        R::OutgoingResponse: Send,
    {
        let handler = Arc::new(handler);
        self.typed::<R>(Auth::Session, Arc::new(move |app, request| {
            let handler = Arc::clone(&handler);
            finish(async move {
                let (session, request) = caller::admit(&app, request).await?;
                answer::<R>(handler.call(app, session, parse::<R>(request).await?).await?)
            })
        }))
    }

    /// An endpoint that knows its caller if there is an access token. A wrong token is refused.
    pub fn optional<R>(&mut self, handler: impl OptionalHandler<R>) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: AllowsOpen,
        R::OutgoingResponse: Send,
    {
        let handler = Arc::new(handler);
        self.typed::<R>(Auth::Optional, Arc::new(move |app, request| {
            let handler = Arc::clone(&handler);
            finish(async move {
                let (session, request) = caller::admit_optional(&app, request).await?;
                answer::<R>(handler.call(app, session, parse::<R>(request).await?).await?)
            })
        }))
    }

    /// An endpoint for everybody.
    pub fn open<R>(&mut self, handler: impl OpenHandler<R>) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: AllowsOpen,
        R::OutgoingResponse: Send,
    {
        let handler = Arc::new(handler);
        self.typed::<R>(Auth::Open, Arc::new(move |app, request| {
            let handler = Arc::clone(&handler);
            finish(async move { answer::<R>(handler.call(app, parse::<R>(request).await?).await?) })
        }))
    }

    /// An endpoint for everybody that needs to know the address for its rate limit: login, registration.
    pub fn stranger<R>(&mut self, handler: impl StrangerHandler<R>) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: AllowsOpen,
        R::OutgoingResponse: Send,
    {
        let handler = Arc::new(handler);
        self.typed::<R>(Auth::Open, Arc::new(move |app, request| {
            let handler = Arc::clone(&handler);
            finish(async move {
                let stranger = Stranger { peer: request.peer };
                answer::<R>(handler.call(app, stranger, parse::<R>(request).await?).await?)
            })
        }))
    }

    /// A route for the holder of an access token that reads the request and makes the answer itself:
    /// hot or streaming ones. A path of version 3 is served under its r0 name as well.
    pub fn raw<F, Fut>(&mut self, method: Method, path: &'static str, handler: F) -> Endpoint<'_>
    where
        F: Fn(Arc<App>, Session, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.paths(method, vec![path], Auth::Session, Arc::new(move |app, request| {
            let handler = Arc::clone(&handler);
            finish(async move {
                let (session, request) = caller::admit(&app, request).await?;
                handler(app, session, request).await
            })
        }))
    }

    /// Like [`Routes::raw`], for everybody; a token makes the caller known.
    pub fn raw_optional<F, Fut>(&mut self, method: Method, path: &'static str, handler: F) -> Endpoint<'_>
    where
        F: Fn(Arc<App>, Option<Session>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.paths(method, vec![path], Auth::Optional, Arc::new(move |app, request| {
            let handler = Arc::clone(&handler);
            finish(async move {
                let (session, request) = caller::admit_optional(&app, request).await?;
                handler(app, session, request).await
            })
        }))
    }

    /// Like [`Routes::raw`], for everybody.
    pub fn raw_open<F, Fut>(&mut self, method: Method, path: &'static str, handler: F) -> Endpoint<'_>
    where
        F: Fn(Arc<App>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.paths(method, vec![path], Auth::Open, Arc::new(move |app, request| finish(handler(app, request))))
    }

    fn typed<R: IncomingRequest>(&mut self, auth: Auth, answer: Answer) -> Endpoint<'_> {
        self.paths(R::METHOD, R::PATH_BUILDER.all_paths().collect(), auth, answer)
    }

    fn paths(&mut self, method: Method, paths: Vec<&'static str>, auth: Auth, answer: Answer) -> Endpoint<'_> {
        let first = self.declared.len();
        for path in paths.into_iter().flat_map(aliases) {
            if self.declared.iter().skip(first).any(|declared| declared.path == path) {
                continue;
            }
            let resource = if path.contains("/media/") { Resource::Media } else { Resource::Client };
            self.declared.push(Declared {
                method: method.clone(),
                path,
                resource,
                auth,
                body: BodyPolicy::Limit(JSON_BODY_BYTES_MAX),
                patience: Patience::Bounded,
                answer: Arc::clone(&answer),
            });
        }
        Endpoint { declared: self.declared.get_mut(first..).unwrap_or_default() }
    }

    /// The routes for the listener.
    pub fn bind(self, app: &Arc<App>) -> Vec<Route> {
        let bind = |declared: Declared| {
            let app = Arc::clone(app);
            Route {
                method: declared.method,
                path: declared.path,
                resource: declared.resource,
                auth: declared.auth,
                body: declared.body,
                patience: declared.patience,
                handler: Arc::new(move |request| (declared.answer)(Arc::clone(&app), request)),
            }
        };
        self.declared.into_iter().map(bind).collect()
    }
}

/// The other names under which clients know a path.
fn aliases(path: &'static str) -> Vec<Cow<'static, str>> {
    let mut names = vec![Cow::Borrowed(path)];
    for (new, old) in [("/_matrix/client/v3/", "/_matrix/client/r0/"), ("/_matrix/media/v3/", "/_matrix/media/r0/")] {
        if let Some(rest) = path.strip_prefix(new) {
            names.push(Cow::Owned(format!("{old}{rest}")));
        }
    }
    let mut shorter = Vec::new();
    for name in &names {
        // "stateKey: ... Defaults to an empty string. When an empty string, the trailing slash on this endpoint is optional."
        if let Some(start) = name.strip_suffix("/{state_key}") {
            shorter.extend([Cow::Owned(start.to_owned()), Cow::Owned(format!("{start}/"))]);
        } else if let Some(start) = name.strip_suffix('/') {
            shorter.push(Cow::Owned(start.to_owned()));
        }
    }
    names.append(&mut shorter);
    names
}

/// What was just added, for what differs from the usual: a JSON body of at most 1 MiB, bounded time.
pub struct Endpoint<'r> {
    declared: &'r mut [Declared],
}

impl Endpoint<'_> {
    /// Takes a JSON body of up to `bytes_max` bytes. It is read after the access token was checked.
    pub fn body_max(self, bytes_max: usize) -> Self {
        self.each(|declared| declared.body = BodyPolicy::Stream(bytes_max as u64))
    }

    /// Hands the body unread to a raw handler ([`Request::take_stream`]); at most `bytes_max` bytes.
    pub fn stream(self, bytes_max: u64) -> Self {
        self.each(|declared| {
            declared.body = BodyPolicy::Stream(bytes_max);
            declared.patience = Patience::Own;
        })
    }

    /// Long polls and others that bound their time themselves.
    pub fn long(self) -> Self {
        self.each(|declared| declared.patience = Patience::Own)
    }

    /// Listed as authenticated by a secret in the request.
    pub fn shared_secret(self) -> Self {
        self.each(|declared| declared.auth = Auth::SharedSecret)
    }

    fn each(self, change: impl Fn(&mut Declared)) -> Self {
        self.declared.iter_mut().for_each(change);
        self
    }
}

fn finish(work: impl Future<Output = Result<Response, ApiError>> + Send + 'static) -> BoxFuture<Response> {
    Box::pin(async move { work.await.unwrap_or_else(ApiError::into_response) })
}

/// The whole JSON body, however the route takes it.
pub async fn body(request: &mut Request) -> Result<Bytes, ApiError> {
    match std::mem::take(&mut request.body) {
        RequestBody::Empty => Ok(Bytes::new()),
        RequestBody::Full(bytes) => Ok(bytes),
        RequestBody::Stream(mut reader) => Ok(reader.collect().await?),
    }
}

/// A request as ruma's type.
async fn parse<R: IncomingRequest>(mut request: Request) -> Result<R, ApiError> {
    let body = body(&mut request).await?;
    if !body.is_empty() && request.method != Method::GET && request.method != Method::HEAD {
        check_json(&body)?;
    }
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
                    return Err(ApiError::bad_json(format!("The body nests deeper than {JSON_DEPTH_MAX} levels")));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    // JSON text is UTF-8, in skipped strings too.
    std::str::from_utf8(body).map_err(|_| ApiError::not_json("The body is not valid UTF-8"))?;
    serde_json::from_slice::<serde::de::IgnoredAny>(body)?;
    Ok(())
}

/// ruma's answer as ours.
fn answer<R: IncomingRequest>(response: R::OutgoingResponse) -> Result<Response, ApiError> {
    into_response(response)
}

/// ruma's response type as an answer; for raw routes.
pub fn into_response(response: impl OutgoingResponse) -> Result<Response, ApiError> {
    let response = response.try_into_http_response::<BytesMut>().map_err(ApiError::internal)?;
    let (parts, body) = response.into_parts();
    Ok(Response { status: parts.status, headers: parts.headers, body: Body::Full(body.freeze()) })
}

/// A value as a JSON answer; for raw routes.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Result<Response, ApiError> {
    Ok(Response::json(status, serde_json::to_vec(value).map_err(ApiError::internal)?))
}
