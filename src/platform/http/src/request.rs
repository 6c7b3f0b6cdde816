//! A request as handlers see it: routed, percent-decoded, with a bounded body. No hyper type shows through.

use crate::body::BodyReader;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use std::net::IpAddr;

/// Names a request in the logs. Unique within a process run, without meaning outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The percent-decoded values of a route's `{parameters}`, in the order of the pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    names: std::sync::Arc<[String]>,
    values: Vec<String>,
}

impl Params {
    /// Pairs names and values by their order.
    pub fn new(names: std::sync::Arc<[String]>, values: Vec<String>) -> Self {
        Self { names, values }
    }

    /// The value of `{name}`; the empty string if the pattern has no such parameter.
    pub fn value(&self, name: &str) -> &str {
        let found = self.names.iter().zip(&self.values).find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// All values in the order of the pattern.
    pub fn values(&self) -> &[String] {
        &self.values
    }
}

/// What a request carries.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// Nothing.
    #[default]
    Empty,
    /// All of it, read before the handler was called ([`crate::BodyPolicy::Limit`]).
    Full(Bytes),
    /// To be read by the handler ([`crate::BodyPolicy::Stream`]).
    Stream(BodyReader),
}

/// A routed request.
#[derive(Debug)]
pub struct Request {
    /// The method; `HEAD` for a `GET` route arrives as `HEAD`, and the answer's body is dropped afterwards.
    pub method: Method,
    /// Path and query as they were sent. The query may hold an access token: never log it.
    pub uri: Uri,
    /// The values of the pattern's parameters.
    pub params: Params,
    /// The headers as they were sent.
    pub headers: HeaderMap,
    /// The body.
    pub body: RequestBody,
    /// The request's name in the logs.
    pub id: RequestId,
    /// Who is connected; `None` on a Unix socket. For rate limits only: addresses are never logged.
    pub peer: Option<IpAddr>,
    /// The effective uid of the process at the other end of a Unix socket, as the kernel says; `None` on TCP.
    pub peer_uid: Option<u32>,
    /// Whether it came over TLS.
    pub is_encrypted: bool,
    /// Who asks, once the API's own code has checked a credential and put a name here. Never from the network.
    pub caller: Option<String>,
}

impl Request {
    /// The raw query, without the question mark.
    pub fn query(&self) -> &str {
        self.uri.query().unwrap_or("")
    }

    /// The body that was read before the handler was called; empty for streams.
    pub fn bytes(&self) -> Bytes {
        match &self.body {
            RequestBody::Full(bytes) => bytes.clone(),
            RequestBody::Empty | RequestBody::Stream(_) => Bytes::new(),
        }
    }

    /// Takes the body as a stream, whatever it is.
    pub fn take_stream(&mut self) -> BodyReader {
        match std::mem::take(&mut self.body) {
            RequestBody::Empty => BodyReader::of(Bytes::new()),
            RequestBody::Full(bytes) => BodyReader::of(bytes),
            RequestBody::Stream(reader) => reader,
        }
    }
}
