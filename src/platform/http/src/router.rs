//! From a method and a path to a route. Static segments win over parameters.

use crate::gate::{Gate, Gates};
use crate::metrics::{Metrics, RouteMetrics};
use crate::percent::decode_segment;
use crate::{Limits, Params, Resource, Route};
use http::Method;
use std::collections::HashMap;
use std::sync::Arc;

/// More segments than any route has: longer paths are unknown without being walked.
const SEGMENTS_MAX: usize = 32;

/// Why routes do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum RouteConflict {
    /// Two routes answer the same.
    #[error("two routes answer {method} {path}")]
    Twice {
        /// The method.
        method: Method,
        /// The pattern of the second.
        path: String,
    },
    /// A pattern does not start with a slash, or has a parameter that is not a whole segment.
    #[error("the pattern {0} is malformed")]
    Malformed(String),
}

/// All routes, with the bounds under which they answer.
#[derive(Debug)]
pub struct Router {
    root: Node,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    /// Counts what no route answered.
    pub(crate) unrouted: RouteMetrics,
    pub(crate) gates: Gates,
}

#[derive(Debug, Default)]
struct Node {
    fixed: HashMap<Box<str>, Node>,
    parameter: Option<Box<Node>>,
    routes: Vec<Bound>,
}

/// A route in its place.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) route: Route,
    pub(crate) metrics: RouteMetrics,
    names: Arc<[String]>,
}

/// What a method and a path lead to.
pub(crate) enum Found<'r> {
    Route(&'r Bound, Params),
    /// The path is known, with other methods.
    OtherMethods,
    /// A parameter is not percent-encoded UTF-8, or holds a NUL.
    BadEncoding,
    Nothing,
}

impl Router {
    /// A router over `routes`.
    pub fn new(routes: Vec<Route>, limits: Limits) -> Result<Self, RouteConflict> {
        let metrics = Arc::default();
        let mut root = Node::default();
        for route in routes {
            let path = route.path.clone();
            let Some(segments) = path.strip_prefix('/') else {
                return Err(RouteConflict::Malformed(path.into_owned()));
            };
            let (mut node, mut names) = (&mut root, Vec::new());
            for segment in segments.split('/') {
                let parameter = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
                node = match parameter {
                    Some(name) => {
                        names.push(name.to_owned());
                        node.parameter.get_or_insert_default()
                    }
                    None if segment.contains(['{', '}', '%']) => {
                        return Err(RouteConflict::Malformed(path.into_owned()));
                    }
                    None => node.fixed.entry(segment.into()).or_default(),
                };
            }
            if node.routes.iter().any(|known| known.route.method == route.method) {
                return Err(RouteConflict::Twice {
                    method: route.method,
                    path: path.into_owned(),
                });
            }
            node.routes.push(Bound {
                route,
                metrics: RouteMetrics::default(),
                names: names.into(),
            });
        }
        Ok(Self {
            root,
            limits,
            metrics,
            unrouted: RouteMetrics::default(),
            gates: Gates::default(),
        })
    }

    /// The same, with a resource that is not served all the time.
    #[must_use]
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.gates.add(gate);
        self
    }

    /// The metrics that this router's requests are counted in.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn find(&self, method: &Method, path: &str, offered: impl Fn(Resource) -> bool) -> Found<'_> {
        let Some(path) = path.strip_prefix('/') else {
            return Found::Nothing;
        };
        let mut segments = [""; SEGMENTS_MAX];
        let mut count = 0;
        for segment in path.split('/') {
            let Some(place) = segments.get_mut(count) else {
                return Found::Nothing;
            };
            *place = segment;
            count += 1;
        }
        let mut values = Vec::new();
        let Some(node) = self.root.walk(segments.get(..count).unwrap_or_default(), &mut values) else {
            return Found::Nothing;
        };
        let mut offered = node
            .routes
            .iter()
            .filter(|bound| offered(bound.route.resource))
            .peekable();
        if offered.peek().is_none() {
            return Found::Nothing;
        }
        // "GET routes also answer HEAD" (RFC 9110, 9.3.2).
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        let Some(bound) = offered.find(|bound| bound.route.method == *wanted) else {
            return Found::OtherMethods;
        };
        let mut decoded = Vec::with_capacity(values.len());
        for value in values {
            match decode_segment(value) {
                Some(value) => decoded.push(value.into_owned()),
                None => return Found::BadEncoding,
            }
        }
        Found::Route(bound, Params::new(Arc::clone(&bound.names), decoded))
    }
}

