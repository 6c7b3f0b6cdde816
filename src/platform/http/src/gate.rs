//! A resource that is closed for a while although listeners offer it.
//!
//! What opens and closes it is somebody else's business; here it is only made sure that no route of it is forgotten.

use crate::{Resource, Response};
use std::sync::Arc;

/// Whether a resource is served just now.
#[derive(Debug)]
pub enum Admission {
    /// It is.
    Served,
    /// As if no listener offered it: 404.
    Absent,
    /// Every request to it gets this answer.
    Refused(Response),
}

/// Says of each request to a resource whether it is served.
#[derive(Clone)]
pub struct Gate {
    /// The resource.
    pub resource: Resource,
    /// What the paths of the resource begin with, each with a slash at its end: what no route answers is refused as well.
    pub prefixes: &'static [&'static str],
    /// Asked for each request; must not block.
    pub ask: Arc<dyn Fn() -> Admission + Send + Sync>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

/// All gates of a router.
#[derive(Debug, Default)]
pub(crate) struct Gates(Vec<Gate>);

impl Gates {
    pub(crate) fn add(&mut self, gate: Gate) {
        self.0.push(gate);
    }

    /// Whether a resource is to look as if nobody offered it.
    pub(crate) fn is_absent(&self, resource: Resource) -> bool {
        let mut of_it = self.0.iter().filter(|gate| gate.resource == resource);
        of_it.any(|gate| matches!((gate.ask)(), Admission::Absent))
    }

    /// The answer to a request that is refused: to a route of `resource`, or to a path that no route answers.
    pub(crate) fn refusal(&self, resource: Option<Resource>, path: &str, offered: &[Resource]) -> Option<Response> {
        let gates = self.0.iter().filter(|gate| offered.contains(&gate.resource));
        let mut of_it = gates.filter(|gate| match resource {
            Some(resource) => gate.resource == resource,
            None => gate.prefixes.iter().any(|prefix| path.starts_with(prefix)),
        });
        of_it.find_map(|gate| match (gate.ask)() {
            Admission::Refused(response) => Some(response),
            Admission::Served | Admission::Absent => None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Admission, Gate};
    use crate::{Auth, BodyPolicy, Limits, Patience, Resource, Response, Route, Router};
    use bytes::Bytes;
    use http::{Method, StatusCode};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};

    fn route(path: &'static str, resource: Resource) -> Route {
        Route {
            method: Method::GET,
            path: path.into(),
            resource,
            auth: Auth::Open,
            body: BodyPolicy::Limit(0),
            patience: Patience::Bounded,
            handler: Arc::new(|_| Box::pin(async { Response::default() })),
        }
    }

    #[tokio::test]
    async fn a_gate_closes_all_of_its_resource_and_nothing_else() {
        let routes = vec![
            route("/peers/{name}", Resource::Federation),
            route("/key", Resource::Federation),
            route("/people", Resource::Client),
        ];
        let state = Arc::new(AtomicU8::new(0));
        let now = Arc::clone(&state);
        let gate = Gate {
            resource: Resource::Federation,
            prefixes: &["/peers/"],
            ask: Arc::new(move || match now.load(Ordering::Relaxed) {
                0 => Admission::Served,
                1 => Admission::Absent,
                _ => Admission::Refused(Response::text(StatusCode::FORBIDDEN, "not yet")),
            }),
        };
        let router = Router::new(routes, Limits::default()).unwrap().with_gate(gate);
        for (state_now, statuses) in [
            (0, [200, 405, 404, 200, 200, 404]),
            (1, [404, 404, 404, 404, 200, 404]),
            (2, [403, 403, 403, 403, 200, 404]),
        ] {
            state.store(state_now, Ordering::Relaxed);
            let requests = [
                (Method::GET, "/peers/a"),
                (Method::PUT, "/peers/a"),
                (Method::GET, "/peers/a/unknown"),
                (Method::GET, "/key"),
                (Method::GET, "/people"),
                (Method::GET, "/unknown"),
            ];
            for ((method, path), status) in requests.into_iter().zip(statuses) {
                let request = http::Request::builder().method(&method).uri(path);
                let answer = router.answer(request.body(Bytes::new()).unwrap()).await;
                assert_eq!(answer.status().as_u16(), status, "{state_now}: {method} {path}");
            }
        }
    }
}
