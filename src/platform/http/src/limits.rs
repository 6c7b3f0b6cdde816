//! Every bound of the HTTP side, named.

use std::time::Duration;

/// hyper's own limit on the number of headers, which it keeps on the stack; any other number costs an allocation.
pub(crate) const HEADERS_OF_HYPER: usize = 100;

/// What strangers may use of this server. The defaults suit a machine with 1 GiB of memory that clients reach
/// directly; behind a reverse proxy raise [`Limits::connections_per_peer`] to [`Limits::connections`].
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all; more are closed at once.
    pub connections: usize,
    /// Connections of one IPv4 address or IPv6 /64 network; more are closed at once.
    pub connections_per_peer: usize,
    /// Request line and headers, in bytes; more is answered with 431.
    pub header_bytes: usize,
    /// Number of headers of a request; more is answered with 431.
    pub headers: usize,
    /// From the first byte of a request to the end of its headers, and from the connection to the first request.
    pub header_read_time: Duration,
    /// How long a connection without a request in flight is kept.
    pub idle_time: Duration,
    /// How long a TLS handshake may take.
    pub handshake_time: Duration,
    /// From the end of the headers to the end of a body that is read into memory; more is answered with 408.
    pub body_read_time: Duration,
    /// How long one piece of a streamed body may take to arrive.
    pub body_pause: Duration,
    /// How long a streamed body may take in all.
    pub body_stream_time: Duration,
    /// How long a peer may refuse to take bytes of an answer.
    pub write_stall_time: Duration,
    /// How long a handler may take that does not bound itself; more is answered with 500.
    pub handler_time: Duration,
    /// Requests in flight on one HTTP/2 connection.
    pub streams: u32,
    /// HTTP/2 streams that a client opened and reset before they were accepted; more closes the connection.
    pub pending_resets: usize,
    /// HTTP/2 streams that were reset because of the client's errors; more closes the connection.
    pub error_resets: usize,
    /// Bytes of a refused body that are read and thrown away so that the client hears the refusal.
    pub discard_bytes: u64,
    /// How long that may take.
    pub discard_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_peer: 1_000,
            header_bytes: 32 * 1024,
            headers: HEADERS_OF_HYPER,
            header_read_time: Duration::from_secs(15),
            idle_time: Duration::from_secs(120),
            handshake_time: Duration::from_secs(10),
            body_read_time: Duration::from_secs(30),
            body_pause: Duration::from_secs(30),
            body_stream_time: Duration::from_secs(3600),
            write_stall_time: Duration::from_secs(60),
            handler_time: Duration::from_secs(60),
            streams: 128,
            pending_resets: 32,
            error_resets: 64,
            discard_bytes: 1024 * 1024,
            discard_time: Duration::from_secs(2),
        }
    }
}