impl Node {
    /// The node at the end of `segments`, with the raw values of the parameters on the way.
    fn walk<'n, 'p>(&'n self, segments: &[&'p str], values: &mut Vec<&'p str>) -> Option<&'n Node> {
        let Some((segment, rest)) = segments.split_first() else {
            return (!self.routes.is_empty()).then_some(self);
        };
        if let Some(found) = self.fixed.get(*segment).and_then(|next| next.walk(rest, values)) {
            return Some(found);
        }
        let next = self.parameter.as_deref().filter(|_| !segment.is_empty())?;
        values.push(segment);
        let found = next.walk(rest, values);
        if found.is_none() {
            values.pop();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Found, RouteConflict, Router};
    use crate::{Auth, BodyPolicy, Limits, Patience, Resource, Response, Route};
    use http::Method;
    use std::sync::Arc;

    fn route(method: Method, path: &'static str, resource: Resource) -> Route {
        Route {
            method,
            path: path.into(),
            resource,
            auth: Auth::Open,
            body: BodyPolicy::Limit(0),
            patience: Patience::Bounded,
            handler: Arc::new(|_| Box::pin(async { Response::default() })),
        }
    }

    fn router() -> Router {
        let routes = vec![
            route(
                Method::GET,
                "/rooms/{room_id}/state/{event_type}/{state_key}",
                Resource::Client,
            ),
            route(Method::GET, "/rooms/{room_id}/state/{event_type}/", Resource::Client),
            route(
                Method::PUT,
                "/rooms/{room_id}/state/{event_type}/{state_key}",
                Resource::Client,
            ),
            route(Method::GET, "/rooms/{other_name}/state", Resource::Client),
            route(Method::GET, "/rooms/upgraded/{thing}", Resource::Client),
            route(Method::GET, "/pushrules/", Resource::Client),
            route(Method::GET, "/key/{id}", Resource::Federation),
        ];
        Router::new(routes, Limits::default()).unwrap()
    }

    fn find(method: Method, path: &str) -> String {
        let router = router();
        match router.find(&method, path, |resource| resource == Resource::Client) {
            Found::Route(bound, params) => format!("{} {}", bound.route.path, params.values().join(",")),
            Found::OtherMethods => "other methods".to_owned(),
            Found::BadEncoding => "bad encoding".to_owned(),
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn paths_lead_to_routes() {
        let get = |path| find(Method::GET, path);
        let state = "/rooms/{room_id}/state/{event_type}/{state_key}";
        assert_eq!(get("/rooms/!a:b/state/m.x/k"), format!("{state} !a:b,m.x,k"));
        assert_eq!(get("/rooms/%21a%3Ab/state/m.x/a%2Fb"), format!("{state} !a:b,m.x,a/b"));
        assert_eq!(
            get("/rooms/!a:b/state/m.x/"),
            "/rooms/{room_id}/state/{event_type}/ !a:b,m.x"
        );
        assert_eq!(get("/rooms/upgraded/x"), "/rooms/upgraded/{thing} x");
        // Backs out of a static segment that leads nowhere.
        assert_eq!(get("/rooms/upgraded/state/x/y"), format!("{state} upgraded,x,y"));
        assert_eq!(get("/pushrules/"), "/pushrules/ ");
        assert_eq!(find(Method::HEAD, "/pushrules/"), "/pushrules/ ");
        let long = "/x".repeat(100);
        for unknown in ["/pushrules", "/", "/rooms//state", "/rooms/a", "/key/1", "x", "", &long] {
            assert_eq!(get(unknown), "nothing", "{unknown}");
        }
        assert_eq!(find(Method::DELETE, "/pushrules/"), "other methods");
        assert_eq!(get("/rooms/%ff/state"), "bad encoding");
        assert_eq!(get("/rooms/a%00b/state"), "bad encoding");
    }

    #[test]
    fn conflicts_are_found_at_start() {
        let twice = vec![
            route(Method::GET, "/a/{b}", Resource::Client),
            route(Method::GET, "/a/{c}", Resource::Client),
        ];
        assert!(matches!(
            Router::new(twice, Limits::default()),
            Err(RouteConflict::Twice { .. })
        ));
        let odd = vec![route(Method::GET, "/a/x{b}", Resource::Client)];
        assert!(matches!(
            Router::new(odd, Limits::default()),
            Err(RouteConflict::Malformed(_))
        ));
    }
}
