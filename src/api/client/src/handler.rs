//! The shapes of functions that answer endpoints. Nobody names these traits: an `async fn` of the right shape has them.

use crate::{ApiError, App, Session};
use lamchat_http::BoxFuture;
use ruma::api::IncomingRequest;
use ruma::api::auth_scheme::{AccessTokenOptional, AppserviceTokenOptional, NoAccessToken, NoAuthentication};
use std::sync::Arc;

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
    fn call(
        &self,
        app: Arc<App>,
        session: Option<Session>,
        request: R,
    ) -> BoxFuture<Result<R::OutgoingResponse, ApiError>>;
}
impl<R, F, Fut> OptionalHandler<R> for F
where
    R: IncomingRequest,
    F: Fn(Arc<App>, Option<Session>, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R::OutgoingResponse, ApiError>> + Send + 'static,
{
    fn call(
        &self,
        app: Arc<App>,
        session: Option<Session>,
        request: R,
    ) -> BoxFuture<Result<R::OutgoingResponse, ApiError>> {
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
