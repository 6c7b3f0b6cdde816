//! How an endpoint is declared: who may call it, how long its body may be, how long it may take.

use crate::caller::{self, Door};
use crate::handler::{AllowsOpen, OpenHandler, OptionalHandler, SessionHandler, Stranger, StrangerHandler};
use crate::wire::{into_response, parse};
use crate::{ApiError, App, Session};
use http::Method;
use lamchat_base::limits::JSON_BODY_BYTES_MAX;
use lamchat_http::{Auth, BodyPolicy, BoxFuture, Patience, Request, Resource, Response, Route};
use ruma::api::IncomingRequest;
use ruma::api::path_builder::PathBuilder;
use std::borrow::Cow;
use std::sync::Arc;
use tracing::Instrument;

type Answer = Arc<dyn Fn(Arc<App>, Request) -> BoxFuture<Response> + Send + Sync>;

struct Declared {
    method: Method,
    path: Cow<'static, str>,
    resource: Resource,
    auth: Auth,
    body: BodyPolicy,
    patience: Patience,
    answer: Answer,
    /// Whether it is carried out even if the client hangs up.
    is_detached: bool,
}

/// A collection of endpoints.
#[derive(Default)]
pub struct Routes {
    declared: Vec<Declared>,
}

impl Routes {
    /// An endpoint for the holder of an access token.
    pub fn session<R>(&mut self, handler: impl SessionHandler<R>) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        R::OutgoingResponse: Send,
    {
        self.through(Door::Usual, handler)
    }

    /// An endpoint for the holder of an access token, whose account may be locked: logging out.
    pub fn session_even_locked<R>(&mut self, handler: impl SessionHandler<R>) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        R::OutgoingResponse: Send,
    {
        self.through(Door::EvenLocked, handler)
    }

    fn through<R>(&mut self, door: Door, handler: impl SessionHandler<R>) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        R::OutgoingResponse: Send,
    {
        let handler = Arc::new(handler);
        self.typed::<R>(
            Auth::Session,
            Arc::new(move |app, request| {
                let handler = Arc::clone(&handler);
                finish(async move {
                    let (session, request) = caller::admit(&app, request, door).await?;
                    into_response(handler.call(app, session, parse::<R>(request).await?).await?)
                })
            }),
        )
    }

