//! What is counted about requests and connections, in Prometheus's terms. Labels are route patterns, never paths:
//! nothing here names a person, a room or an address.

use crate::process;
use http::StatusCode;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::OnceLock;
use std::time::Duration;

/// Upper bounds in seconds of the latency histogram.
const LATENCY_BOUNDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    method: String,
    route: String,
    class: &'static str,
}

/// The names of the classes of statuses, 1xx to 5xx.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All metrics of the process. Other crates register theirs in [`Metrics::register`].
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<ClassLabels, Counter>,
    latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// Connections open now.
    pub(crate) connections: Gauge,
    /// Connections accepted.
    pub(crate) accepted: Counter,
    /// Connections closed at once because of a limit.
    pub(crate) refused: Counter,
    /// Handshakes that failed.
    pub(crate) handshakes_failed: Counter,
    /// Handlers that panicked.
    pub(crate) panics: Counter,
    process: process::Gauges,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(LATENCY_BOUNDS);
        let mut registry = Registry::with_prefix("lamchat");
        let requests = Family::default();
        let latency = Family::new_with_constructor(histogram);
        let (connections, accepted, refused) = (Gauge::default(), Counter::default(), Counter::default());
        let (handshakes_failed, panics) = (Counter::default(), Counter::default());
        registry.register(
            "http_requests",
            "Requests answered, by route and class of status",
            requests.clone(),
        );
        registry.register(
            "http_request_seconds",
            "Time from a request's headers to its answer's",
            latency.clone(),
        );
        registry.register("http_connections", "Connections open", connections.clone());
        registry.register("http_connections_accepted", "Connections accepted", accepted.clone());
        registry.register(
            "http_connections_refused",
            "Connections closed because of a limit",
            refused.clone(),
        );
        registry.register(
            "tls_handshakes_failed",
            "TLS handshakes that failed",
            handshakes_failed.clone(),
        );
        registry.register("http_handler_panics", "Handlers that panicked", panics.clone());
        let process = process::Gauges::register(&mut registry);
        let registry = Mutex::new(registry);
        Self {
            registry,
            requests,
            latency,
            connections,
            accepted,
            refused,
            handshakes_failed,
            panics,
            process,
        }
    }
}

impl Metrics {
    /// Adds metrics of other parts of the exchange.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock());
    }

    /// Everything in Prometheus's (OpenMetrics') text format, to be sent as [`METRICS_CONTENT_TYPE`].
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        self.process.refresh();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

/// The media type of [`Metrics::render`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters of one route. They appear in the registry when the route is first used.
#[derive(Debug, Default)]
pub(crate) struct RouteMetrics {
    classes: [OnceLock<Counter>; 5],
    latency: OnceLock<Histogram>,
}

impl RouteMetrics {
    pub(crate) fn record(&self, metrics: &Metrics, method: &str, route: &str, status: StatusCode, took: Duration) {
        let latency = self.latency.get_or_init(|| {
            let labels = RouteLabels {
                method: method.to_owned(),
                route: route.to_owned(),
            };
            metrics.latency.get_or_create(&labels).clone()
        });
        latency.observe(took.as_secs_f64());
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let (Some(cell), Some(class)) = (self.classes.get(class), CLASSES.get(class)) {
            let counter = cell.get_or_init(|| {
                let labels = ClassLabels {
                    method: method.to_owned(),
                    route: route.to_owned(),
                    class,
                };
                metrics.requests.get_or_create(&labels).clone()
            });
            counter.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Metrics, RouteMetrics};
    use http::StatusCode;
    use std::time::Duration;

    #[test]
    fn requests_appear_by_route_and_class() {
        let metrics = Metrics::default();
        let route = RouteMetrics::default();
        for status in [StatusCode::OK, StatusCode::OK, StatusCode::NOT_FOUND] {
            route.record(&metrics, "GET", "/rooms/{room_id}", status, Duration::from_millis(3));
        }
        let text = metrics.render().unwrap();
        assert!(
            text.contains(r#"lamchat_http_requests_total{method="GET",route="/rooms/{room_id}",class="2xx"} 2"#),
            "{text}"
        );
        assert!(text.contains(r#"class="4xx"} 1"#));
        assert!(text.contains("lamchat_http_request_seconds_count"));
        let resident = text
            .lines()
            .find_map(|line| line.strip_prefix("lamchat_process_resident_memory_bytes "))
            .unwrap();
        assert!(resident.parse::<u64>().unwrap() > 100_000);
    }
}
