//! What a route is: a pattern, who may use it, what it takes, and who answers.

use crate::{Request, Response};
use http::Method;
use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

/// A future on the heap.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Answers requests.
pub type Handler = Arc<dyn Fn(Request) -> BoxFuture<Response> + Send + Sync + 'static>;

/// What a listener offers and a route belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The client-server API, the well-knowns, `/health`.
    Client,
    /// The server-server API.
    Federation,
    /// Media of the client-server API.
    Media,
    /// Administration and metrics.
    Admin,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Client, Self::Federation, Self::Media, Self::Admin];

    /// Whether browsers of any origin may use it.
    pub(crate) fn cross_origin(self) -> bool {
        matches!(self, Self::Client | Self::Media)
    }
}

/// Whom a route answers. The router does not enforce it, the API's own code does; it is here so that a
/// test can list every route and prove that each has such a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Auth {
    /// Everybody.
    Open,
    /// Everybody; an access token changes the answer, and a wrong one is refused.
    Optional,
    /// The holder of an access token.
    Session,
    /// Whoever proves knowledge of a secret in the request itself.
    SharedSecret,
    /// Whoever may open the Unix socket, and on other listeners the holder of an administrator's access token.
    Admin,
}

/// How a route takes its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPolicy {
    /// Read into memory before the handler is called; at most so many bytes.
    Limit(usize),
    /// Handed to the handler unread; at most so many bytes.
    Stream(u64),
}

/// How long a handler may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// At most [`crate::Limits::handler_time`]; then 500.
    Bounded,
    /// The handler bounds itself: long polls, uploads.
    Own,
}

/// A route.
#[derive(Clone)]
pub struct Route {
    /// The method. A `GET` route answers `HEAD` as well, and every path answers `OPTIONS`.
    pub method: Method,
    /// The path with parameters in braces: `/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}`.
    /// A parameter is one whole segment and never empty. Static segments win over parameters.
    pub path: Cow<'static, str>,
    /// What it belongs to.
    pub resource: Resource,
    /// Whom it answers.
    pub auth: Auth,
    /// How it takes its body.
    pub body: BodyPolicy,
    /// How long its handler may take.
    pub patience: Patience,
    /// Who answers.
    pub handler: Handler,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} ({:?}, {:?})",
            self.method, self.path, self.resource, self.auth
        )
    }
}
