//! Listeners, TLS, certificates, routing, limits and metrics; and the way of a command to a server far away.
//!
//! The only crate that knows hyper and rustls. It knows nothing of Matrix but the shape of its errors and the
//! CORS headers that its browsers need. Everything that a stranger can make grow has a named bound in [`Limits`].

mod activity;
mod body;
pub mod certificate;
pub mod client;
mod connection;
mod dispatch;
pub mod fetch;
mod gate;
mod limits;
mod listener;
mod metrics;
pub mod outside;
mod percent;
mod process;
mod rate;
mod request;
mod response;
mod route;
mod router;
mod seats;
mod server;
mod tls;

pub use body::{Body, BodyError, BodyReader, BodySender, BodyStream};
pub use gate::{Admission, Gate};
pub use limits::Limits;
pub use listener::{Bind, ListenError, Listener};
pub use metrics::{METRICS_CONTENT_TYPE, Metrics};
pub use percent::query_value;
pub use rate::{Rate, RateLimit};
pub use request::{Params, Request, RequestBody, RequestId};
pub use response::{JSON, Response};
pub use route::{Auth, BodyPolicy, BoxFuture, Handler, Patience, Resource, Route};
pub use router::{RouteConflict, Router};
pub use seats::network;
pub use server::Server;
pub use tls::{Identity, IdentityError};