    /// Like [`Routes::session`], for answers that are put together from stored bytes.
    pub fn spliced<R, F, Fut>(&mut self, handler: F) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        F: Fn(Arc<App>, Session, R) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.typed::<R>(
            Auth::Session,
            Arc::new(move |app, request| {
                let handler = Arc::clone(&handler);
                finish(async move {
                    let (session, request) = caller::admit(&app, request, Door::Usual).await?;
                    handler(app, session, parse::<R>(request).await?).await
                })
            }),
        )
    }

    /// An endpoint that knows its caller if there is an access token. A wrong token is refused.
    pub fn optional<R>(&mut self, handler: impl OptionalHandler<R>) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: AllowsOpen,
        R::OutgoingResponse: Send,
    {
        let handler = Arc::new(handler);
        self.typed::<R>(
            Auth::Optional,
            Arc::new(move |app, request| {
                let handler = Arc::clone(&handler);
                finish(async move {
                    let (session, request) = caller::admit_optional(&app, request).await?;
                    into_response(handler.call(app, session, parse::<R>(request).await?).await?)
                })
            }),
        )
    }

    /// An endpoint for everybody.
    pub fn open<R>(&mut self, handler: impl OpenHandler<R>) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: AllowsOpen,
        R::OutgoingResponse: Send,
    {
        let handler = Arc::new(handler);
        self.typed::<R>(
            Auth::Open,
            Arc::new(move |app, request| {
                let handler = Arc::clone(&handler);
                finish(async move { into_response(handler.call(app, parse::<R>(request).await?).await?) })
            }),
        )
    }

    /// An endpoint for everybody that needs to know the address for its rate limit: login, registration.
    pub fn stranger<R>(&mut self, handler: impl StrangerHandler<R>) -> Endpoint<'_>
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: AllowsOpen,
        R::OutgoingResponse: Send,
    {
        let handler = Arc::new(handler);
        self.typed::<R>(
            Auth::Open,
            Arc::new(move |app, request| {
                let handler = Arc::clone(&handler);
                finish(async move {
                    let stranger = Stranger { peer: request.peer };
                    into_response(handler.call(app, stranger, parse::<R>(request).await?).await?)
                })
            }),
        )
    }

    /// A route for the holder of an access token that reads the request and makes the answer itself:
    /// hot or streaming ones. A path of version 3 is served under its r0 name as well.
    pub fn raw<F, Fut>(&mut self, method: Method, path: &'static str, handler: F) -> Endpoint<'_>
    where
        F: Fn(Arc<App>, Session, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.paths(
            method,
            vec![path],
            Auth::Session,
            Arc::new(move |app, request| {
                let handler = Arc::clone(&handler);
                finish(async move {
                    let (session, request) = caller::admit(&app, request, Door::Usual).await?;
                    handler(app, session, request).await
                })
            }),
        )
    }

    /// Like [`Routes::raw`], for everybody; a token makes the caller known.
    pub fn raw_optional<F, Fut>(&mut self, method: Method, path: &'static str, handler: F) -> Endpoint<'_>
    where
        F: Fn(Arc<App>, Option<Session>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.paths(
            method,
            vec![path],
            Auth::Optional,
            Arc::new(move |app, request| {
                let handler = Arc::clone(&handler);
                finish(async move {
                    let (session, request) = caller::admit_optional(&app, request).await?;
                    handler(app, session, request).await
                })
            }),
        )
    }

    /// Like [`Routes::raw`], for everybody.
    pub fn raw_open<F, Fut>(&mut self, method: Method, path: &'static str, handler: F) -> Endpoint<'_>
    where
        F: Fn(Arc<App>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.paths(
            method,
            vec![path],
            Auth::Open,
            Arc::new(move |app, request| finish(handler(app, request))),
        )
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
            let resource = if path.starts_with("/_matrix/federation/") || path.starts_with("/_matrix/key/") {
                Resource::Federation
            } else if path.contains("/media/") {
                Resource::Media
            } else {
                Resource::Client
            };
            self.declared.push(Declared {
                method: method.clone(),
                path,
                resource,
                auth,
                body: BodyPolicy::Limit(JSON_BODY_BYTES_MAX),
                patience: Patience::Bounded,
                answer: Arc::clone(&answer),
                is_detached: false,
            });
        }
        Endpoint {
            declared: self.declared.get_mut(first..).unwrap_or_default(),
        }
    }

    /// Every method and path with whom it answers.
    pub fn table(self) -> Vec<(Method, Cow<'static, str>, Auth)> {
        self.declared
            .into_iter()
            .map(|declared| (declared.method, declared.path, declared.auth))
            .collect()
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
                handler: Arc::new(move |request| {
                    let answer = (declared.answer)(Arc::clone(&app), request);
                    if declared.is_detached {
                        to_the_end(answer)
                    } else {
                        answer
                    }
                }),
            }
        };
        self.declared.into_iter().map(bind).collect()
    }
}

/// The other names under which clients know a path.
pub(crate) fn aliases(path: &'static str) -> Vec<Cow<'static, str>> {
    let mut names = vec![Cow::Borrowed(path)];
    for (new, old) in [
        ("/_matrix/client/v3/", "/_matrix/client/r0/"),
        ("/_matrix/media/v3/", "/_matrix/media/r0/"),
        ("/_matrix/media/v3/", "/_matrix/media/v1/"),
    ] {
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

    /// For what takes several writes: once begun it is carried out even if the client hangs up or the time is over.
    pub fn to_the_end(self) -> Self {
        self.each(|declared| declared.is_detached = true)
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

/// The handler of a request whose client is gone is dropped where it waits; a task of its own is not.
fn to_the_end(work: BoxFuture<Response>) -> BoxFuture<Response> {
    Box::pin(async move {
        tokio::spawn(work.in_current_span())
            .await
            .unwrap_or_else(|error| ApiError::internal(error).into_response())
    })
}

fn finish(work: impl Future<Output = Result<Response, ApiError>> + Send + 'static) -> BoxFuture<Response> {
    Box::pin(async move { work.await.unwrap_or_else(ApiError::into_response) })
}
